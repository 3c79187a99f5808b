"""A device as rows of tables, and back: what a step adds, column by column, in the order of the tables.

What no column holds is packed (``packed``). This module must not know which database it is. Read ``write_of`` and
``rows_of`` first.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from fitting.delivery import is_end
from fitting.log_commands import may_fall_away
from fitting.log_parts import Fresh, KnownKey
from fitting.log_rows import DeviceRows
from fitting.log_values import Accepted, Delivery, LeaseGranted, LogEvent, LogLimits, Revision
from protocol.contract.fitting import Content, Digests, SafetySummary, VendorPayload
from protocol.errors import Unreadable

from .packed import fill, named, pack, pack_delivery, unpack

__all__ = [
    "HeadRow",
    "Place",
    "Row",
    "Write",
    "event_of",
    "known_key_of",
    "legible",
    "revision_of",
    "rows_of",
    "write_of",
]

Row = Sequence[Any]


class HeadRow(Struct, frozen=True, kw_only=True):
    """One row of ``device_head``, a field per column."""

    device: str
    version: int
    written: str
    epoch: str
    log_epoch: str
    generation: int
    carrier: str
    attached: bool
    fence: int
    lease_until: float | None
    last_seq: int
    last_n: int
    last_hash: str
    revisions: int
    due_at: float | None
    refs: str
    working: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """All that one step adds to one device, to be written in one piece or not at all.

    Written only when the row's version is ``head.version - 1``. Rows are in the order of their table's columns,
    without the device. ``lease`` is what must be true of the lease in the row, by the database's clock.
    ``kept_keys``: how many idempotency keys of the device are kept beside those of this write; None when it is not yet
    time to forget any.
    """

    head: HeadRow
    revisions: Sequence[Row] = ()
    deliveries: Sequence[Row] = ()
    events: Sequence[Row] = ()
    keys: Sequence[Row] = ()
    outbox: Sequence[Row] = ()
    lease: Literal["live", "ended"] | None = None
    kept_keys: int | None = None

    @property
    def is_new_work(self) -> bool:
        """Whether somebody asks for something, as opposed to telling what became of it."""
        return bool(self.keys and self.revisions)


# By what part of their bound there may be too many idempotency keys.
_KEYS_OVER: Final = 32
_PACKED = msgspec.msgpack.Encoder()
_CONTENT = msgspec.msgpack.Decoder(Content)
_DIGESTS = msgspec.msgpack.Decoder(Digests)
_SAFETY = msgspec.msgpack.Decoder(SafetySummary)
_VENDOR = msgspec.msgpack.Decoder(VendorPayload)
_ANSWER = msgspec.msgpack.Decoder(Accepted)
_GRANTED = msgspec.msgpack.Decoder(LeaseGranted)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a write stands: the version and the number of revisions after it, its own name, and whose it is.

    ``carrier`` is the process that attached the phone last; ``log_epoch`` the database's own.
    """

    version: int
    revisions: int
    written: str
    carrier: str
    log_epoch: str
    now_s: float


def write_of(rows: DeviceRows, fresh: Fresh, place: Place) -> Write:
    """What is to be written of rows after steps."""
    first = place.revisions - len(fresh.revisions) + 1
    seqs = {delivery.revision.revision_id: delivery.seq for delivery in fresh.deliveries}
    return Write(
        head=HeadRow(
            device=rows.device,
            version=place.version,
            written=place.written,
            epoch=rows.epoch,
            log_epoch=place.log_epoch,
            generation=rows.generation,
            carrier=place.carrier,
            attached=rows.attached,
            fence=rows.fence,
            lease_until=None if rows.lease is None else rows.lease.until_s,
            last_seq=rows.last_seq,
            last_n=rows.last_n,
            last_hash=rows.last_hash,
            revisions=place.revisions,
            due_at=min(_due(rows), default=None),
            refs=" ".join(sorted(named(rows))),
            working=pack(rows),
        ),
        revisions=[_revision_row(one, n, seqs.get(one.revision_id)) for n, one in enumerate(fresh.revisions, first)],
        deliveries=[_delivery_row(one, place.now_s) for one in fresh.deliveries],
        events=[_event_row(one) for one in fresh.events],
        # Every key comes with an event, so counting back from the last one gives numbers of this write alone.
        keys=[_key_row(key, rows.last_n - back, known) for back, (key, known) in enumerate(fresh.keys.items())],
        outbox=[(item.kind, item.seq, item.due_at_s) for item in fresh.outbox],
        lease=fresh.lease,
        kept_keys=_kept_keys(rows.limits.max_keys, fresh, place),
    )


def _kept_keys(max_keys: int, fresh: Fresh, place: Place) -> int | None:
    """Keys are counted only now and then: every key comes with a revision, and counting costs as much as writing."""
    every = max(1, max_keys // _KEYS_OVER)
    if place.revisions // every == (place.revisions - len(fresh.revisions)) // every:
        return None
    return max(0, max_keys - len(fresh.keys))


def _due(rows: DeviceRows) -> Iterator[float]:
    """When time alone may bring something about: a change expires, or a live session lapses."""
    for entry in rows.entries.values():
        if may_fall_away(entry.delivery):
            yield entry.delivery.expires_at_s
    if rows.live is not None:
        is_held = rows.lease is not None and rows.lease.fence == rows.live.fence
        yield rows.lease.until_s if is_held and rows.lease is not None else 0.0


def rows_of(row: HeadRow, revisions: Mapping[str, Revision], log_epoch: str, limits: LogLimits) -> DeviceRows:
    """The rows as they were written. When the database is not the one of that time, its epoch is theirs now.

    Raises Unreadable for what was written by a version that this one does not understand.
    """
    working = unpack(row.working)
    epoch = row.epoch if row.log_epoch == log_epoch else log_epoch
    rows = DeviceRows(row.device, epoch, working.aids, limits)
    rows.fence = row.fence
    rows.generation = row.generation
    rows.attached = row.attached
    rows.last_seq = row.last_seq
    rows.last_n = row.last_n
    rows.last_hash = row.last_hash
    fill(rows, working, revisions)
    return rows


@contextmanager
def legible() -> Iterator[None]:
    """Within it what is kept of one device is read: what makes no sense raises Unreadable, and says nothing of it."""
    try:
        yield
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        raise Unreadable("what is kept of the device cannot be read, its operators must see to it") from error


def revision_of(row: Row) -> Revision:
    """A revision from the columns of its table, in their order without device, n and seq."""
    revision_id, parent, origin, author, reason, at_s, content, digests, safety, vendor = row
    return Revision(
        revision_id=revision_id,
        parent=parent,
        origin=origin,
        author=author,
        reason=reason,
        content=_CONTENT.decode(content),
        digests=_DIGESTS.decode(digests),
        safety=_safety_of(safety),
        at_s=at_s,
        vendor=None if vendor is None else _VENDOR.decode(vendor),
    )


@lru_cache(maxsize=256)
def _safety_of(packed: bytes) -> SafetySummary:
    """What the kernel says of most changes is the same, and a tenth of what is kept in memory of a device."""
    return _SAFETY.decode(packed)


def event_of(row: Row) -> LogEvent:
    """An event from the columns of its table, in their order without device."""
    return LogEvent(*row)


def known_key_of(request_hash: str, answer: bytes) -> KnownKey:
    """What an idempotency key stands for, from its columns."""
    try:
        return KnownKey(request_hash, _ANSWER.decode(answer))
    except msgspec.ValidationError:
        return KnownKey(request_hash, _GRANTED.decode(answer))


def _revision_row(one: Revision, n: int, seq: int | None) -> Row:
    vendor = None if one.vendor is None else _PACKED.encode(one.vendor)
    packed = (_PACKED.encode(one.content), _PACKED.encode(one.digests), _PACKED.encode(one.safety), vendor)
    return (one.revision_id, n, seq, one.parent, one.origin, one.author, one.reason, one.at_s, *packed)


def _delivery_row(one: Delivery, now_s: float) -> Row:
    names = (one.revision.revision_id, one.base.revision_id)
    ended_at_s = now_s if is_end(one.kind, one.state) else None
    record = pack_delivery(one)
    return (one.seq, *names, one.kind, one.mode, one.state, one.code, ended_at_s, record)


def _event_row(one: LogEvent) -> Row:
    what = (one.kind, one.state, one.at_s, one.seq, one.ear, one.code, one.digest)
    return (one.n, *what, one.actor, one.text, one.hash)


def _key_row(key: str, n: int, known: KnownKey) -> Row:
    return (key, n, known.request_hash, _PACKED.encode(known.answer))
