"""The tables of the device log in SQLite: ``LogDatabase`` over one file.

Statements are compiled once from the schema. The clock is the host's as it was when the file was opened, and only
rises from there: a host whose clock is set must neither keep a lease alive nor end one. This module must not decide
anything about devices. Read ``SqliteLog.commit`` first.
"""

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.dialects import sqlite as dialects
from sqlalchemy.sql.elements import BindParameter, ClauseElement

from fitting.log_clock import LogClock
from fitting.log_parts import KnownKey
from fitting.log_values import Delivery, LogEvent, Revision
from protocol.errors import Unavailable

from . import tables
from .compiled import Statement
from .meta import DATABASE_ID, RESTORES, epoch_of
from .packed import delivery_of, revisions_of_deliveries, revisions_of_delivery
from .port import ChainEnd, Due, Loaded
from .record import HeadRow, Row, Write, event_of, known_key_of, revision_of
from .sqlite import SqliteDatabase

__all__ = ["SqliteLog"]

# An SQLite of before 2020 takes 999 values in a statement.
_ROWS: Final = 50
# By place: of values that are bound by name SQLite is asked for each name, and other threads get a turn each time.
_DIALECT = dialects.dialect(paramstyle="qmark")


def _sql(statement: ClauseElement) -> Statement:
    return Statement.of(statement, _DIALECT)


@dataclass(frozen=True, slots=True)
class _Insert:
    """An insert of rows whose values are in the order of the columns: what stands before, for each row, and behind."""

    before: str
    row: str
    behind: str

    @classmethod
    def of(cls, statement: ClauseElement) -> "_Insert":
        before, values, rest = Statement.of(statement, _DIALECT).text.partition(" VALUES ")
        row, end, behind = rest.partition(")")
        return cls(before + values, row + end, behind)

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
        """Add rows, many in one statement; how many there were."""
        return sum(self._add(connection, rows[at : at + _ROWS]) for at in range(0, len(rows), _ROWS))

    def _add(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
        text = self.before + ", ".join((self.row,) * len(rows)) + self.behind
        return connection.execute(text, tuple(chain.from_iterable(rows))).rowcount


_HEAD, _REVISION, _EVENT = tables.device_head, tables.revision, tables.event
_DELIVERY, _KEY, _META = tables.delivery, tables.idempotency, tables.log_meta
_REVISION_COLUMNS = tuple(c for c in _REVISION.columns if c.name not in ("device", "n", "seq"))
_EVENT_COLUMNS = tuple(c for c in _EVENT.columns if c.name != "device")
_DEVICE: BindParameter[str] = bindparam("of_device")
_BOUND: BindParameter[int] = bindparam("bound")
_IDS = select(func.json_each(bindparam("ids")).table_valued("value").c.value)

_CREATE = _Insert.of(dialects.insert(_HEAD).on_conflict_do_nothing())
_MOVE = _sql(
    update(_HEAD)
    .where(_HEAD.c.device == _DEVICE, _HEAD.c.version == bindparam("expected"))
    .values({c.name: bindparam(c.name) for c in _HEAD.columns if c.name != "device"})
)
_ADD_REVISION = _Insert.of(insert(_REVISION))
_ADD_EVENT = _Insert.of(insert(_EVENT))
_ADD_KEY = _Insert.of(insert(_KEY))
_ADD_OUTBOX = _Insert.of(
    insert(tables.outbox).values({name: bindparam(name) for name in ("device", "kind", "seq", "due_at")})
)
_new_delivery = dialects.insert(_DELIVERY)
_PUT_DELIVERY = _Insert.of(
    _new_delivery.on_conflict_do_update(
        index_elements=["device", "seq"],
        set_={name: _new_delivery.excluded[name] for name in ("state", "code", "ended_at", "record")},
    )
)
_FORGET_KEYS = _sql(
    delete(_KEY).where(
        _KEY.c.device == _DEVICE,
        _KEY.c.n
        <= select(_KEY.c.n)
        .where(_KEY.c.device == _DEVICE)
        .order_by(_KEY.c.n.desc())
        .limit(1)
        .offset(bindparam("kept"))
        .scalar_subquery(),
    )
)
_LOAD = _sql(select(_HEAD).where(_HEAD.c.device == _DEVICE))
_LOAD_REVISIONS = _sql(
    select(*_REVISION_COLUMNS).where(_REVISION.c.device == _DEVICE, _REVISION.c.revision_id.in_(_IDS))
)
_KEY_AT = _sql(
    select(_HEAD.c.version, _KEY.c.request_hash, _KEY.c.answer)
    .select_from(_HEAD.outerjoin(_KEY, (_KEY.c.device == _HEAD.c.device) & (_KEY.c.key == bindparam("of_key"))))
    .where(_HEAD.c.device == _DEVICE)
)
_VERSIONS = _sql(select(_HEAD.c.device, _HEAD.c.version).where(_HEAD.c.device.in_(_IDS)))
_NEWEST_EVENTS = _sql(select(_HEAD.c.device, _HEAD.c.last_n).where(_HEAD.c.device.in_(_IDS)))
_DUE = _sql(
    select(_HEAD.c.due_at, _HEAD.c.device)
    .where(
        _HEAD.c.due_at <= bindparam("now"),
        tuple_(_HEAD.c.due_at, _HEAD.c.device) > tuple_(bindparam("after_due"), bindparam("after_device")),
    )
    .order_by(_HEAD.c.due_at, _HEAD.c.device)
    .limit(_BOUND)
)
_GET_DELIVERY = _sql(
    select(_DELIVERY.c.record).where(_DELIVERY.c.device == _DEVICE, _DELIVERY.c.seq == bindparam("of_seq"))
)
_GET_DELIVERIES = _sql(
    select(_DELIVERY.c.record)
    .where(_DELIVERY.c.device == _DEVICE, _DELIVERY.c.seq < bindparam("before"))
    .order_by(_DELIVERY.c.seq.desc())
    .limit(_BOUND)
)
_DUE_SOON = _sql(select(_HEAD.c.device).where(_HEAD.c.due_at <= bindparam("by")).order_by(_HEAD.c.due_at).limit(_BOUND))
_ENDS = _sql(
    select(_HEAD.c.device, _HEAD.c.last_n, _HEAD.c.last_hash)
    .where(_HEAD.c.device > bindparam("after_device"))
    .order_by(_HEAD.c.device)
    .limit(_BOUND)
)
_EVENTS = _sql(
    select(*_EVENT_COLUMNS)
    .where(_EVENT.c.device == _DEVICE, _EVENT.c.n > bindparam("after"))
    .order_by(_EVENT.c.n)
    .limit(_BOUND)
)
_NEWEST = select(*_REVISION_COLUMNS).where(_REVISION.c.device == _DEVICE).order_by(_REVISION.c.n.desc()).limit(_BOUND)
_REVISIONS = _sql(_NEWEST)
_before = (
    select(_REVISION.c.n)
    .where(_REVISION.c.device == _DEVICE, _REVISION.c.revision_id == bindparam("before"))
    .scalar_subquery()
)
_REVISIONS_BEFORE = _sql(_NEWEST.where(_REVISION.c.n < _before))
_NEWEST_AT = _sql(
    select(func.max(_EVENT.c.at)).select_from(
        _HEAD.join(_EVENT, (_EVENT.c.device == _HEAD.c.device) & (_EVENT.c.n == _HEAD.c.last_n))
    )
)
_META_VALUES = _sql(select(_META.c.name, _META.c.value))


class SqliteLog:
    """``LogDatabase`` in SQLite. ``clock`` gives Unix seconds, ``monotonic`` seconds that only rise."""

    def __init__(self, database: SqliteDatabase, *, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._database = database
        self._clock = LogClock(clock, monotonic)
        self._epoch = ""

    async def open(self) -> None:
        """Learn what the database is; it must be open. Raises Unavailable."""
        meta = dict(await self._all(_META_VALUES, {}))
        if DATABASE_ID not in meta:
            raise Unavailable("the database was not migrated")
        self._epoch = epoch_of(meta[DATABASE_ID], meta.get(RESTORES, "0"))
        [(newest_s,)] = await self._all(_NEWEST_AT, {})
        # What is written down has happened: time does not go back behind it.
        self._clock.begin(newest_s or 0.0)

    def now_s(self) -> float:
        return self._clock.now_s()

    def epoch(self) -> str:
        return self._epoch

    async def create(self, head: HeadRow) -> bool:
        values = msgspec.structs.astuple(head)
        return await self._database.write(lambda connection: _CREATE.run(connection, (values,)) == 1, is_new_work=True)

    async def load(self, device: str, *, known: Collection[str]) -> Loaded | None:
        def work(connection: sqlite3.Connection) -> tuple[HeadRow, list[Any]] | None:
            row = _run(connection, _LOAD, {"of_device": device}).fetchone()
            if row is None:
                return None
            head = _head_of(row)
            # What the row names was written with it or before, and is never changed.
            wanted = [name for name in head.refs.split() if name not in known]
            return head, _revisions_of(connection, device, wanted) if wanted else []

        found = await self._database.read(work)
        return None if found is None else Loaded(found[0], _by_id(found[1]))

    async def key_at(self, device: str, key: str) -> tuple[int, KnownKey | None]:
        found = await self._all(_KEY_AT, {"of_device": device, "of_key": key})
        if not found:
            return -1, None
        version, request_hash, answer = found[0]
        return version, None if request_hash is None else known_key_of(request_hash, answer)

    async def commit(self, write: Write) -> bool:
        try:
            return await self._database.write(
                lambda connection: _write(connection, write), is_new_work=write.is_new_work
            )
        except sqlite3.IntegrityError:
            # Something that there can be only one of was there already: the rows were old.
            return False

    async def versions(self, devices: Collection[str]) -> Mapping[str, int]:
        return dict(await self._all(_VERSIONS, {"ids": _list_of(devices)}))

    async def newest(self, devices: Collection[str]) -> Mapping[str, int]:
        return dict(await self._all(_NEWEST_EVENTS, {"ids": _list_of(devices)}))

    async def due(self, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        due_at, device = after or Due(float("-inf"), "")
        wanted = {"now": self.now_s(), "after_due": due_at, "after_device": device, "bound": limit}
        return tuple(Due(*row) for row in await self._all(_DUE, wanted))

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        def work(connection: sqlite3.Connection) -> tuple[bytes, list[Any]] | None:
            row = _run(connection, _GET_DELIVERY, {"of_device": device, "of_seq": seq}).fetchone()
            return None if row is None else (row[0], _revisions_of(connection, device, revisions_of_delivery(row[0])))

        found = await self._database.read(work)
        return None if found is None else delivery_of(device, found[0], _by_id(found[1]))

    async def deliveries(self, device: str, before: int, limit: int) -> tuple[Delivery, ...]:
        def work(connection: sqlite3.Connection) -> tuple[list[bytes], list[Any]]:
            wanted = {"of_device": device, "before": before, "bound": limit}
            records = [row[0] for row in _run(connection, _GET_DELIVERIES, wanted)]
            return records, _revisions_of(connection, device, revisions_of_deliveries(records))

        records, rows = await self._database.read(work)
        revisions = _by_id(rows)
        return tuple(delivery_of(device, record, revisions) for record in records)

    async def ends(self, after: str, limit: int) -> tuple[ChainEnd, ...]:
        rows = await self._all(_ENDS, {"after_device": after, "bound": limit})
        return tuple(ChainEnd(*row) for row in rows)

    async def due_soon(self, within_s: float, limit: int) -> tuple[str, ...]:
        return tuple(row[0] for row in await self._all(_DUE_SOON, {"by": self.now_s() + within_s, "bound": limit}))

    async def events(self, device: str, after: int, limit: int) -> tuple[LogEvent, ...]:
        rows = await self._all(_EVENTS, {"of_device": device, "after": after, "bound": limit})
        return tuple(event_of(row) for row in rows)

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        rows = await self._all(_LOAD_REVISIONS, {"of_device": device, "ids": _list_of((revision_id,))})
        return revision_of(rows[0]) if rows else None

    async def revisions(self, device: str, before: str | None, limit: int) -> tuple[Revision, ...]:
        wanted = {"of_device": device, "bound": limit}
        if before is None:
            rows = await self._all(_REVISIONS, wanted)
        else:
            rows = await self._all(_REVISIONS_BEFORE, wanted | {"before": before})
        return tuple(revision_of(row) for row in rows)

    async def _all(self, statement: Statement, values: Mapping[str, object]) -> list[Any]:
        return await self._database.read(lambda connection: _run(connection, statement, values).fetchall())


def _run(connection: sqlite3.Connection, statement: Statement, values: Mapping[str, object]) -> sqlite3.Cursor:
    return connection.execute(statement.text, statement.placed(values))


def _write(connection: sqlite3.Connection, write: Write) -> bool:
    head = msgspec.structs.asdict(write.head)
    device = head.pop("device")
    moved = _run(connection, _MOVE, head | {"of_device": device, "expected": write.head.version - 1})
    if moved.rowcount == 0:
        return False

    def add(insert: _Insert, rows: Sequence[Row]) -> None:
        if rows:
            insert.run(connection, [(device, *row) for row in rows])

    if write.kept_keys is not None:
        _run(connection, _FORGET_KEYS, {"of_device": device, "kept": write.kept_keys})
    add(_ADD_REVISION, write.revisions)
    add(_PUT_DELIVERY, write.deliveries)
    add(_ADD_EVENT, write.events)
    add(_ADD_KEY, write.keys)
    add(_ADD_OUTBOX, write.outbox)
    return True


def _head_of(row: Row) -> HeadRow:
    values = dict(zip(HeadRow.__struct_fields__, row, strict=True))
    return HeadRow(**values | {"attached": bool(values["attached"])})


def _revisions_of(connection: sqlite3.Connection, device: str, ids: Collection[str]) -> list[Any]:
    return _run(connection, _LOAD_REVISIONS, {"of_device": device, "ids": _list_of(ids)}).fetchall()


def _by_id(rows: list[Any]) -> dict[str, Revision]:
    return {row[0]: revision_of(row) for row in rows}


def _list_of(ids: Collection[str]) -> str:
    return msgspec.json.encode(tuple(ids)).decode()
