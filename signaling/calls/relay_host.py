"""The calls whose media this pod passes on: few at a time, each for as long as it lasts.

What a call is now is asked of its registry before anybody's media are taken, and again as time passes and whenever
somebody says that it has changed. Importing this loads aiortc. Read ``RelayHost.hear`` first, then ``_look``.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from media import call as calls
from media.call import IN_CALL, Call
from media.candidate import Malformed
from media.legs import LegEvent
from media.relay import RelayLeg, Room, World
from protocol.contract.base import Refusal
from protocol.contract.calls import RELAY_PEER, Signal
from signaling.calls.flow import CallFlow
from signaling.calls.relay_line import RelayLine, RelaySaid, RelayWord
from signaling.pushes import push
from signaling.tasks import TaskSet

__all__ = ["Hosted", "RelayHost", "RelayLimits", "Watcher"]

_BUSY: Final = Refusal(
    code="relay_busy", message="too many calls go through this server", retryable=True, retry_after_ms=10_000
)
_NO_CALL: Final = RelaySaid("no_call", "there is no such call, or no part of yours in it")
# How long what somebody sends is added up before it is held to the limit, and how often it may be over it.
_WEIGH_S: Final = 2.0
_MAX_OVER: Final = 2


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """``max_calls`` at a time. ``answer_s``: to answer an offer. ``max_bps``: what one person may send."""

    max_calls: int
    answer_s: float
    max_bps: int


@dataclass(slots=True)
class _Person:
    connection: str
    user: str
    leg: RelayLeg
    bytes_before: int = 0
    over: int = 0


@dataclass(slots=True)
class Hosted:
    """A call that goes through here. ``over`` is set when it does no longer."""

    visit: str
    call_id: str
    room: Room
    people: dict[int, _Person] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    weighed_s: float = 0.0


class Watcher(Protocol):
    """Somebody who does something with calls that go through here."""

    async def looked(self, hosted: Hosted, call: Call | None) -> None:
        """What the call is now, None when it is over here. Called before anybody new is let in."""
        ...


class RelayHost:
    """The relayed calls of this process."""

    def __init__(
        self,
        limits: RelayLimits,
        world: World,
        *,
        flow: CallFlow,
        line: RelayLine,
        tasks: TaskSet,
        reached: Callable[[str], None],
    ) -> None:
        self.watchers: list[Watcher] = []
        self._limits = limits
        self._world = world
        self._flow = flow
        self._line = line
        self._tasks = tasks
        self._reached = reached
        self._hosted: dict[str, Hosted] = {}
        line.serve(self.hear)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._hosted)

    def refusal(self) -> Refusal | None:
        """Why one more call may not go through here."""
        if len(self._hosted) < self._limits.max_calls:
            return None
        self._reached("max_relayed_calls")
        return _BUSY

    def hosted(self, call_id: str) -> Hosted | None:
        """A call that goes through here."""
        return self._hosted.get(call_id)

    async def hear(self, word: RelayWord) -> RelaySaid:
        """What a participant says, wherever he hangs. Raises Unavailable."""
        if word.kind == "candidate":
            return await self._candidate(word)
        call = await self._flow.now(word.visit)
        if call is not None and call.call_id != word.call_id:
            call = None
        hosted = self._of(word, call)
        if hosted is None:
            return _NO_CALL if call is None else RelaySaid(_BUSY.code, _BUSY.message)
        async with hosted.turn:
            await self._look(hosted, call)
            if word.kind == "look":
                return RelaySaid()
            if call is None or hosted.over.is_set():
                return _NO_CALL
            leg = call.legs[word.peer] if word.peer < len(call.legs) else None
            if leg is None or leg.state != "joined" or leg.connection != word.connection:
                return _NO_CALL
            return await self._offer(hosted, word, leg.user)

    async def sweep(self) -> None:
        """What nobody has said: calls that are over, and people who send too much. Raises Unavailable."""
        for hosted in tuple(self._hosted.values()):
            call = await self._flow.recent(hosted.visit)
            async with hosted.turn:
                await self._look(hosted, call if call is not None and call.call_id == hosted.call_id else None)
            await self._weigh(hosted)

    def _of(self, word: RelayWord, call: Call | None) -> Hosted | None:
        hosted = self._hosted.get(word.call_id)
        if hosted is not None or call is None or not self._is_here(call):
            return hosted
        if self.refusal() is not None:
            return None
        hosted = self._hosted[word.call_id] = Hosted(word.visit, word.call_id, Room(self._world))
        self._tasks.spawn(self._keep(hosted))
        return hosted

    def _is_here(self, call: Call) -> bool:
        return call.ended is None and call.relay == self._line.pod

    async def _keep(self, hosted: Hosted) -> None:
        try:
            await hosted.over.wait()
        finally:
            # Also when the server ends.
            self._hosted.pop(hosted.call_id, None)
            for watcher in self.watchers:
                await watcher.looked(hosted, None)
            await hosted.room.close()

    async def _look(self, hosted: Hosted, call: Call | None) -> None:
        """Let go of whoever has gone."""
        if call is None or not self._is_here(call):
            hosted.over.set()
            self._hosted.pop(hosted.call_id, None)
            return
        for watcher in self.watchers:
            await watcher.looked(hosted, call)
        for number, person in tuple(hosted.people.items()):
            leg = call.legs[number]
            if leg.state not in IN_CALL or leg.connection != person.connection:
                await self._drop(hosted, number, person)

    async def _offer(self, hosted: Hosted, word: RelayWord, user: str) -> RelaySaid:
        known = hosted.people.get(word.peer)
        goes_on = known is not None and known.connection == word.connection and known.leg.goes_on_with(word.text)
        if known is not None and goes_on and word.kind == "offer":
            leg = known.leg
        else:
            leg = RelayLeg(hosted.room, word.peer, may_talk=word.may_talk)
        try:
            async with asyncio.timeout(self._limits.answer_s):
                sdp = await leg.answer(word.text)
        except (Malformed, TimeoutError) as error:
            if known is None or leg is not known.leg:
                await leg.close()
            return RelaySaid("sdp_refused", str(error) or "the description could not be answered in time")
        if known is None or leg is not known.leg:
            if known is not None:
                await self._drop(hosted, word.peer, known)
            self._seat(hosted, word.peer, _Person(word.connection, user, leg))
        answer = Signal(visit=word.visit, call_id=word.call_id, peer=RELAY_PEER, kind="answer", sdp=sdp)
        push(self._flow.parts.clients.connection(word.connection), answer)
        return RelaySaid()

    def _seat(self, hosted: Hosted, number: int, person: _Person) -> None:
        def ended() -> None:
            # Its network has changed, perhaps: it may offer again.
            if hosted.people.get(number) is person:
                self._tasks.spawn(self._drop(hosted, number, person))

        person.leg.on_end = ended
        hosted.people[number] = person
        hosted.room.legs[number] = person.leg

    async def _drop(self, hosted: Hosted, number: int, person: _Person) -> None:
        if hosted.people.get(number) is person:
            del hosted.people[number]
        if hosted.room.legs.get(number) is person.leg:
            del hosted.room.legs[number]
        await person.leg.close()

    async def _candidate(self, word: RelayWord) -> RelaySaid:
        hosted = self._hosted.get(word.call_id)
        person = None if hosted is None else hosted.people.get(word.peer)
        if person is None or person.connection != word.connection:
            return _NO_CALL
        if word.text:
            await person.leg.add_candidate(word.text, word.mid, word.line)
        return RelaySaid()

    async def _weigh(self, hosted: Hosted) -> None:
        """Whoever sends more than may be sent, and goes on doing so after he was told the limit, is out of the call."""
        now_s = self._world.now_s()
        took_s = now_s - hosted.weighed_s
        if took_s < _WEIGH_S:
            return
        is_first, hosted.weighed_s = hosted.weighed_s == 0.0, now_s
        for person in tuple(hosted.people.values()):
            total = await person.leg.received_bytes()
            came, person.bytes_before = total - person.bytes_before, total
            person.over = person.over + 1 if not is_first and came * 8 / took_s > self._limits.max_bps else 0
            if person.over >= _MAX_OVER:
                self._reached("max_relay_bps")
                await self._flow.change(hosted.visit, hosted.call_id, _out(person.user))


def _out(user: str) -> Callable[[Call], Call | Refusal]:
    return lambda call: calls.end_leg(call, user, LegEvent.OVER_LIMIT)
