"""What a run with several pods has beside its changes: routes, a bus that goes away, scales, presence, resumed lines.

Only as far as the judge looks at it: the fake's server is one, and its pods are names. Read ``FakePods.step`` first.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.chaos.fake.mutations import Mutation

__all__ = ["FakePods", "Teller"]

PODS = ("pod-0", "pod-1")
SECOND = 50
BUS_TICKS = 60
LEAK = 12


class Teller(Protocol):
    """The world around it."""

    def tell(self, process: str, f: str, dev: str, /, **values: Any) -> None:
        """Write a fact into the history."""
        ...

    def strikes(self, mutation: Mutation) -> bool:
        """Whether a seeded bug strikes."""
        ...


@dataclass(slots=True)
class _Line:
    said: int = 0


class FakePods:
    """``online`` says who is connected; ``steps`` is how long the run is, of which the last part is calm."""

    def __init__(self, world: Teller, rng: random.Random, clients: Iterable[str], steps: int) -> None:
        self.world, self.rng, self.steps = world, random.Random(rng.random()), steps
        self.clients = list(clients)
        self.files = 20
        self.bus_back_at = 0
        self.held_until = 0
        self.lines = {"resumer-0": _Line(), "resumer-1": _Line()}
        for client in self.clients:
            self.route(client)

    def route(self, client: str) -> None:
        self.world.tell("runner", "route", "", lane=client, pod=self.rng.choice(PODS))

    def is_calm(self, ticks: int) -> bool:
        return ticks > self.steps * 0.7

    def is_bus_away(self, ticks: int) -> bool:
        return ticks < self.bus_back_at

    def holds_offers(self, ticks: int) -> bool:
        """A bug: nobody is told that there is something new."""
        if self.is_calm(ticks) and self.world.strikes(Mutation.STALL_AFTER_ALL_FAULTS):
            self.held_until = ticks + 4 * SECOND
        elif self.is_bus_away(ticks) and self.world.strikes(Mutation.STALL_WITHOUT_BUS):
            self.held_until = self.bus_back_at + 6 * SECOND
        return ticks < self.held_until

    def step(self, ticks: int, online: Callable[[], dict[str, bool]]) -> None:
        """What happens of all this in one tick."""
        if ticks == int(self.steps * 0.1):
            self.world.tell("runner", "phase", "", name="faults")
        if ticks == int(self.steps * 0.7) + 1:
            self.world.tell("runner", "phase", "", name="calm")
        if ticks == self.steps:
            self.world.tell("runner", "phase", "", name="over")
        self._bus(ticks)
        if ticks % SECOND == 0:
            self._weigh()
            self._presence(online())
        if ticks % 25 == 0:
            self._lines()

    def _bus(self, ticks: int) -> None:
        if ticks == self.bus_back_at:
            self.world.tell("nemesis", "stop", "", fault="bus_kill", lane="bus", value="")
        if ticks > self.bus_back_at and not self.is_calm(ticks + 8 * SECOND) and self.rng.random() < 0.002:
            self.world.tell("nemesis", "start", "", fault="bus_kill", lane="bus", value="")
            self.bus_back_at = ticks + BUS_TICKS
            self.files += LEAK if self.world.strikes(Mutation.LEAK_WHEN_THE_BUS_IS_LOST) else 0

    def _weigh(self) -> None:
        self.world.tell("runner", "lag", "", worst_ms=self.rng.randrange(20))
        for pod in PODS:
            connections = self.rng.randrange(8)
            weights = {"rss_kib": 60_000 + self.rng.randrange(2_000), "threads": 3, "tasks": 8 + self.rng.randrange(6)}
            files = self.files + connections
            self.world.tell("runner", "sample", "", pod=pod, life=1, connections=connections, files=files, **weights)

    def _presence(self, online: dict[str, bool]) -> None:
        for device, is_online in online.items():
            said = is_online and not self.world.strikes(Mutation.CALL_SOMEBODY_AWAY)
            self.world.tell("runner", "presence", device, pod=self.rng.choice(PODS), online=said)

    def _lines(self) -> None:
        for process, line in self.lines.items():
            if line.said == 0:
                self.world.tell(process, "resume_open", "")
            elif self.rng.random() < 0.05:
                self.world.tell(process, "resume_lost", "")
                if self.world.strikes(Mutation.FORGET_WHO_MAY_COME_BACK):
                    self.world.tell(process, "resume_end", "", why="gone")
                    line.said = 0
                    continue
                self.world.tell(process, "resume_back", "")
                if self.world.strikes(Mutation.SEND_AGAIN_WHAT_WAS_HEARD):
                    self.world.tell(process, "resume_heard", "", number=line.said)
            line.said += 1
            for what in ("said", "heard", "answered"):
                self.world.tell(process, f"resume_{what}", "", number=line.said)
