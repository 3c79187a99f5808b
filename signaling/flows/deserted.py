"""Visits that a pod has left behind: whoever was there over one of its connections has gone, and everybody hears of it.

A pod that dies cannot say who has gone with it. The others look through the visits that go on, once, some time after
it is missed; a pod that begins does so too, since those before it may all have died. A pod that was missed and lives
says again who is there. Read ``DesertedVisits.sweep`` first.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from media.visit import Visit, VisitTimes
from media.visit_steps import deserted
from protocol.contract.base import Refusal
from protocol.errors import NotFound, Overloaded, Unavailable
from signaling.flows.rooms import Seat
from signaling.flows.visits import VisitFlow
from signaling.pods.directory import PodDirectory
from signaling.stores.visits import Place, place_of
from signaling.tasks import TaskSet

__all__ = ["DesertedPace", "DesertedVisits"]


@dataclass(frozen=True, slots=True)
class DesertedPace:
    """``after_s``: a pod that is missed for so long is looked for no more. ``max_due``: visits of one look."""

    after_s: float
    max_due: int
    times: VisitTimes


class DesertedVisits:
    """Looks, when pods have gone, for those who were there over them. ``clock`` gives Unix seconds."""

    def __init__(
        self,
        flow: VisitFlow,
        directory: PodDirectory,
        *,
        pace: DesertedPace,
        tasks: TaskSet,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
    ) -> None:
        self._flow = flow
        self._directory = directory
        self._pace = pace
        self._tasks = tasks
        self._clock = clock
        self._monotonic = monotonic
        self._reached = reached
        self._pods: frozenset[str] = frozenset()
        # When the visits are looked through, and how far that has come.
        self._due_s = monotonic() + pace.after_s
        self._place: Place | None = None
        directory.on_change(self._moved)
        flow.rooms.on_forgotten = self._forgotten

    def _moved(self) -> None:
        pods = frozenset(self._directory.pods())
        if self._pods - pods:
            self._due_s, self._place = self._monotonic() + self._pace.after_s, None
        self._pods = pods

    async def sweep(self) -> None:
        """Look through the next visits, when it is time. Raises Unavailable."""
        if not self._directory.has_looked or self._monotonic() < self._due_s:
            return
        pace, due_s = self._pace, self._due_s
        until_s = self._clock() + pace.times.opens_before_s
        found = await self._flow.visits.begun(until_s, self._place, pace.max_due)
        for visit in found:
            with suppress(NotFound):
                await self._look(visit)
        if self._due_s != due_s:
            # Another pod has gone meanwhile: from the beginning, when it is time.
            return
        if len(found) >= pace.max_due:
            self._reached("max_due_visits")
            self._place = place_of(found[-1])
        else:
            self._due_s, self._place = math.inf, None

    async def _look(self, visit: Visit) -> None:
        alive, times = frozenset(self._directory.pods()), self._pace.times

        def left(before: Visit) -> Visit:
            return deserted(before, alive.__contains__, times=times)

        if left(visit) is visit:
            return
        outcome = await self._flow.change(visit.visit, left)
        if isinstance(outcome, Refusal):
            return
        before, after = outcome
        for one in after.participants:
            if one not in before.participants:
                self._flow.told_of(after, one.participant)
        self._flow.over(before, after)

    def _forgotten(self, visit: Visit, seat: Seat) -> None:
        self._tasks.spawn(self._come_again(visit.visit, seat))

    async def _come_again(self, visit: str, seat: Seat) -> None:
        rooms = self._flow.rooms
        # With the store away the next word of the visit tells it again.
        with suppress(Unavailable, NotFound, Overloaded):
            if rooms.of(seat.caller.connection_id, visit) is not seat:
                return
            joined = await self._flow.arrived(visit, seat)
            if isinstance(joined, Refusal):
                rooms.unseat(seat.caller.connection_id, visit)
            else:
                rooms.stored(seat, joined)
