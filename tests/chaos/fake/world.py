"""One run of the fake: fitters, phones and a server, their steps interleaved at random, faults, then the final reads.

Everything comes from the seed; the clock is a counter. Read ``run_fake`` first.
"""

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.fake.mutations import BUGS, Mutation
from tests.chaos.fake.phone import FakePhone
from tests.chaos.fake.pods import FakePods
from tests.chaos.fake.server import EARS, FakeServer, Refused, Row, Shelf
from tests.chaos.history import Event, EventType

__all__ = ["FakeRun", "FakeSize", "run_fake"]

TICK_NS = 20_000_000
LIE, LOST_ANSWER, LOST_REPORT = 0.01, 0.05, 0.02


@dataclass(frozen=True, slots=True)
class FakeSize:
    """How much happens: devices, fitters, and steps of the fault phase."""

    devices: int = 3
    fitters: int = 3
    steps: int = 3_000


@dataclass(frozen=True, slots=True)
class FakeRun:
    """What a run leaves behind; ``canaries`` must not be in ``log_text``."""

    history: list[Event]
    log_text: str
    canaries: tuple[str, ...]
    strikes: int


class _World:
    def __init__(self, seed: int, mutation: Mutation | None, size: FakeSize) -> None:
        self.rng = random.Random(seed)
        self.mutation, self.struck = mutation, 0
        self.history: list[Event] = []
        self.ticks = 0
        self.server = FakeServer(self.strikes, lambda: self.ticks)
        self.names = [f"canary-device-{number}" for number in range(size.devices)]
        self.phones = {name: FakePhone(name, self) for name in self.names}
        for name, phone in self.phones.items():
            digests = {ear: phone.aids[ear]["ram"] for ear in EARS}
            self.server.shelves[name] = Shelf(name, head=digests, first=digests)
            self.server.shelves[name].in_aid = {ear: dict(aid) for ear, aid in phone.aids.items()}
            self.tell("runner", "register", name, serials=[f"{name}-{ear}" for ear in EARS])
            self.tell("runner", "wearer", name, installs="yes" if self.says_yes(name) else "no")
            self.read_aids(name)
        self.fitters = [self.fitter(f"f{number}") for number in range(size.fitters)]
        self.nonce = 0
        self.pods = FakePods(self, self.rng, (f"f{number}" for number in range(size.fitters)), size.steps)

    # What a phone has around it.
    def tell(self, process: str, f: str, dev: str, /, **values: Any) -> None:
        self.event(process, "ok", f, dev, **values)

    def event(self, process: str, kind: EventType, f: str, dev: str, /, **values: Any) -> None:
        self.history.append(Event(self.ticks * TICK_NS + len(self.history), process, kind, f, dev, values))

    def strikes(self, mutation: Mutation) -> bool:
        hit = mutation is self.mutation and self.rng.random() < BUGS[mutation].chance
        self.struck += hit
        return hit

    def says_yes(self, device: str) -> bool:
        return device != self.names[-1]

    def lies(self) -> bool:
        return self.rng.random() < LIE

    def attach(self, device: str) -> dict[str, Any] | None:
        return self.server.attach(device)

    def report(self, device: str, report: dict[str, Any]) -> bool | None:
        if self.rng.random() < LOST_REPORT:
            return None
        ended = self.server.report(device, report)
        return None if self.rng.random() < LOST_REPORT else ended

    # What happens.
    def step(self) -> None:
        self.ticks += 1
        self.pods.step(self.ticks, lambda: {name: phone.gen is not None for name, phone in self.phones.items()})
        for phone in self.phones.values():
            if self.rng.random() < 0.8:
                phone.step()
        for fitter in self.fitters:
            if self.rng.random() < 0.15:
                next(fitter)
        self.pump()
        self.fault()

    def pump(self) -> None:
        if self.pods.holds_offers(self.ticks):
            return
        for shelf in self.server.shelves.values():
            found = self.server.next_offer(shelf)
            if found is None:
                continue
            row, gen = found
            frame = self.server.offer(shelf, row, gen)
            if self.strikes(Mutation.DELIVER_TO_A_NEIGHBOUR):
                neighbour = self.phones[self.rng.choice(self.names)]
                neighbour.inbox.append(("offer", frame | {"gen": neighbour.gen}))
            self.phones[shelf.device].inbox.append(("offer", frame))
            if shelf.replaced is not None and self.strikes(Mutation.OFFER_TO_THE_REPLACED_ONE):
                self.ticks += 100
                self.tell("shadow", "offer_in", shelf.device, **(frame | {"gen": shelf.replaced}))

    def fault(self) -> None:
        name, roll = self.rng.choice(self.names), self.rng.random()
        if self.pods.is_calm(self.ticks):
            return
        if roll < 0.006:
            self.tell("nemesis", "crash", name)
            self.phones[name].crash()
        elif roll < 0.010:
            self.phones[name].cut()
            self.server.shelves[name].conn = None
        elif roll < 0.015:
            self.shadow(name)
        elif roll < 0.019:
            self.server.crash()
            for phone in self.phones.values():
                phone.cut()

    def shadow(self, name: str) -> None:
        """A second connection of the same device takes over; the phone's own is closed and comes back."""
        welcome = self.server.attach(name)
        self.tell("shadow", "welcome", name, **welcome)
        self.phones[name].cut()

    # A professional.
    def fitter(self, process: str) -> Iterator[None]:
        fences: dict[str, int] = {}
        used: list[tuple[str, dict[str, Any]]] = []
        while True:
            yield
            name, roll = self.rng.choice(self.names), self.rng.random()
            if name not in fences or roll < 0.05:
                yield from self.acquire(process, name, fences, steal=roll < 0.03)
            elif roll < 0.10 and used:
                device, request = self.rng.choice(used[-4:])
                other = {"request": f"other-{self.rng.random()}"} if self.rng.random() < 0.5 else {}
                yield from self.submit(process, device, request | other)
            elif roll < 0.15:
                yield from self.cancel(process, name)
            else:
                yield from self.burst(process, name, fences, used)

    def burst(
        self, process: str, name: str, fences: dict[str, int], used: list[tuple[str, dict[str, Any]]]
    ) -> Iterator[None]:
        """Some changes in a row; a refusal mostly makes this one ask for the lease again, but not always."""
        for _ in range(self.rng.choice((1, 1, 2, 6))):
            request = self.request(fences[name])
            used.append((name, request))
            refused = yield from self.submit(process, name, request)
            if refused:
                if self.rng.random() < 0.9:
                    del fences[name]
                return

    def request(self, fence: int) -> dict[str, Any]:
        self.nonce += 1
        ears = self.rng.choice([["right"], ["left"], ["right", "left"], ["right", "left"]])
        is_package = self.rng.random() < 0.15
        return {
            "idem": f"k{self.nonce}", "reason": f"r{self.nonce}", "request": f"q{self.nonce}",
            "mode": "standard" if is_package else "advanced", "fence": None if is_package else fence,
            "kind": "persist" if is_package or self.rng.random() < 0.15 else "volatile", "ears": ears,
            "poison": self.rng.random() < 0.03, "expires_in": 3 if self.rng.random() < 0.05 else 10_000,
        }  # fmt: skip

    def acquire(self, process: str, name: str, fences: dict[str, int], *, steal: bool) -> Iterator[None]:
        f = "steal" if steal else "acquire"
        self.event(process, "invoke", f, name, holder=process, session=process)
        yield
        try:
            fences[name] = self.server.acquire(name, (process, process), steal=steal)
            self.event(process, "ok", f, name, fence=fences[name])
        except Refused as refused:
            self.event(process, "fail", f, name, code=str(refused))

    def submit(self, process: str, name: str, request: dict[str, Any]) -> Generator[None, None, bool]:
        """Ask until there is an answer, three times at most; whether it was a refusal."""
        for _ in range(3):
            self.event(process, "invoke", "submit", name, **request)
            yield
            if self.is_cut(process):
                self.event(process, "info", "submit", name)
                continue
            if self.pods.is_bus_away(self.ticks) and self.strikes(Mutation.REFUSE_WITHOUT_BUS):
                self.event(process, "fail", "submit", name, code="unavailable")
                return True
            try:
                answer = self.server.submit(name, request)
            except Refused as refused:
                self.event(process, "fail", "submit", name, code=str(refused))
                return True
            if self.is_cut(process):
                self.event(process, "info", "submit", name)
                continue
            self.event(process, "ok", "submit", name, **answer)
            return False
        return False

    def is_cut(self, process: str) -> bool:
        """Whether the network takes an answer, or what was asked; it says so, as a nemesis does."""
        is_cut = self.rng.random() < LOST_ANSWER
        for f in ("start", "stop") if is_cut else ():
            self.tell("nemesis", f, "", fault="fitter_reset", lane=process, value="")
        if is_cut:
            self.pods.route(process)
        return is_cut

    def cancel(self, process: str, name: str) -> Iterator[None]:
        seq = self.server.shelves[name].last_seq
        self.event(process, "invoke", "cancel", name, seq=seq)
        yield
        try:
            self.event(process, "ok", "cancel", name, state=self.server.cancel(name, seq))
        except Refused as refused:
            self.event(process, "fail", "cancel", name, code=str(refused))

    # The end.
    def drain(self) -> None:
        for _ in range(20_000):
            self.ticks += 1
            for phone in self.phones.values():
                phone.step()
            self.pump()
            if all(phone.is_idle for phone in self.phones.values()) and not any(
                shelf.open_rows() for shelf in self.server.shelves.values()
            ):
                return

    def read_aids(self, name: str) -> None:
        self.tell("runner", "read_aids", name, aids={ear: dict(aid) for ear, aid in self.phones[name].aids.items()})

    def final_reads(self) -> None:
        for name, shelf in self.server.shelves.items():
            self.read_aids(name)
            self.tell("runner", "read_device", name, last_seq=shelf.last_seq, in_aid=shelf.in_aid)
            self.tell("runner", "read_revision", name, rev="first", reason="", digests=shelf.first)
            for row in shelf.rows.values():
                self.tell(
                    "runner", "read_delivery", name,
                    epoch=self.server.epoch, seq=row.seq, state=row.state, ears=_ears(row),
                )  # fmt: skip
                words = {"reason": row.request["reason"], "digests": row.digests}
                self.tell("runner", "read_revision", name, rev=row.rev, **words)
                self.tell("runner", "read_row", name, seq=row.seq, rev=row.rev, mode=row.request["mode"])
            for event in shelf.audit:
                self.tell("runner", "read_audit", name, **event)


def _ears(row: Row) -> dict[str, str]:
    """The ears of a delivery that has ended as a whole, before a phone said anything of them, have ended so too."""
    return {ear: row.state if state == "accepted" else state for ear, state in row.ears.items()}


def run_fake(seed: int, mutation: Mutation | None = None, size: FakeSize = FakeSize()) -> FakeRun:
    """One whole run. ``strikes`` says how often the seeded bug struck: a bug that never did proves nothing."""
    world = _World(seed, mutation, size)
    for _ in range(size.steps):
        world.step()
    world.drain()
    world.final_reads()
    return FakeRun(world.history, world.server.log_text, tuple(world.names), world.struck)
