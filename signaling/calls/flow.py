"""Calls, carried out: who may, what is kept, what is relayed, and who hears of it.

``media.call`` decides, a ``CallRegistry`` keeps; a change is tried again on what the call has become when somebody else
was first. Nothing that two ends say to each other is kept or logged here. Read ``CallFlow.start`` first, ``_change``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec import structs

from media import call as calls
from media.call import Call, CallTimes, Place
from media.call_relay import wish_for_relay
from media.candidate import HostPolicy
from media.ice import IcePlan
from media.legs import LegEvent
from protocol.contract.base import Failure, Refusal
from protocol.contract.calls import (
    RELAY_PEER,
    AnswerCall,
    CallAnswer,
    CallBackend,
    CallEndReason,
    DeclineCall,
    EndCall,
    SetCallMedia,
    StartCall,
)
from protocol.contract.sessions import Done
from protocol.errors import Unavailable
from signaling.calls.news import CallNews
from signaling.calls.registry import CallRegistry
from signaling.hub import Caller
from signaling.hub_clients import HubClients
from signaling.metrics import Metrics

__all__ = ["CallFlow", "CallParts", "VisitPeople"]

_TRIES: Final = 20
# How often a call with which time does nothing is asked for, and kept for another while.
_LOOK_S: Final = 5.0
_KEEP_S: Final = 20.0
_RECENT_S: Final = 1.0
_NO_CALL: Final = Refusal(code="no_call", message="there is no such call, or no part of yours in it")


class VisitPeople(Protocol):
    """Who is in a visit now."""

    async def joined(self, visit: str) -> tuple[str, ...]:
        """The users who have been let in, whether or not they are connected just now. Raises Unavailable."""
        ...

    async def may_start(self, caller: Caller, visit: str) -> bool:
        """Whether the caller may have others rung. Raises Unavailable."""
        ...

    async def may_talk(self, caller: Caller, visit: str) -> bool:
        """Whether the caller may send sound and picture, or only sees and hears. Raises Unavailable."""
        ...

    async def leads(self, caller: Caller, visit: str) -> bool:
        """Whether the caller may end the call for all. Raises Unavailable."""
        ...


def _no_relay() -> Refusal | None:
    return Refusal(code="relay_off", message="this server passes no media on")


@dataclass(frozen=True, slots=True)
class CallParts:
    """``pod`` is this one, ``is_alive`` says so of others. ``now_s`` is Unix time, ``new_id`` names a call.

    ``ended`` is told why a call has. ``relay_refusal``: why media of one more call may not go through this pod.
    """

    registry: CallRegistry
    clients: HubClients
    people: VisitPeople
    ice: IcePlan
    times: CallTimes
    max_peers: int
    hosts: HostPolicy
    pod: str
    is_alive: Callable[[str], bool]
    now_s: Callable[[], float]
    new_id: Callable[[], str]
    metrics: Metrics
    ended: Callable[[CallEndReason], None] = lambda _: None
    relay_refusal: Callable[[], Refusal | None] = _no_relay


@dataclass(slots=True)
class _Seen:
    """A call as it was here last; when it was asked for, and kept for another while, last."""

    call: Call
    looked_s: float
    kept_s: float


class CallFlow:
    """The calls of this pod's people."""

    def __init__(self, parts: CallParts) -> None:
        self.parts = parts
        self.on_change: list[Callable[[Call | None, Call], None]] = []
        # Of those that others have made, when this pod finds them.
        self.on_found: list[Callable[[Call | None, Call], None]] = []
        # Of the changes that were made here alone: each is heard of on one pod, once.
        self.on_made: list[Callable[[Call | None, Call], None]] = []
        # Of a call that was seen here at that time, Unix seconds, and is over: another pod has ended it.
        self.on_gone: list[Callable[[Call, float], None]] = []
        self.news = CallNews(parts.clients, parts.now_s)
        self._registry = parts.registry
        # The calls that somebody here takes part in, or has begun, as they were last; looked at as time passes.
        self._visits: dict[str, _Seen] = {}

    async def start(self, caller: Caller, request: StartCall, backend: CallBackend = "webrtc") -> CallAnswer | Failure:
        """Ring the others, or join the call that goes on, whatever carries that."""
        others = await self.others(caller, request)
        if isinstance(others, Refusal):
            return self._refuse(others)
        through_here = self.parts.relay_refusal() if request.backend == "relay" else None
        if through_here is not None and not await self._is_relayed(request.visit):
            return self._refuse(through_here)
        for _ in range(_TRIES):
            begun = await self._begun(caller, request, others, backend)
            known = await self._registry.begin(begun)
            if known is None:
                self._became(None, begun)
                return self._answer(caller, begun)
            joined = await self._joined(caller, request.visit, known.call_id, request)
            # One that has just ended makes room for a new one.
            if joined is not _NO_CALL:
                return self._refuse(joined) if isinstance(joined, Refusal) else self._answer(caller, joined)
        raise Unavailable("calls begin and end in this visit all the time, try again")

    async def answer(self, caller: Caller, request: AnswerCall) -> CallAnswer | Failure:
        """Take part with this connection, or come back."""
        parts, user, place = self.parts, caller.principal.user, self._place(caller)
        talks = await parts.people.may_talk(caller, request.visit)

        def answered(call: Call) -> Call | Refusal:
            return calls.answer(call, user, place, now_s=parts.now_s(), max_peers=parts.max_peers, talks=talks)

        joined = await self._change(request.visit, request.call_id, answered)
        return self._refuse(joined) if isinstance(joined, Refusal) else self._answer(caller, joined)

    async def decline(self, caller: Caller, request: DeclineCall) -> Done | Failure:
        """Not now."""
        event = LegEvent.BUSY if request.busy else LegEvent.DECLINE
        return await self._leave(caller, request.visit, request.call_id, event)

    async def end(self, caller: Caller, request: EndCall) -> Done | Failure:
        """Leave, or end it for all."""
        if not isinstance(request.call_id, str):
            return self._refuse(_NO_CALL)
        if not request.for_all:
            return await self._leave(caller, request.visit, request.call_id, LegEvent.HANG_UP)
        if not await self.parts.people.leads(caller, request.visit):
            return self._refuse(Refusal(code="not_leading", message="who leads the visit may end the call for all"))
        ended = await self._change(request.visit, request.call_id, lambda call: calls.close(call, "hung_up"))
        return self._refuse(ended) if isinstance(ended, Refusal) else Done()

    async def media(self, caller: Caller, request: SetCallMedia) -> Done | Failure:
        """What a participant says of its own media."""
        said = await self._change(
            request.visit, request.call_id, lambda call: calls.said(call, caller.connection_id, request)
        )
        return self._refuse(said) if isinstance(said, Refusal) else Done()

    async def over(self, visit: str, reason: CallEndReason) -> None:
        """The visit is over, and its call with it. Raises Unavailable."""
        call = await self._registry.get(visit)
        if call is not None:
            await self._change(visit, call.call_id, lambda call: calls.close(call, reason))

    async def sent_away(self, visit: str, user: str) -> None:
        """Somebody takes part in the visit no more, and so in its call neither. Raises Unavailable."""
        call = await self._registry.get(visit)
        number = None if call is None else call.peer_of(user)
        if call is not None and number is not None:
            event = LegEvent.DECLINE if call.legs[number].state == "ringing" else LegEvent.HANG_UP
            await self._change(visit, call.call_id, lambda call: calls.end_leg(call, user, event))

    async def gone(self, caller: Caller) -> None:
        """A connection has ended: whoever took part with it may come back for a while."""
        # Whoever took part with it did so here, so what is known here says whether there is anything to do.
        for visit, seen in tuple(self._visits.items()):
            if seen.call.taken_by(caller.connection_id) is not None:
                await self._change(visit, seen.call.call_id, lambda call: self._lost(call, caller.connection_id))

    async def sweep(self) -> None:
        """What time has brought about: nobody answers, nobody comes back, a pod has gone with its connections."""
        now_s = self.parts.now_s()
        for visit, seen in tuple(self._visits.items()):
            if now_s < seen.looked_s + _LOOK_S and self._aged(seen.call) == seen.call:
                continue
            after = await self._change(visit, seen.call.call_id, self._aged)
            if isinstance(after, Refusal):
                self._forget(visit)
                continue
            self._see(after)
            if after.ended is None and now_s >= seen.kept_s + _KEEP_S:
                seen.kept_s = now_s
                await self._registry.keep(after)

    async def recent(self, visit: str) -> Call | None:
        """A call as it was a moment ago at most: for what comes so often that each cannot ask."""
        seen = self._visits.get(visit)
        if seen is not None and self.parts.now_s() < seen.looked_s + _RECENT_S:
            return seen.call
        return await self.now(visit)

    async def now(self, visit: str) -> Call | None:
        """A call as it is."""
        call = await self._registry.get(visit)
        if call is not None:
            self._see(call)
        return call

    async def change(self, visit: str, call_id: str, step: Callable[[Call], Call | Refusal]) -> Call | Refusal:
        """One change of a call, on what it is now. Raises Unavailable when others change it all the time."""
        return await self._change(visit, call_id, step)

    async def others(self, caller: Caller, request: StartCall) -> tuple[str, ...] | Refusal:
        """Whom a call would ring, or why the caller may not start one. Raises Unavailable."""
        user, present = caller.principal.user, await self.parts.people.joined(request.visit)
        if user not in present:
            return Refusal(code="not_admitted", message="only who was let into the visit takes part in its call")
        if not await self.parts.people.may_start(caller, request.visit):
            return Refusal(code="may_not_start", message="your role in the visit takes part in calls, and starts none")
        wanted = request.invite if isinstance(request.invite, tuple) else present
        others = tuple(dict.fromkeys(one for one in wanted if one in present and one != user))
        if not others:
            return Refusal(code="nobody_there", message="there is nobody in the visit to call", retryable=True)
        if len(others) >= self.parts.max_peers:
            self.parts.metrics.reached("max_call_peers")
            text = f"at most {self.parts.max_peers} take part in a call: name those to invite"
            return Refusal(code="call_full", message=text)
        return others

    # What is under it

    async def _begun(self, caller: Caller, request: StartCall, others: tuple[str, ...], backend: CallBackend) -> Call:
        parts, clinic = self.parts, caller.principal.clinic
        return calls.start(
            parts.new_id(),
            visit=request.visit,
            clinic=clinic,
            starter=caller.principal.user,
            place=self._place(caller),
            others=others,
            busy=await self._registry.busy(clinic, others, but=request.visit),
            media=request.media,
            now_s=parts.now_s(),
            times=parts.times,
            backend=backend,
            relay=parts.pod if backend == "relay" else "",
        )

    async def _is_relayed(self, visit: str) -> bool:
        call = await self._registry.get(visit)
        return call is not None and bool(call.relay)

    async def _joined(self, caller: Caller, visit: str, call_id: str, request: StartCall) -> Call | Refusal:
        """Whoever starts a call that goes on is one of it, asked or not."""
        parts, user, place = self.parts, caller.principal.user, self._place(caller)
        talks = await parts.people.may_talk(caller, visit)

        def joined(call: Call) -> Call | Refusal:
            now_s = parts.now_s()
            asked = calls.invite(call, (user,), busy=(), now_s=now_s, times=parts.times)
            there = calls.answer(asked, user, place, now_s=now_s, max_peers=parts.max_peers, talks=talks)
            if isinstance(there, Refusal) or request.backend != "relay":
                return there
            return wish_for_relay(there, user, parts.pod)

        return await self._change(visit, call_id, joined)

    async def _leave(self, caller: Caller, visit: str, call_id: str, event: LegEvent) -> Done | Failure:
        left = await self._change(visit, call_id, lambda call: calls.end_leg(call, caller.principal.user, event))
        return self._refuse(left) if isinstance(left, Refusal) else Done()

    async def _change(self, visit: str, call_id: str, step: Callable[[Call], Call | Refusal]) -> Call | Refusal:
        for _ in range(_TRIES):
            call = await self._registry.get(visit)
            if call is None or call.call_id != call_id:
                return _NO_CALL
            after = step(call)
            if isinstance(after, Refusal) or after == call:
                return after
            # However many steps it took, it is one version: other pods look for the next one and for no later one.
            after = structs.replace(after, version=call.version + 1)
            if await self._registry.swap(call, after):
                self._became(call, after)
                return after
        raise Unavailable("others change this call all the time, try again")

    def _aged(self, call: Call) -> Call:
        parts, now_s = self.parts, self.parts.now_s()
        if call.relay and not parts.is_alive(call.relay):
            return calls.close(call, "relay_gone")
        lost = calls.lost(call, lambda leg: not parts.is_alive(leg.pod), now_s=now_s, times=parts.times)
        # Only of this pod's own it is known better than by whether their pod is believed to live.
        back = calls.still_there(lost, lambda leg: leg.pod == parts.pod and parts.clients.is_here(leg.connection))
        return calls.sweep(back, now_s)

    def _lost(self, call: Call, connection: str) -> Call:
        return calls.lost(
            call, lambda leg: leg.connection == connection, now_s=self.parts.now_s(), times=self.parts.times
        )

    def _became(self, before: Call | None, after: Call) -> None:
        """Tell everybody what they must know; whoever made the change tells it, and nobody else."""
        if before is not None and before.visit in self._visits:
            # What others had made of it until then.
            self._see(before)
        self._see(after, made=True)
        self.news.everywhere(before, after)
        if after.ended is not None:
            self.parts.ended(after.ended)
        for made in self.on_made:
            made(before, after)

    def _forget(self, visit: str) -> None:
        seen = self._visits.pop(visit, None)
        if seen is not None:
            for gone in self.on_gone:
                gone(seen.call, seen.looked_s)

    def _see(self, call: Call, *, made: bool = False) -> None:
        """What a call is now, whoever has changed it since it was seen here; ``made``: this pod has."""
        now_s, seen = self.parts.now_s(), self._visits.get(call.visit)
        if seen is not None and seen.call.call_id != call.call_id:
            self._forget(call.visit)
        before = None if seen is None or seen.call.call_id != call.call_id else seen.call
        if call.ended is not None:
            self._visits.pop(call.visit, None)
        elif seen is None or before is None:
            self._visits[call.visit] = _Seen(call, now_s, now_s)
        else:
            seen.call, seen.looked_s = call, now_s
        if before is None or before.version != call.version:
            for changed in self.on_change if made else (*self.on_change, *self.on_found):
                changed(before, call)

    def _answer(self, caller: Caller, call: Call) -> CallAnswer | Failure:
        peer = call.peer_of(caller.principal.user)
        if peer is None:
            return self._refuse(_NO_CALL)
        joined = tuple(number for number, leg in enumerate(call.legs) if leg.state == "joined" and number != peer)
        # What ACS carry their SDK negotiates.
        is_ours = call.backend != "acs"
        now_s, user = self.parts.now_s(), caller.principal.user
        return CallAnswer(
            call_id=call.call_id,
            backend=call.backend,
            state=call.state,
            media=call.media,
            peer=peer,
            peers=call.peers(),
            # Whoever comes later makes the offers: it knows that it is ready for answers.
            offer_to=() if not is_ours else (RELAY_PEER,) if call.relay else joined,
            ice_servers=self.parts.ice.servers_for(call.clinic, user, now_s) if is_ours else (),
        )

    def _place(self, caller: Caller) -> Place:
        return Place(caller.connection_id, self.parts.pod)

    def _refuse(self, refusal: Refusal) -> Failure:
        self.parts.metrics.refusals.labels(refusal.code, refusal.rule or "").inc()
        return Failure(error=refusal, errors=(refusal,))
