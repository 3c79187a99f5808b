"""Visits as they are lived: who comes, who is let in, who goes, and how it ends.

``media.visit_steps`` decides; the store keeps; ``rooms`` knows who is here. Whatever ends a visit ends what hangs on it
in the safe order: live work on the aids first, then what else was begun in it (``before_end``), then the visit itself.
Read ``VisitFlow.join``, ``admit`` and ``end`` first.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fitting.log import DeviceLog
from media.visit import Participant, Right, Visit, VisitTimes
from media.visit_steps import add_participant, admit, arrive, depart, end, time_passes
from protocol.contract.base import Failure, Refusal
from protocol.contract.fitting import Mode
from protocol.contract.times import iso_ms
from protocol.contract.visits import (
    AdmitToVisit,
    Departed,
    InVisit,
    Invited,
    JoinVisit,
    JoinVisitAnswer,
    LeaveVisit,
    ParticipantChanged,
    VisitChanged,
)
from protocol.errors import NotAllowed, NotFound, Overloaded, Unavailable
from signaling.auth import Principal
from signaling.flows.endings import Endings
from signaling.flows.rooms import Seat, VisitRooms, participant_view
from signaling.flows.visit_summary import VisitSummaries
from signaling.hub import Caller
from signaling.stores.visit_grants import VisitGrants, participant_of
from signaling.stores.visits import TRIES, VisitStore
from signaling.troubles import Troubles

__all__ = ["Step", "VisitFlow", "VisitLimits", "in_visit", "refused", "visit_changed"]

# What a change makes of a visit: the same visit when there is nothing to change.
Step = Callable[[Visit], Visit | Refusal]
_SERVER: Final = "server"
_BUSY: Final = Refusal(code="device_in_visit", message="another visit is live about this device", retryable=True)


@dataclass(frozen=True, slots=True)
class VisitLimits:
    """``max_due``: visits that time changes in one look. ``max_untold``: departures that the store must hear of."""

    times: VisitTimes
    max_due: int
    max_untold: int


class VisitFlow:
    """Carries out everything about visits that needs nobody's token: who may call what is asked before.

    ``before_end`` is called with a visit that is about to be over, live work on its aids having ended: whatever was
    begun in it ends there. ``on_removed``: with a visit and a user who was sent away; ``on_change``: with any that
    became another. ``new_id`` gives names that never repeat; ``clock`` Unix seconds.
    """

    def __init__(
        self,
        *,
        visits: VisitStore,
        grants: VisitGrants,
        rooms: VisitRooms,
        log: DeviceLog,
        endings: Endings,
        summaries: VisitSummaries,
        troubles: Troubles,
        limits: VisitLimits,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        reached: Callable[[str], None],
        pod: str = "",
    ) -> None:
        self._pod = pod
        self.visits = visits
        self.rooms = rooms
        self._grants = grants
        self.log = log
        self._endings = endings
        self.summaries = summaries
        self._troubles = troubles
        self._limits = limits
        self._clock = clock
        self._new_id = new_id
        self._reached = reached
        self.before_end: list[Callable[[Visit], Awaitable[None]]] = []
        self.on_removed: list[Callable[[str, str], Awaitable[None]]] = []
        self.on_change: list[Callable[[Visit], None]] = []
        self._untold: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    # Who is who

    async def standing(self, principal: Principal, visit: str) -> tuple[Visit, Participant]:
        """The visit, and as whom the caller takes part.

        Raises:
            NotFound: there is no such visit, or the caller takes no part in it.
        """
        found = await self.visits.get(visit)
        person = None if found is None else participant_of(found, principal)
        if found is None or person is None:
            raise NotFound("no such visit")
        return found, person

    async def require(self, principal: Principal, visit: str, right: Right) -> tuple[Visit, Participant]:
        """The same, for whoever has the right in it: also for a professional who stands in and has not joined yet.

        Raises:
            NotFound: as ``standing``.
            NotAllowed: the caller's role in the visit does not allow it, or he was not let in.
        """
        found = await self.visits.get(visit)
        if found is None or found.clinic != principal.clinic:
            raise NotFound("no such visit")
        person = participant_of(found, principal)
        if person is None:
            if not await self._grants.is_assigned(principal, found):
                raise NotFound("no such visit")
            person = Participant("", "professional", user=principal.user, admission="admitted")
        if not person.may(right):
            raise NotAllowed("your role in the visit does not allow it")
        return found, person

    # Coming and going

    async def join(self, caller: Caller, request: JoinVisit) -> JoinVisitAnswer | Failure:
        """A connection comes into the visit, or into its waiting room.

        Raises NotFound, Overloaded, Unavailable.
        """
        visit = await self._with_stand_in(caller.principal, request.visit)
        person = participant_of(visit, caller.principal)
        if person is None:
            raise NotFound("no such visit")
        was_seated = self.rooms.of(caller.connection_id, visit.visit) is not None
        # Hearing comes first: nothing may happen unseen.
        seat = self.rooms.seat(caller, visit.visit, person.participant, live_text=request.live_text)
        try:
            joined = await self.arrived(visit.visit, seat)
        except BaseException:
            if not was_seated:
                self.rooms.unseat(caller.connection_id, visit.visit)
            raise
        if isinstance(joined, Refusal):
            self.rooms.unseat(caller.connection_id, visit.visit)
            return refused(joined)
        # Somebody may have let him in, sent him away, or ended it since.
        self.rooms.stored(seat, joined)
        return await self._joined(joined, seat)

    async def arrived(self, visit: str, seat: Seat) -> Visit | Refusal:
        """Whoever has a seat here is there, as the store knows from now on. Raises NotFound, Unavailable."""
        connection = seat.caller.connection_id

        def came(before: Visit) -> Visit | Refusal:
            times = self._limits.times
            return arrive(before, seat.participant, connection, at_s=self._clock(), times=times, pod=self._pod)

        outcome = await self.change(visit, came)
        if isinstance(outcome, Refusal):
            return outcome
        before, after = outcome
        if before is not after:
            self.told_of(after, seat.participant)
            self._told_of_state(before, after)
        return after

    async def leave(self, caller: Caller, request: LeaveVisit) -> Departed:
        """A connection goes; who is in no visit goes nowhere. Raises Unavailable."""
        seat = self.rooms.unseat(caller.connection_id, request.visit)
        if seat is not None:
            await self._departed(request.visit, seat.participant, caller.connection_id)
        return Departed(visit=request.visit)

    async def gone(self, caller: Caller) -> None:
        """A connection is lost: it leaves the visits that it was in, at the latest when the store is there again."""
        for visit in self.rooms.visits_of(caller):
            seat = self.rooms.unseat(caller.connection_id, visit)
            if seat is not None:
                self._later(visit, seat.participant, caller.connection_id)
        await self._tell_departures()

    async def _departed(self, visit: str, participant: str, connection: str) -> None:
        outcome = await self.change(visit, lambda v: depart(v, participant, connection, times=self._limits.times))
        if not isinstance(outcome, Refusal) and outcome[0] is not outcome[1]:
            self.told_of(outcome[1], participant)
            self._told_of_state(*outcome)

    def _later(self, visit: str, participant: str, connection: str) -> None:
        self._untold[visit, participant, connection] = None
        if len(self._untold) > self._limits.max_untold:
            self._untold.popitem(last=False)
            self._reached("max_untold_departures")

    async def _tell_departures(self) -> None:
        for one in tuple(self._untold):
            with suppress(NotFound, Overloaded):
                try:
                    await self._departed(*one)
                except Unavailable:
                    return
            self._untold.pop(one, None)

    async def admit(self, caller: Caller, request: AdmitToVisit) -> Invited | Failure:
        """Somebody is let in. Raises NotFound, NotAllowed, Unavailable."""
        found, _ = await self.require(caller.principal, request.visit, Right.MANAGE)
        base = "" if found.state == "live" else await self.summaries.kept(found.device)

        def let_in(before: Visit) -> Visit | Refusal:
            return admit(
                before,
                request.participant,
                by=caller.user,
                at_s=self._clock(),
                base_revision=base,
                times=self._limits.times,
            )

        outcome = await self.change(request.visit, let_in)
        if isinstance(outcome, Refusal):
            return refused(outcome)
        before, after = outcome
        if before is not after:
            self.rooms.changed(after)
            self.told_of(after, request.participant)
            self._told_of_state(before, after)
        person = after.find(request.participant)
        if person is None:
            raise NotFound("no such participant")
        return Invited(participant=participant_view(person), state=after.state)

    # The end

    async def end(self, visit: str, *, by: str, reason: str) -> Visit | Refusal:
        """A live visit is over: live work on the aids ends first, then what else was begun in it, then the visit."""
        found = await self._get(visit)
        judged = end(found, by=by, reason=reason, at_s=self._clock())
        if isinstance(judged, Refusal) or judged is found:
            return judged
        kept = await self._end_what_hangs_on_it(found, by)

        def ended(before: Visit) -> Visit | Refusal:
            return end(before, by=by, reason=reason, at_s=self._clock(), kept_revision=kept)

        outcome = await self.change(visit, ended)
        return outcome if isinstance(outcome, Refusal) else self.over(*outcome)

    async def _end_what_hangs_on_it(self, visit: Visit, by: str) -> str:
        """What the aids keep then."""
        await self._endings.visit_over(visit.device, by)
        for hook in self.before_end:
            await hook(visit)
        return await self.summaries.kept(visit.device)

    def announce(self, visit: Visit) -> None:
        """A visit was made: those who have an account hear of it."""
        self.rooms.tell_people(visit, visit_changed(visit))

    def over(self, before: Visit, after: Visit) -> Visit:
        """A visit has been moved or is over: everybody hears of it, and nobody waits in it any more."""
        if before is not after:
            self._told_of_state(before, after)
            self.rooms.changed(after)
        return after

    async def sweep(self) -> None:
        """What time brings about, here and once in the cluster; and who has gone while the store was away.

        Raises Unavailable.
        """
        await self._tell_departures()
        if await self.rooms.look(self._limits.max_due):
            self._reached("max_due_visits")
        due = await self.visits.due(self._clock(), self._limits.max_due)
        if len(due) >= self._limits.max_due:
            self._reached("max_due_visits")
        for visit in due:
            # What keeps one visit from its end must not keep the others.
            with self._troubles.of(visit.device):
                await self._passed(visit)

    async def _passed(self, visit: Visit) -> None:
        kept = await self._end_what_hangs_on_it(visit, _SERVER) if visit.state == "live" else ""

        def passed(before: Visit) -> Visit:
            return time_passes(before, at_s=self._clock(), kept_revision=kept) or before

        outcome = await self.change(visit.visit, passed)
        if not isinstance(outcome, Refusal):
            self.over(*outcome)

    # How a visit is changed

    async def change(self, visit: str, make: Step) -> tuple[Visit, Visit] | Refusal:
        """Have ``make`` change the newest version: the visit before and after, one and the same when nothing changed.

        Raises:
            NotFound: there is no such visit.
            Unavailable: the store is away, or others change it all the time.
        """
        for _ in range(TRIES):
            before = await self._get(visit)
            after = make(before)
            if isinstance(after, Refusal):
                return after
            if after is before:
                return before, before
            outcome = await self.visits.change(after)
            if outcome == "changed":
                for changed in self.on_change:
                    changed(after)
                return before, after
            if outcome == "busy":
                return _BUSY
        raise Unavailable("others are changing the same visit, try again")

    def told_of(self, visit: Visit, participant: str) -> None:
        """Everybody in the visit hears how somebody stands to it now."""
        person = next((one for one in visit.participants if one.participant == participant), None)
        if person is not None:
            told = ParticipantChanged(visit=visit.visit, participant=participant_view(person), version=visit.version)
            self.rooms.tell(visit.visit, told)

    def _told_of_state(self, before: Visit, after: Visit) -> None:
        if (before.state, before.sequence) != (after.state, after.sequence):
            self.rooms.tell_people(after, visit_changed(after))

    async def _get(self, visit: str) -> Visit:
        found = await self.visits.get(visit)
        if found is None:
            raise NotFound("no such visit")
        return found

    async def _with_stand_in(self, principal: Principal, visit: str) -> Visit:
        """The visit; a professional who is assigned to its device and not named in it takes part from now on."""
        found = await self._get(visit)
        if participant_of(found, principal) is not None or not await self._grants.is_assigned(principal, found):
            return found
        name, user = self._new_id(), principal.user
        outcome = await self.change(visit, lambda v: add_participant(v, name, "professional", user=user, name=""))
        return found if isinstance(outcome, Refusal) else outcome[1]

    async def mode_of(self, device: str) -> Mode:
        """How the aids are worked on now."""
        head = await self.log.head(device)
        return "standard" if isinstance(head, Refusal) or head.live is None else "advanced"

    async def _joined(self, visit: Visit, seat: Seat) -> JoinVisitAnswer:
        person = visit.find(seat.participant)
        if person is None:
            raise NotFound("no such visit")
        return JoinVisitAnswer(
            visit=in_visit(visit, person),
            participant=person.participant,
            role=person.role,
            admitted=person.admission == "admitted",
            mode=await self.mode_of(visit.device),
        )


def refused(refusal: Refusal) -> Failure:
    """A refusal as a result."""
    return Failure(error=refusal, errors=(refusal,))


def in_visit(visit: Visit, person: Participant) -> InVisit:
    """The visit as this participant may know it: whoever was not let in knows only of himself."""
    shown = visit.present_list() if person.admission == "admitted" else (person,)
    return InVisit(
        visit=visit.visit,
        device=visit.device,
        state=visit.state,
        starts_at=iso_ms(visit.starts_at_s),
        ends_at=iso_ms(visit.ends_at_s),
        starts_local=visit.starts_local,
        zone=visit.zone,
        participants=tuple(map(participant_view, shown)),
        version=visit.version,
    )


def visit_changed(visit: Visit) -> VisitChanged:
    """What everybody is told of a visit."""
    return VisitChanged(
        visit=visit.visit,
        state=visit.state,
        starts_at=iso_ms(visit.starts_at_s),
        ends_at=iso_ms(visit.ends_at_s),
        starts_local=visit.starts_local,
        zone=visit.zone,
        version=visit.version,
    )
