"""What is open in ACS for a visit: its room or group, and who has a token for it. Read ``AcsVisits.join`` first.

What is closed, and who is taken out, is seen to by looking (``tending``): so it happens whichever process ends a visit,
and again after one that has died over it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from media.acs import AcsPlan, ClinicPlan, Reason, Trouble, display_name, person_of, room_role, scopes_for
from media.visit import Participant, Visit
from protocol.contract.base import Refusal
from protocol.contract.calls import AcsJoin
from protocol.contract.times import iso_ms
from protocol.errors import Overloaded, Unavailable
from signaling.stores.acs import AcsStore, AcsVisit

from .identities import AcsIdentities
from .service import CommunicationService

__all__ = ["AcsParts", "AcsVisits"]

_TRIES: Final = 24
# A room outlives the visit's planned end: the visit is over when somebody ends it, and the room with it.
_OPEN_AFTER_S: Final = 14_400.0
_OPEN_BEFORE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class AcsParts:
    """``endpoint``: where clients reach ACS. ``clock``: Unix seconds. ``new_group``: a UUID that nobody can guess.

    ``consent``: why the patient of a device may not be seen and heard.
    """

    service: CommunicationService
    identities: AcsIdentities
    store: AcsStore
    plan: AcsPlan
    endpoint: str
    clock: Callable[[], float]
    new_group: Callable[[], str]
    consent: Callable[[str], Awaitable[Refusal | None]]


class AcsVisits:
    """Opens; ``tending`` closes."""

    def __init__(self, parts: AcsParts) -> None:
        self.parts = parts

    def plan_of(self, clinic: str) -> ClinicPlan | None:
        """What ACS carry of a clinic's visits."""
        return self.parts.plan.of(clinic)

    async def join(self, visit: Visit, person: Participant, *, until_s: float) -> AcsJoin:
        """All that a client of somebody needs to join the call of a visit. ``until_s``: monotonic.

        Raises Trouble; a store that is away is one too.
        """
        plan = self.plan_of(visit.clinic)
        if plan is None or not plan.calls:
            raise Trouble(Reason.MISTAKE)
        try:
            return await self._joined(visit, person, plan, until_s)
        except (Unavailable, Overloaded):
            raise Trouble(Reason.AWAY) from None

    async def touch(self, visit: Visit) -> None:
        """Something has changed in a visit: have it looked at now. Raises Unavailable, Overloaded."""
        plan = self.plan_of(visit.clinic)
        if plan is None or (visit.state != "live" and await self.parts.store.visit(visit.visit) is None):
            return
        now_s = self.parts.clock()
        await self.change(visit, lambda one: one if _is_due(one, now_s) else structs.replace(one, due_at_s=now_s))

    async def poke(self, thread: str) -> None:
        """Something may have been written in a thread: have it looked at now. Raises Unavailable."""
        for _ in range(_TRIES):
            found, now_s = await self.parts.store.of_thread(thread), self.parts.clock()
            if found is None or found.is_closed or _is_due(found, now_s):
                return
            if await self.parts.store.change(structs.replace(found, due_at_s=now_s, version=found.version + 1)):
                return

    async def change(self, visit: Visit, make: Callable[[AcsVisit], AcsVisit]) -> AcsVisit:
        """Have ``make`` change what is open, which is made when there is nothing. Raises Unavailable, Overloaded."""
        store, now_s = self.parts.store, self.parts.clock()
        new = AcsVisit(visit.visit, visit.clinic, due_at_s=now_s)
        for _ in range(_TRIES):
            before = await store.visit(visit.visit)
            if before is None:
                if not await store.add(new):
                    continue
                before = new
            kept = before
            if before.is_closed and visit.state == "live":
                # Consent was given again.
                before = structs.replace(before, due_at_s=now_s, room="", group="", thread="", people={}, in_thread={})
            after = make(before)
            if after is kept:
                return kept
            after = structs.replace(after, version=before.version + 1)
            if await store.change(after):
                return after
        raise Unavailable("others change the same, try again")

    async def _joined(self, visit: Visit, person: Participant, plan: ClinicPlan, until_s: float) -> AcsJoin:
        parts, who = self.parts, person_of(visit, person)
        scopes = scopes_for(person, plan)
        # Known before the token is there, so that whatever dies in between, it is revoked.
        await self._known(visit, person.participant, who)
        identity, token = await parts.identities.token(visit.clinic, who, scopes, visit=visit.visit, until_s=until_s)
        opened = await self._opened(visit, person, identity, plan)
        if plan.chat and person.participant not in opened.in_thread:
            # He can be in the thread now.
            await self.touch(visit)
        where: dict[str, str] = {"room_id": opened.room} if opened.room else {"group_id": opened.group}
        if opened.thread and any(scope.startswith("chat") for scope in scopes):
            where["thread_id"] = opened.thread
        return AcsJoin(
            token=token.token,
            expires_at=iso_ms(token.expires_at_s),
            user_id=identity,
            endpoint=parts.endpoint,
            display_name=display_name(person.role),
            **where,
        )

    async def _known(self, visit: Visit, participant: str, who: str) -> None:
        def known(before: AcsVisit) -> AcsVisit:
            if before.people.get(participant) == who:
                return before
            return structs.replace(before, people={**before.people, participant: who})

        await self.change(visit, known)

    async def _opened(self, visit: Visit, person: Participant, identity: str, plan: ClinicPlan) -> AcsVisit:
        """The room or the group of a visit, with this person in it."""
        parts = self.parts
        found = await parts.store.visit(visit.visit)
        if not plan.rooms:
            group = parts.new_group()
            return await self.change(visit, lambda one: one if one.group else structs.replace(one, group=group))
        people = {identity: room_role(person.role)}
        if found is not None and found.room:
            await parts.service.set_room(found.room, people)
            return found
        now_s = parts.clock()
        until_s = max(now_s, visit.ends_at_s) + _OPEN_AFTER_S
        room = await parts.service.open_room(now_s - _OPEN_BEFORE_S, until_s, people)
        opened = await self.change(visit, lambda one: one if one.room else structs.replace(one, room=room))
        if opened.room != room:
            # Somebody else was first.
            await parts.service.close_room(room)
            await parts.service.set_room(opened.room, people)
        return opened


def _is_due(one: AcsVisit, now_s: float) -> bool:
    return one.due_at_s is not None and one.due_at_s <= now_s
