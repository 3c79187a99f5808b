"""What goes wrong in a run: lanes of faults, side by side, and a count of those that have landed.

A fault that should end in something waits for it, with a bound. What did not land is not counted, and a run whose plan
was not met proves nothing. Read ``Nemesis.run`` first; the faults themselves are in ``faults_*``.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import zip_longest
from math import inf
from typing import Final

from tests.chaos import faults_bus, faults_clients, faults_network, faults_phone, faults_server
from tests.chaos.profile import Fault
from tests.chaos.stage import Stage

__all__ = ["FAULTS", "Nemesis"]

Strike = Callable[[Stage, Fault], Awaitable[bool]]
# What has missed its moment so often does not come to pass.
ROUNDS: Final = 3
_ENDS_A_LIFE: Final = frozenset({"server_kill", "server_terminate", "server_kill_at"})
_NETWORK: Final = faults_network.__all__
FAULTS: Final[Mapping[str, Strike]] = {
    **{name: getattr(faults_server, name) for name in faults_server.__all__ if name != "freeze"},
    **{name: getattr(faults_bus, name) for name in faults_bus.__all__ if name != "without_bus"},
    **{name: getattr(faults_clients, name) for name in faults_clients.__all__},
    **{name: getattr(faults_phone, name) for name in faults_phone.__all__ if name != "aid_fault"},
    **dict.fromkeys(faults_phone.AID_FAULTS, faults_phone.aid_fault),
    **{f"{side}_{name}": getattr(faults_network, name) for side in ("phone", "fitter") for name in _NETWORK},
}


class Nemesis:
    """``landed`` counts the faults that did what they were to do, ``missed`` are the others.

    ``spoken`` counts those of phones that have landed, by what the phone was speaking.

    After ``for_s`` none begins any more, and what has missed its moment is not tried again; what is asked of a run is
    then no more than what has ``begun``.
    """

    def __init__(self, stage: Stage, say: Callable[[str], None], *, for_s: float = inf) -> None:
        self._stage, self._say = stage, say
        self._end_s = time.monotonic() + for_s
        self.begun: Counter[str] = Counter()
        self.landed: Counter[str] = Counter()
        self.spoken: Counter[str] = Counter()
        self.missed: list[Fault] = []

    async def run(self) -> None:
        """All lanes side by side, each one fault after the other; then what has missed its moment again, in peace."""
        lanes: dict[str, list[Fault]] = {}
        for fault in self._stage.plan.faults:
            lanes.setdefault(fault.lane, []).append(fault)
        async with asyncio.TaskGroup() as tasks:
            for faults in lanes.values():
                tasks.create_task(self._lane(faults))
        if time.monotonic() > self._end_s:
            self.begun = Counter(self.landed)
            return
        self._end_s = inf
        for _ in range(ROUNDS):
            again, self.missed = self.missed, []
            await self._lane(again)
        self.begun = self.landed + Counter(fault.counted for fault in self.missed)

    async def _lane(self, faults: list[Fault]) -> None:
        for fault, after in zip_longest(faults, faults[1:]):
            if (pod := self._stage.fleet.pods.get(fault.lane)) is not None:
                # Its pause is time in which it is up: one that died as soon as it was there would do nothing.
                await pod.life_after(pod.life - 1)
            await asyncio.sleep(fault.pause_s)
            if time.monotonic() > self._end_s:
                return
            is_next = after is not None and after.lane == fault.lane and after.kind == "server_kill_at"
            if after is not None and is_next and fault.kind in _ENDS_A_LIFE:
                # The life that begins with this fault may as well know already where it ends.
                self._stage.fleet.pods[fault.lane].then = after.value
            self._note("start", fault)
            landed = await FAULTS[fault.kind](self._stage, fault)
            self._note("stop", fault, landed=landed)
            if landed:
                self.landed[fault.counted] += 1
                if fault.lane in self._stage.phones:
                    self.spoken[self._stage.proxies[fault.lane].spoken] += 1
            else:
                self.missed.append(fault)
            self._say(f"{fault.lane}: {fault.kind} {fault.value} {'landed' if landed else 'MISSED'}")

    def _note(self, f: str, fault: Fault, **more: bool) -> None:
        phone = self._stage.phones.get(fault.lane)
        values = {"fault": fault.kind, "lane": fault.lane, "value": fault.value, **more}
        self._stage.history.write("ok", f, "" if phone is None else phone.name, **values)
