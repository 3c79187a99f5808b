"""What is packed of a device's rows and of an ended delivery: typed structs that name revisions, never repeat them.

Every struct has defaults for what was added to it later, so what an older version wrote is read by a newer one. This
module must not know any table. Read ``Working`` first, then ``pack`` and ``unpack``.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from fitting.log_parts import Entry
from fitting.log_rows import DeviceRows
from fitting.log_values import Delivery, LastEnd, LeaseState, LiveSession, LogEvent, Moment, Revision, WithdrawCause
from protocol.contract.base import Ear
from protocol.contract.devices import DeliveryState, EarImage, EarTruth, RegisteredAid
from protocol.contract.fitting import DeliveryKind, Mode
from protocol.contract.sessions import Alarm
from protocol.errors import Unreadable

__all__ = [
    "FORMAT",
    "DeliveryRecord",
    "EntryRecord",
    "LiveRecord",
    "MomentRecord",
    "Working",
    "delivery_of",
    "fill",
    "named",
    "pack",
    "pack_delivery",
    "revisions_of_deliveries",
    "revisions_of_delivery",
    "unpack",
]

FORMAT: Final = 1
Seen = tuple[Ear | None, int, DeliveryState, str | None]


class DeliveryRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``Delivery`` with its revisions by name; its device is known from where it is kept."""

    epoch: str
    seq: int
    revision: str
    base: str
    kind: DeliveryKind
    mode: Mode
    fence: int
    state: DeliveryState
    ears: dict[Ear, DeliveryState]
    attempt: int
    after: int
    offered_at_s: float | None
    expires_at_s: float
    code: str | None = None
    withdrawn: WithdrawCause | None = None


class EntryRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``log_rows.Entry``."""

    delivery: DeliveryRecord
    offered_to: int = 0
    asked_of: int = 0
    answered: bool = False
    seen: tuple[Seen, ...] = ()
    unanswered: int = 0
    copied: frozenset[Ear] = frozenset()


class MomentRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``Moment`` with its revision by name."""

    at_s: float
    revision: str


class LiveRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``LiveSession`` with its revisions by name."""

    fence: int
    session: str
    holder: str
    base: str
    at_s: float
    held: tuple[MomentRecord, ...]
    heard: tuple[MomentRecord, ...] = ()


class Working(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``DeviceRows`` holds and no column does; ``truth`` is spread over the last four fields.

    ``format`` is the version of this struct: it rises when an older reader would misunderstand what is written.
    """

    format: int
    aids: dict[Ear, RegisteredAid]
    last_terminal: int
    head: str | None = None
    lease: LeaseState | None = None
    entries: tuple[EntryRecord, ...] = ()
    soft: tuple[LogEvent, ...] = ()
    live: LiveRecord | None = None
    active: tuple[MomentRecord, ...] = ()
    alarms: frozenset[Alarm] = frozenset()
    read_due: bool = False
    read_due_of: frozenset[Ear] = frozenset()
    ears: dict[Ear, EarTruth] = {}
    images: dict[Ear, EarImage] = {}
    battery: int | None = None
    unidentified: frozenset[Ear] = frozenset()
    question: int | None = None
    taken_back: int | None = None
    wish: int | None = None
    last_end: LastEnd | None = None


_PACKED = msgspec.msgpack.Encoder()
_WORKING = msgspec.msgpack.Decoder(Working)
_DELIVERY = msgspec.msgpack.Decoder(DeliveryRecord)
_LIVE_SHARED = tuple(name for name in LiveRecord.__struct_fields__ if name not in ("base", "held", "heard"))
_SHARED = tuple(name for name in DeliveryRecord.__struct_fields__ if name not in ("revision", "base"))


def pack(rows: DeviceRows) -> bytes:
    """What no column holds of the rows."""
    return _PACKED.encode(_working(rows))


def unpack(packed: bytes) -> Working:
    """Read it again. Raises Unreadable for what was written by a version that this one does not understand."""
    working = _WORKING.decode(packed)
    if working.format > FORMAT:
        raise Unreadable(f"the device was written in format {working.format}, this version knows {FORMAT}")
    return working


def fill(rows: DeviceRows, working: Working, revisions: Mapping[str, Revision]) -> None:
    """Put what was packed into rows."""
    rows.head = None if working.head is None else revisions[working.head]
    rows.lease = working.lease
    rows.last_end = working.last_end
    rows.last_terminal = working.last_terminal
    rows.entries = {entry.delivery.seq: _entry(rows.device, entry, revisions) for entry in working.entries}
    rows.pending = deque(rows.entries)
    rows.live = None if working.live is None else _live(working.live, revisions)
    rows.active = tuple(_moment(moment, revisions) for moment in working.active)
    rows.alarms = set(working.alarms)
    # An older version says that something is due, or wrong, and not of which ear.
    rows.read_due = set(working.read_due_of or (working.aids if working.read_due else ()))
    rows.truth.unidentified = set(working.unidentified or (working.aids if "locked" in working.alarms else ()))
    rows.truth.ears = dict(working.ears)
    rows.truth.images = dict(working.images)
    rows.truth.battery = working.battery
    rows.question, rows.taken_back, rows.wish = working.question, working.taken_back, working.wish
    rows.soft = list(working.soft)


def pack_delivery(delivery: Delivery) -> bytes:
    """A delivery, its revisions by name."""
    return _PACKED.encode(_delivery_record(delivery))


def revisions_of_delivery(record: bytes) -> tuple[str, str]:
    """The names of the revisions that a delivery's record needs."""
    packed = _DELIVERY.decode(record)
    return packed.revision, packed.base


def revisions_of_deliveries(records: Iterable[bytes]) -> set[str]:
    """The names of the revisions that the records of several need."""
    return {name for record in records for name in revisions_of_delivery(record)}


def delivery_of(device: str, record: bytes, revisions: Mapping[str, Revision]) -> Delivery:
    """A delivery from its record and its two revisions."""
    return _delivery(device, _DELIVERY.decode(record), revisions)


def named(rows: DeviceRows) -> dict[str, Revision]:
    """The revisions that are written by name, by that name."""
    found = [] if rows.head is None else [rows.head]
    found += [one for entry in rows.entries.values() for one in (entry.delivery.revision, entry.delivery.base)]
    found += [moment.revision for moment in rows.active]
    if rows.live is not None:
        found += [rows.live.base, *[moment.revision for moment in (*rows.live.held, *rows.live.heard)]]
    return {one.revision_id: one for one in found}


def _working(rows: DeviceRows) -> Working:
    return Working(
        format=FORMAT,
        aids=dict(rows.aids),
        last_terminal=rows.last_terminal,
        head=None if rows.head is None else rows.head.revision_id,
        lease=rows.lease,
        entries=tuple(_entry_record(rows.entries[seq]) for seq in rows.pending),
        soft=tuple(rows.soft),
        live=None if rows.live is None else _live_record(rows.live),
        active=_moment_records(rows.active),
        alarms=frozenset(rows.alarms),
        read_due=bool(rows.read_due),
        read_due_of=frozenset(rows.read_due),
        ears=rows.truth.ears,
        images=rows.truth.images,
        battery=rows.truth.battery,
        unidentified=frozenset(rows.truth.unidentified),
        question=rows.question,
        taken_back=rows.taken_back,
        wish=rows.wish,
        last_end=rows.last_end,
    )


def _moment_records(moments: Iterable[Moment]) -> tuple[MomentRecord, ...]:
    # A list at once: there are forty in a session that is worked on, and every step writes them.
    return tuple([MomentRecord(at_s=moment.at_s, revision=moment.revision.revision_id) for moment in moments])


def _moment(record: MomentRecord, revisions: Mapping[str, Revision]) -> Moment:
    return Moment(record.at_s, revisions[record.revision])


def _live_record(live: LiveSession) -> LiveRecord:
    return LiveRecord(
        base=live.base.revision_id,
        held=_moment_records(live.held),
        heard=_moment_records(live.heard),
        **{name: getattr(live, name) for name in _LIVE_SHARED},
    )


def _live(record: LiveRecord, revisions: Mapping[str, Revision]) -> LiveSession:
    return LiveSession(
        base=revisions[record.base],
        held=tuple(_moment(moment, revisions) for moment in record.held),
        heard=tuple(_moment(moment, revisions) for moment in record.heard),
        **{name: getattr(record, name) for name in _LIVE_SHARED},
    )


def _entry_record(entry: Entry) -> EntryRecord:
    return EntryRecord(
        delivery=_delivery_record(entry.delivery),
        offered_to=entry.offered_to,
        asked_of=entry.asked_of,
        answered=entry.answered,
        seen=tuple(_seen(entry.seen)),
        unanswered=entry.unanswered,
        copied=frozenset(entry.copied),
    )


def _seen(reports: Iterable[tuple[Ear | UnsetType, int, DeliveryState, str | UnsetType]]) -> Iterator[Seen]:
    for ear, n, state, digest in reports:
        yield (None if ear is UNSET else ear, n, state, None if digest is UNSET else digest)


def _entry(device: str, record: EntryRecord, revisions: Mapping[str, Revision]) -> Entry:
    seen = {(ear or UNSET, n, state, digest or UNSET) for ear, n, state, digest in record.seen}
    delivery = _delivery(device, record.delivery, revisions)
    known = (record.offered_to, record.asked_of, record.answered, seen, record.unanswered)
    return Entry(delivery, *known, set(record.copied))


def _delivery_record(delivery: Delivery) -> DeliveryRecord:
    return DeliveryRecord(
        revision=delivery.revision.revision_id,
        base=delivery.base.revision_id,
        **{name: getattr(delivery, name) for name in _SHARED},
    )


def _delivery(device: str, record: DeliveryRecord, revisions: Mapping[str, Revision]) -> Delivery:
    return Delivery(
        device=device,
        revision=revisions[record.revision],
        base=revisions[record.base],
        **{name: getattr(record, name) for name in _SHARED},
    )
