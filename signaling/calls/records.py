"""What is kept of a call that is over: one record by whoever has ended it, and how good it was by each pod that knows.

With the database away it waits here, so many of them, and is kept when that is back. Who was who in the visit is read
then. Read ``CallRecorder.made`` and ``_keep`` first.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from media.call import Call, Leg
from media.visit import Participant, Visit
from protocol.contract.call_records import CallPerson, CallRecord, LinkQuality
from protocol.contract.times import iso_ms
from protocol.errors import Unavailable
from signaling.calls.quality import CallQuality
from signaling.stores.call_records import CallPart, CallPlace, CallRecords
from signaling.stores.visits import VisitStore
from signaling.tasks import TaskSet
from signaling.visit_tokens import guest_user

__all__ = ["CallRecorder", "RecorderParts"]

_TOOK_PART = ("joined", "lost")
_LINKS = msgspec.msgpack.Decoder(tuple[LinkQuality, ...])
_RECORD = msgspec.msgpack.Decoder(CallRecord)


@dataclass(frozen=True, slots=True)
class RecorderParts:
    """``pod`` is this one. ``max_waiting``: what waits for the database. ``now_s`` gives Unix seconds."""

    store: CallRecords
    visits: VisitStore
    quality: CallQuality
    tasks: TaskSet
    pod: str
    max_waiting: int
    now_s: Callable[[], float]
    reached: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call that is over since ``at_s``; ``before`` is what it was, ``links`` what is known here of how good it was.

    ``is_ours``: it was ended here, so its record is made here.
    """

    before: Call
    call: Call
    at_s: float
    links: tuple[LinkQuality, ...]
    is_ours: bool


class CallRecorder:
    """Keeps what there is to be kept of the calls of this pod's people."""

    def __init__(self, parts: RecorderParts) -> None:
        self._parts = parts
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    def made(self, before: Call | None, after: Call) -> None:
        """A call has become another here; whoever ends one keeps its record."""
        if after.ended is not None:
            self._wait(before or after, after, is_ours=True)

    def gone(self, call: Call, _: float) -> None:
        """Another pod has ended it."""
        self._wait(call, call, is_ours=False)

    async def sweep(self) -> None:
        """Keep what waits. Raises Unavailable when the database is away."""
        for call_id, waiting in tuple(self._waiting.items()):
            await self._keep(waiting)
            self._waiting.pop(call_id, None)

    async def of_visit(self, visit: str, before: CallPlace | None, limit: int) -> tuple[CallRecord, ...]:
        """The calls of a visit that are over, the latest first. Raises Unavailable."""
        found = await self._parts.store.of_visit(visit, before, limit)
        return tuple([await self._whole(part) for part in found])

    async def _whole(self, part: CallPart) -> CallRecord:
        beside = await self._parts.store.beside(part.call_id)
        links = (link for one in beside for link in _LINKS.decode(one.record))
        return replace(_RECORD.decode(part.record), quality=tuple(sorted(links, key=lambda one: (one.peer, one.to))))

    def _wait(self, before: Call, call: Call, *, is_ours: bool) -> None:
        links = self._parts.quality.take(call.call_id)
        if not (links or is_ours):
            return
        if len(self._waiting) >= self._parts.max_waiting:
            self._parts.reached("max_call_records_waiting")
            self._waiting.popitem(last=False)
        self._waiting[call.call_id] = _Waiting(before, call, round(self._parts.now_s(), 3), links, is_ours)
        self._parts.tasks.spawn(self._keep_now())

    async def _keep_now(self) -> None:
        try:
            await self.sweep()
        except Unavailable:
            # The next look keeps them.
            return

    async def _keep(self, waiting: _Waiting) -> None:
        parts, call = self._parts, waiting.call
        if waiting.links:
            told = msgspec.msgpack.encode(waiting.links)
            await parts.store.add(CallPart(call.visit, call.call_id, parts.pod, waiting.at_s, told))
        if waiting.is_ours:
            record = _record(waiting, await parts.visits.get(call.visit))
            kept = msgspec.msgpack.encode(record)
            await parts.store.add(CallPart(call.visit, call.call_id, "", waiting.at_s, kept))


def _record(waiting: _Waiting, visit: Visit | None) -> CallRecord:
    call, at_s = waiting.call, waiting.at_s
    answered_at_s = call.answered_at_s
    return CallRecord(
        call_id=call.call_id,
        visit=call.visit,
        backend="webrtc",
        media=call.media,
        began_at=iso_ms(call.began_at_s),
        answered_at=iso_ms(answered_at_s) if answered_at_s else UNSET,
        ended_at=iso_ms(at_s),
        reason=call.ended or "gone",
        duration_s=max(0, round(at_s - answered_at_s)) if answered_at_s else 0,
        people=tuple(_person(number, leg, waiting.before, visit) for number, leg in enumerate(call.legs)),
    )


def _person(peer: int, leg: Leg, before: Call, visit: Visit | None) -> CallPerson:
    known = _participant(visit, leg.user)
    was = before.legs[peer] if peer < len(before.legs) else leg
    has_left = was.state == "left" and was.reason in ("hung_up", "gone", "ended")
    return CallPerson(
        peer=peer,
        user=leg.user,
        took_part=was.state in _TOOK_PART or has_left,
        reason=leg.reason or UNSET,
        participant=UNSET if known is None else known.participant,
        role=UNSET if known is None else known.role,
    )


def _participant(visit: Visit | None, user: str) -> Participant | None:
    if visit is None:
        return None
    return next((one for one in visit.present_list() if user in (one.user, guest_user(one.participant))), None)
