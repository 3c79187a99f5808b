"""One process of phones: ``python -m loadtest.storm_generator`` reads a ``Plan`` and prints an ``Outcome``, both JSON.

Phones are due at an even pace, whatever the server does. One that cannot begin when it is due, because too many are on
the line or the process has no time, is late, begins as soon as it can, and is counted; one whose visit fails comes
again after a while, as real ones do. It must not know where its server runs. Read ``run`` first.
"""

import asyncio
import resource
import sys
import time
from collections import Counter
from typing import Final

import msgspec

from protocol.signalr.codec import ProtocolName

from .bare import loop_factory
from .dev_tokens import mint
from .storm_package import patient_name
from .storm_phone import Visit, VisitFailed, Visitors, WrongPackage

__all__ = ["Outcome", "Plan", "run"]

_TICK_S: Final = 1.0
_LATE_S: Final = 0.05
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


class Plan(msgspec.Struct, frozen=True, rename="camel"):
    """Phones ``first``, ``first + step``, ... below ``devices``, of which one is due every ``pace_s``.

    At most ``on_line`` are connected at a time. A visit is given up after ``patience_s``, a device ``give_up_s`` after
    it was due. ``begin_s`` is when the first one is due, Unix time.
    """

    url: str
    key: str
    clinic: str
    protocol: ProtocolName
    first: int
    step: int
    devices: int
    pace_s: float
    begin_s: float
    on_line: int
    stay_s: float
    patience_s: float
    give_up_s: float


class Outcome(msgspec.Struct, rename="camel"):
    """What became of the phones of one process. Times in seconds; those from ``due`` count what a phone was late, too.

    ``wrong``: those that were offered another. ``failed``: visits
    that came to nothing, by reason. ``most``: phones on the line at a time. ``given_up``: devices whose phones gave up;
    what becomes of their packages the log has to say. ``put_off``: how often a phone was told to attach later.
    """

    attach: list[float] = msgspec.field(default_factory=list)
    connect: list[float] = msgspec.field(default_factory=list)
    due: list[float] = msgspec.field(default_factory=list)
    late: int = 0
    latest_s: float = 0.0
    given_up: list[int] = msgspec.field(default_factory=list)
    put_off: int = 0
    wrong: list[str] = msgspec.field(default_factory=list)
    failed: dict[str, int] = msgspec.field(default_factory=dict)
    most: int = 0
    ended_s: float = 0.0
    cpu_s: float = 0.0


class _Phones:
    """The phones of a plan, on the way to their outcome."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ahead_s = time.time() - time.monotonic()
        self._visitors = Visitors(
            plan.url, plan.protocol, patience_s=plan.patience_s, stay_s=plan.stay_s, now=time.monotonic
        )
        self._room = asyncio.Semaphore(plan.on_line)
        self._on_line = 0
        self._failed: Counter[str] = Counter()
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        plan = self._plan
        ticking = asyncio.get_running_loop().create_task(self._tick())
        try:
            async with asyncio.TaskGroup() as group:
                for place, number in enumerate(range(plan.first, plan.devices, plan.step)):
                    due_s = plan.begin_s - self._ahead_s + place * plan.pace_s
                    # Also when nothing is to be waited for: phones that are on the line need their turn.
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))  # sleep: the pace is what is set
                    await self._room.acquire()
                    self._count_late(time.monotonic() - due_s)
                    group.create_task(self._be(number, due_s))
        finally:
            ticking.cancel()
        self.outcome.failed, self.outcome.put_off = dict(self._failed), self._visitors.put_off
        self.outcome.ended_s = time.time()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.outcome.cpu_s = usage.ru_utime + usage.ru_stime
        return self.outcome

    def _count_late(self, late_s: float) -> None:
        if late_s > _LATE_S:
            self.outcome.late += 1
            self.outcome.latest_s = max(self.outcome.latest_s, late_s)

    async def _be(self, number: int, due_s: float) -> None:
        """One phone, until it has its package. It enters with a place on the line, which it gives up when it rests."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._on_line += 1
            self.outcome.most = max(self.outcome.most, self._on_line)
            began_s = time.monotonic()
            try:
                self._add(await self._visitors.visit(number, self._token(number)), began_s - due_s)
                return
            except WrongPackage as error:
                self.outcome.wrong.append(str(error))
                return
            except VisitFailed as error:
                self._failed[str(error)] += 1
            finally:
                self._on_line -= 1
                self._room.release()
            if time.monotonic() - due_s >= self._plan.give_up_s:
                self.outcome.given_up.append(number)
                return
            await asyncio.sleep(pause_s)  # sleep: whoever was sent away comes again after a while
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            await self._room.acquire()

    def _add(self, visit: Visit, waited_s: float) -> None:
        self.outcome.attach.append(visit.attach_to_offer_s)
        self.outcome.connect.append(visit.connect_to_offer_s)
        self.outcome.due.append(waited_s + visit.connect_to_offer_s)

    def _token(self, number: int) -> str:
        return mint(
            self._plan.key.encode(),
            user=patient_name(number),
            clinic=self._plan.clinic,
            roles=("patient", "device"),
            now_s=time.time(),
        )

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)  # sleep: the pace is what is set
            self._visitors.tick()


async def run(plan: Plan) -> Outcome:
    """Let the phones of a plan come and go."""
    return await _Phones(plan).run()


def main() -> None:
    """Run the command."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        outcome = runner.run(run(plan))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
