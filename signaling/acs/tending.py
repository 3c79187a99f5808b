"""Looks after what is open in ACS: threads and who is in them, messages both ways, and that it is closed in the end.

A look reads the visit from the store and makes of ACS what belongs to it. One process does it at a time, and goes on
saying that it does; one that dies over it, or gets no answer, leaves a doubt, and then nothing is written twice.
Read ``AcsTending.sweep``, ``_look``.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from media.acs import Reason, Trouble, display_name, person_of, wanted_in_chat
from media.visit import Visit
from protocol.errors import Unavailable
from signaling.stores.acs import AcsVisit
from signaling.tasks import race

from .bridge import ChatBridge
from .identities import SERVICE, unless_gone
from .service import AcsToken
from .visits import AcsVisits

__all__ = ["AcsTending", "TendingPace"]

_LOOK_S: Final = 60.0
# Who looks says so every few seconds; who cannot say it stops long before another one begins.
_BUSY_S: Final = 20.0
_RENEW_S: Final = 4.0
_MARGIN_S: Final = 10.0
_TRIES: Final = 24
_AT_A_TIME: Final = 16
_REFUSALS: Final = 3
_MAX_BACK_OFF_S: Final = 600.0
# Of the token of the service identity what is left must be enough for a look.
_LEFT_S: Final = 300.0
# Of clinics that are remembered here; for one more the oldest is asked for again.
_MOST_TOKENS: Final = 256
_SERVICE_SCOPES: Final = ("chat",)
_TOPIC: Final = "Visit"
_NAMES: Final = uuid.UUID("9a5b7d1e-3f0c-4c7f-8a36-0b8a6c0d2f11")


@dataclass(frozen=True, slots=True)
class TendingPace:
    """``poll_s``: how often a thread is looked at. ``max_due``: visits of one look."""

    poll_s: float
    max_due: int


class AcsTending:
    """``look_up`` reads a visit, None when there is none."""

    def __init__(
        self,
        visits: AcsVisits,
        bridge: ChatBridge,
        *,
        look_up: Callable[[str], Awaitable[Visit | None]],
        pace: TendingPace,
        reached: Callable[[str], None],
    ) -> None:
        self._visits = visits
        self._bridge = bridge
        self._look_up = look_up
        self._pace = pace
        self._reached = reached
        self._tokens: dict[str, tuple[str, AcsToken]] = {}

    async def sweep(self) -> None:
        """Look at what is due. Raises Unavailable."""
        parts = self._visits.parts
        due = await parts.store.due(parts.clock(), self._pace.max_due)
        if len(due) >= self._pace.max_due:
            self._reached("max_due_acs")
        for at in range(0, len(due), _AT_A_TIME):
            await asyncio.gather(*map(self.look, due[at : at + _AT_A_TIME]))

    async def look(self, seen: AcsVisit) -> None:
        """Look at one, unless somebody else does. Raises Unavailable."""
        parts, now_s = self._visits.parts, self._visits.parts.clock()
        if seen.busy_until_s > now_s:
            return
        held = structs.replace(
            seen, due_at_s=now_s + _BUSY_S, busy_until_s=now_s + _BUSY_S, doubt=True, version=seen.version + 1
        )
        if not await parts.store.change(held):
            return
        # What was in doubt before is what this look must know.
        work = _Work(structs.replace(held, doubt=seen.doubt), has_died=seen.busy_until_s > 0.0)
        hold, failed = _Hold(now_s + _BUSY_S, now_s + _BUSY_S), True
        try:
            async with asyncio.timeout(_LOOK_S):
                await race(self._look(work), self._holding(held.visit, hold))
            failed = False
        except (Trouble, TimeoutError):
            pass
        finally:
            await self._settle(held, hold, work.now, failed=failed)

    async def _holding(self, visit: str, hold: "_Hold") -> None:
        """Go on saying that it is looked at. Raises TimeoutError when others may believe soon that it is not."""
        parts = self._visits.parts
        while True:
            await asyncio.sleep(_RENEW_S)
            with suppress(Unavailable):
                await self._hold_on(visit, hold)
            if hold.until_s - parts.clock() < _MARGIN_S:
                raise TimeoutError

    async def _hold_on(self, visit: str, hold: "_Hold") -> None:
        parts = self._visits.parts
        for _ in range(_TRIES):
            before, until_s = await parts.store.visit(visit), parts.clock() + _BUSY_S
            if before is None or not hold.is_of(before):
                raise TimeoutError
            due_at_s = before.due_at_s if hold.is_touched(before) else until_s
            after = structs.replace(before, busy_until_s=until_s, due_at_s=due_at_s, version=before.version + 1)
            if await parts.store.change(after):
                hold.until_s, hold.due_at_s = until_s, hold.due_at_s if hold.is_touched(before) else until_s
                return

    async def _settle(self, held: AcsVisit, hold: "_Hold", done: AcsVisit, *, failed: bool) -> None:
        """What became of it, over what others have changed meanwhile."""
        parts, now_s = self._visits.parts, self._visits.parts.clock()
        tries = held.tries + 1 if failed else 0
        wait_s = min(self._pace.poll_s * 2.0 ** min(tries, 10), _MAX_BACK_OFF_S)
        for _ in range(_TRIES):
            before = await parts.store.visit(held.visit)
            if before is None or not hold.is_of(before):
                # Another one looks at it, who knows better by now.
                return
            is_touched = hold.is_touched(before)
            # Somebody has joined while it was closed: it is closed once more.
            has_more = before.room != held.room or not set(before.people) <= set(held.people)
            is_closed = done.is_closed and not failed and not has_more
            is_soon = is_touched or (has_more and done.is_closed)
            due_at_s = None if is_closed else now_s if is_soon else now_s + wait_s
            after = structs.replace(
                before,
                thread=done.thread,
                in_thread=done.in_thread,
                sent_n=done.sent_n,
                seen_s=done.seen_s,
                threads=done.threads,
                people={who: person for who, person in before.people.items() if who not in _gone(held, done)},
                room="" if is_closed else before.room,
                busy_until_s=0.0,
                doubt=failed,
                due_at_s=due_at_s,
                tries=tries,
                version=before.version + 1,
            )
            if await parts.store.change(after):
                return
        raise Unavailable("others change the same, try again")

    async def _look(self, work: "_Work") -> None:
        parts = self._visits.parts
        visit = await self._look_up(work.now.visit)
        plan = None if visit is None else self._visits.plan_of(visit.clinic)
        is_over = visit is None or plan is None or visit.state != "live"
        if is_over or (visit is not None and await parts.consent(visit.device) is not None):
            await self._close(work, visit)
            return
        if visit is None or plan is None:
            raise AssertionError("it is over")
        await self._send_away(work, visit)
        if plan.chat:
            with self._lost_thread(work):
                token = await self._service_token(visit.clinic)
                await self._open_thread(work, visit, token)
                await self._seat(work, visit, token)
                await self._bridge.carry(work, visit, token)

    # The thread and who is in it

    @contextmanager
    def _lost_thread(self, work: "_Work") -> Iterator[None]:
        """A thread that is not there any more, or does not let us in again and again, is given up for another one."""
        try:
            yield
        except Trouble as trouble:
            if trouble.reason is Reason.REFUSED:
                # The token was revoked, or its identity is another one by now.
                self._tokens.pop(work.now.clinic, None)
            if trouble.reason is Reason.UNKNOWN or (trouble.reason is Reason.REFUSED and work.now.tries >= _REFUSALS):
                work.now = structs.replace(work.now, thread="", in_thread={}, threads=work.now.threads + 1)
            raise

    async def _open_thread(self, work: "_Work", visit: Visit, token: tuple[str, AcsToken]) -> None:
        if not work.now.thread:
            # The same name for the same thread, so that one whose answer was lost is found again.
            key = str(uuid.uuid5(_NAMES, f"{visit.clinic} {visit.visit} {work.now.threads}"))
            thread = await self._visits.parts.service.open_thread(token[1], _TOPIC, key)
            work.now = structs.replace(work.now, thread=thread)

    async def _seat(self, work: "_Work", visit: Visit, token: tuple[str, AcsToken]) -> None:
        parts, wanted = self._visits.parts, wanted_in_chat(visit)
        for participant in sorted(set(work.now.in_thread).difference(wanted)):
            await self._unseat(work, visit.clinic, participant, token[1])
        for participant, person in wanted.items():
            if participant in work.now.in_thread:
                continue
            who = person_of(visit, person)
            identity = await parts.identities.identity(visit.clinic, who)
            if identity is None:
                # He joins over ours so far, and gets an identity with his first token.
                continue
            try:
                await parts.service.add(token[1], work.now.thread, identity, display_name(person.role))
            except Trouble as trouble:
                if trouble.reason is not Reason.UNKNOWN:
                    raise
                continue
            work.now = structs.replace(work.now, in_thread={**work.now.in_thread, participant: who})

    async def _unseat(self, work: "_Work", clinic: str, participant: str, token: AcsToken) -> None:
        parts = self._visits.parts
        identity = await parts.identities.identity(clinic, work.now.in_thread[participant])
        if identity is not None:
            with unless_gone():
                await parts.service.remove(token, work.now.thread, identity)
        left = {who: person for who, person in work.now.in_thread.items() if who != participant}
        work.now = structs.replace(work.now, in_thread=left)

    async def _send_away(self, work: "_Work", visit: Visit) -> None:
        """Who was sent away has no token, and is in no room."""
        parts = self._visits.parts
        for participant, who in tuple(work.now.people.items()):
            person = visit.find(participant)
            if person is not None and person.admission == "admitted":
                continue
            identity = await parts.identities.identity(visit.clinic, who)
            if identity is not None and work.now.room:
                with unless_gone():
                    await parts.service.leave_room(work.now.room, (identity,))
            await parts.identities.revoke(visit.clinic, who, visit.visit)
            work.now = structs.replace(work.now, people={k: v for k, v in work.now.people.items() if k != participant})

    async def _service_token(self, clinic: str) -> tuple[str, AcsToken]:
        known = self._tokens.get(clinic)
        parts = self._visits.parts
        if known is None or known[1].expires_at_s < parts.clock() + _LEFT_S:
            known = await parts.identities.token(clinic, SERVICE, _SERVICE_SCOPES, visit="")
            if len(self._tokens) >= _MOST_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
            self._tokens[clinic] = known
        return known

    # The end

    async def _close(self, work: "_Work", visit: Visit | None) -> None:
        """What was written there is fetched, then everything is closed; what is closed already is not missed."""
        parts, clinic = self._visits.parts, work.now.clinic
        if work.now.thread:
            with unless_gone():
                token = await self._service_token(clinic)
                if visit is not None:
                    await self._bridge.fetch(work, visit, token)
                await parts.service.close_thread(token[1], work.now.thread)
        if work.now.room:
            with unless_gone():
                await parts.service.close_room(work.now.room)
        for who in {*work.now.people.values(), *work.now.in_thread.values()}:
            await parts.identities.revoke(clinic, who, work.now.visit)
            if who.startswith("guest:"):
                await parts.identities.erase(clinic, who)
        threads = work.now.threads + bool(work.now.thread)
        work.now = structs.replace(work.now, thread="", in_thread={}, people={}, threads=threads, due_at_s=None)


@dataclass(slots=True)
class _Hold:
    """Until when others leave a visit to this look, and when they were told to look next, as it was written last."""

    until_s: float
    due_at_s: float

    def is_of(self, now: AcsVisit) -> bool:
        """Whether it is still this look's."""
        return now.busy_until_s == self.until_s

    def is_touched(self, now: AcsVisit) -> bool:
        """Whether somebody wants it looked at sooner."""
        return now.due_at_s is not None and now.due_at_s < self.due_at_s


@dataclass(slots=True)
class _Work:
    """What is open, as far as this look has come. ``has_died``: whoever looked before has not said how far he came."""

    now: AcsVisit
    has_died: bool


def _gone(held: AcsVisit, done: AcsVisit) -> frozenset[str]:
    """Who was taken out in this look."""
    return frozenset(held.people).difference(done.people)
