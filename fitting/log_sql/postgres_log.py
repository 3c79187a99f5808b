"""The tables of the device log in PostgreSQL: ``LogDatabase`` over a pool of connections.

All that a step adds is one statement: it moves the device's row from one version to the next, and everything else is
inserted from that row, so that nothing is written when it was not there any more. The clock is the database's. This
module must not decide anything about devices. Read ``_commit`` first.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

import asyncpg
import msgspec
from sqlalchemy import (
    ARRAY,
    Double,
    Table,
    Text,
    all_,
    any_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialects
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement
from sqlalchemy.sql.selectable import CTE

from fitting.log_parts import KnownKey
from fitting.log_values import Delivery, LogEvent, Revision

from . import tables
from .compiled import Statement
from .meta import DATABASE_ID, RESTORES, epoch_of
from .packed import delivery_of, revisions_of_deliveries, revisions_of_delivery
from .port import ChainEnd, Due, Loaded
from .postgres import LostRace, PostgresDatabase
from .record import HeadRow, Row, Write, event_of, known_key_of, revision_of

__all__ = ["PostgresLog"]

_DIALECT: Final = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped


def _sql(statement: ClauseElement) -> Statement:
    return Statement.of(statement, _DIALECT)


_HEAD, _REVISION, _EVENT = tables.device_head, tables.revision, tables.event
_DELIVERY, _KEY, _META = tables.delivery, tables.idempotency, tables.log_meta
_REVISION_COLUMNS = tuple(c for c in _REVISION.columns if c.name not in ("device", "n", "seq"))
_EVENT_COLUMNS = tuple(c for c in _EVENT.columns if c.name != "device")
_DEVICE: BindParameter[str] = bindparam("of_device", type_=Text)
_BOUND: BindParameter[int] = bindparam("bound")
_IDS: BindParameter[Any] = bindparam("ids", type_=ARRAY(Text))
_CLOCK: ColumnElement[float] = literal_column("extract(epoch FROM clock_timestamp())::float8", Double).label("clock")
# A clock in place of the database's, for tests: NULL when it is the database's own.
_NOW = func.coalesce(
    bindparam("fixed_now", type_=Double), literal_column("extract(epoch FROM clock_timestamp())::float8", Double)
)


def _records(*where: ColumnElement[bool]) -> ColumnElement[Any]:
    """All revisions that are looked for, as one array."""
    return func.array(select(func.row(*_REVISION_COLUMNS)).where(*where).scalar_subquery()).label("found")


_CREATE = _sql(
    postgresql.insert(_HEAD)
    .values({c.name: bindparam(c.name) for c in _HEAD.columns})
    .on_conflict_do_nothing()
    .returning(_CLOCK)
)
_LOAD = _sql(
    select(
        *_HEAD.columns,
        _CLOCK,
        _records(
            _REVISION.c.device == _HEAD.c.device,
            _REVISION.c.revision_id == any_(func.string_to_array(_HEAD.c.refs, " ")),
            _REVISION.c.revision_id != all_(_IDS),
        ),
    ).where(_HEAD.c.device == _DEVICE)
)
_KEY_AT = _sql(
    select(_HEAD.c.version, _KEY.c.request_hash, _KEY.c.answer, _CLOCK)
    .select_from(_HEAD.outerjoin(_KEY, (_KEY.c.device == _HEAD.c.device) & (_KEY.c.key == bindparam("of_key"))))
    .where(_HEAD.c.device == _DEVICE)
)
_VERSIONS = _sql(select(_HEAD.c.device, _HEAD.c.version, _CLOCK).where(_HEAD.c.device == any_(_IDS)))
_NEWEST_EVENTS = _sql(select(_HEAD.c.device, _HEAD.c.last_n, _CLOCK).where(_HEAD.c.device == any_(_IDS)))
_DUE = _sql(
    select(_HEAD.c.due_at, _HEAD.c.device, _CLOCK)
    .where(
        _HEAD.c.due_at <= _NOW,
        tuple_(_HEAD.c.due_at, _HEAD.c.device)
        > tuple_(bindparam("after_due", type_=Double), bindparam("after_device", type_=Text)),
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
_DUE_SOON = _sql(
    select(_HEAD.c.device, _CLOCK)
    .where(_HEAD.c.due_at <= _NOW + bindparam("within", type_=Double))
    .order_by(_HEAD.c.due_at)
    .limit(_BOUND)
)
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
_NAMED_REVISIONS = _sql(
    select(*_REVISION_COLUMNS).where(_REVISION.c.device == _DEVICE, _REVISION.c.revision_id == any_(_IDS))
)
_NEWEST = select(*_REVISION_COLUMNS).where(_REVISION.c.device == _DEVICE).order_by(_REVISION.c.n.desc()).limit(_BOUND)
_REVISIONS = _sql(_NEWEST)
_before = (
    select(_REVISION.c.n)
    .where(_REVISION.c.device == _DEVICE, _REVISION.c.revision_id == bindparam("before"))
    .scalar_subquery()
)
_REVISIONS_BEFORE = _sql(_NEWEST.where(_REVISION.c.n < _before))
_META_VALUES = _sql(select(_META.c.name, _META.c.value))

_ADDED: Final[Mapping[str, tuple[Table, tuple[str, ...]]]] = {
    "revisions": (_REVISION, tuple(_REVISION.columns.keys()[1:])),
    "deliveries": (_DELIVERY, tuple(_DELIVERY.columns.keys()[1:])),
    "events": (_EVENT, tuple(_EVENT.columns.keys()[1:])),
    "keys": (_KEY, tuple(_KEY.columns.keys()[1:])),
    "outbox": (tables.outbox, ("kind", "seq", "due_at")),
}


@cache
def _commit(parts: tuple[str, ...], lease: str | None, *, forgets: bool) -> Statement:
    """The statement that writes a step which adds to those tables; ``forgets`` the oldest idempotency keys."""
    move = update(_HEAD).where(_HEAD.c.device == _DEVICE, _HEAD.c.version == bindparam("expected"))
    if lease == "live":
        move = move.where(_HEAD.c.lease_until > _NOW)
    elif lease == "ended":
        move = move.where(_HEAD.c.lease_until.is_(None) | (_HEAD.c.lease_until <= _NOW))
    values: dict[str, Any] = {c.name: bindparam(c.name) for c in _HEAD.columns if c.name != "device"}
    moved = move.values(values).returning(_HEAD.c.device).cte("moved")
    added = [_add(moved, part) for part in parts]
    if forgets:
        added.append(_forget_keys(moved))
    count = select(func.count()).select_from(moved).scalar_subquery()
    return _sql(select(count.label("moved"), _CLOCK).add_cte(*added))


def _add(moved: CTE, part: str) -> CTE:
    """Insert rows that are given as an array per column, if the device's row has moved."""
    table, names = _ADDED[part]
    arrays = [bindparam(f"{part}_{name}", type_=ARRAY(table.c[name].type)) for name in names]
    given = func.unnest(*arrays).table_valued(*names, name=f"given_{part}").render_derived()
    rows = select(moved.c.device, *(given.c[name] for name in names)).select_from(moved.join(given, true()))
    add = postgresql.insert(table).from_select(["device", *names], rows)
    if table is _DELIVERY:
        changing = ("state", "code", "ended_at", "record")
        add = add.on_conflict_do_update(
            index_elements=["device", "seq"], set_={name: add.excluded[name] for name in changing}
        )
    return add.cte(f"add_{part}")


def _forget_keys(moved: CTE) -> CTE:
    """All but the newest; those that are being added are not seen here and not counted."""
    oldest = (
        select(_KEY.c.n)
        .where(_KEY.c.device == _DEVICE)
        .order_by(_KEY.c.n.desc())
        .limit(1)
        .offset(bindparam("kept"))
        .scalar_subquery()
    )
    return delete(_KEY).where(_KEY.c.device == moved.c.device, _KEY.c.n <= oldest).cte("forget_keys")


class PostgresLog:
    """``LogDatabase`` in PostgreSQL. ``clock`` takes the place of the database's, for tests."""

    def __init__(self, database: PostgresDatabase, *, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._clock = clock
        self._epoch = ""
        database.greet = self._learn

    async def open(self) -> None:
        """Learn what time it is there; what the database is was learned with the connection. Raises Unavailable."""
        await self.due(1)

    def now_s(self) -> float:
        return self._database.clock.now_s() if self._clock is None else self._clock()

    def epoch(self) -> str:
        return self._epoch

    async def create(self, head: HeadRow) -> bool:
        return bool(await self._write(_CREATE, msgspec.structs.asdict(head)))

    async def load(self, device: str, *, known: Collection[str]) -> Loaded | None:
        rows = await self._read(_LOAD, {"of_device": device, "ids": list(known)})
        if not rows:
            return None
        *columns, _, found = rows[0]
        return Loaded(HeadRow(**dict(zip(HeadRow.__struct_fields__, columns, strict=True))), _by_id(found))

    async def key_at(self, device: str, key: str) -> tuple[int, KnownKey | None]:
        rows = await self._read(_KEY_AT, {"of_device": device, "of_key": key})
        if not rows:
            return -1, None
        version, request_hash, answer, _ = rows[0]
        return version, None if request_hash is None else known_key_of(request_hash, answer)

    async def commit(self, write: Write) -> bool:
        parts = tuple(part for part in _ADDED if getattr(write, part))
        values: dict[str, Any] = msgspec.structs.asdict(write.head)
        values |= {"of_device": write.head.device, "expected": write.head.version - 1}
        if write.kept_keys is not None:
            values["kept"] = write.kept_keys
        for part in parts:
            names = _ADDED[part][1]
            columns = zip(*getattr(write, part), strict=True)
            values |= {f"{part}_{name}": column for name, column in zip(names, columns, strict=True)}
        try:
            rows = await self._write(_commit(parts, write.lease, forgets=write.kept_keys is not None), values)
        except LostRace:
            # Something that there can be only one of was there already: the rows were old.
            return False
        return bool(rows[0]["moved"])

    async def versions(self, devices: Collection[str]) -> Mapping[str, int]:
        return {row[0]: row[1] for row in await self._read(_VERSIONS, {"ids": list(devices)})}

    async def newest(self, devices: Collection[str]) -> Mapping[str, int]:
        return {row[0]: row[1] for row in await self._read(_NEWEST_EVENTS, {"ids": list(devices)})}

    async def due(self, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        due_at, device = after or Due(float("-inf"), "")
        rows = await self._read(_DUE, {"after_due": due_at, "after_device": device, "bound": limit})
        return tuple(Due(row[0], row[1]) for row in rows)

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        rows = await self._read(_GET_DELIVERY, {"of_device": device, "of_seq": seq})
        if not rows:
            return None
        record = rows[0][0]
        names = list(revisions_of_delivery(record))
        revisions = await self._read(_NAMED_REVISIONS, {"of_device": device, "ids": names})
        return delivery_of(device, record, _by_id(revisions))

    async def deliveries(self, device: str, before: int, limit: int) -> tuple[Delivery, ...]:
        rows = await self._read(_GET_DELIVERIES, {"of_device": device, "before": before, "bound": limit})
        records = [row[0] for row in rows]
        names = list(revisions_of_deliveries(records))
        revisions = _by_id(await self._read(_NAMED_REVISIONS, {"of_device": device, "ids": names})) if names else {}
        return tuple(delivery_of(device, record, revisions) for record in records)

    async def ends(self, after: str, limit: int) -> tuple[ChainEnd, ...]:
        rows = await self._read(_ENDS, {"after_device": after, "bound": limit})
        return tuple(ChainEnd(*row) for row in rows)

    async def due_soon(self, within_s: float, limit: int) -> tuple[str, ...]:
        return tuple(row[0] for row in await self._read(_DUE_SOON, {"within": within_s, "bound": limit}))

    async def events(self, device: str, after: int, limit: int) -> tuple[LogEvent, ...]:
        rows = await self._read(_EVENTS, {"of_device": device, "after": after, "bound": limit})
        return tuple(event_of(tuple(row)) for row in rows)

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        rows = await self._read(_NAMED_REVISIONS, {"of_device": device, "ids": [revision_id]})
        return revision_of(tuple(rows[0])) if rows else None

    async def revisions(self, device: str, before: str | None, limit: int) -> tuple[Revision, ...]:
        wanted = {"of_device": device, "bound": limit}
        if before is None:
            rows = await self._read(_REVISIONS, wanted)
        else:
            rows = await self._read(_REVISIONS_BEFORE, wanted | {"before": before})
        return tuple(revision_of(tuple(row)) for row in rows)

    async def _read(self, statement: Statement, values: Mapping[str, Any]) -> Sequence[Any]:
        return await self._database.fetch(statement, {"fixed_now": self._fixed(), **values})

    async def _write(self, statement: Statement, values: Mapping[str, Any]) -> Sequence[Any]:
        return await self._database.fetch(statement, {"fixed_now": self._fixed(), **values}, is_write=True)

    def _fixed(self) -> float | None:
        return None if self._clock is None else self._clock()

    async def _learn(self, connection: Any) -> None:
        """Every new connection may lead to another server than the last one did."""
        meta = {row[0]: row[1] for row in await connection.fetch(_META_VALUES.text)}
        control: tuple[object, ...] = ()
        try:
            control = tuple(await connection.fetchrow(_CONTROL) or ())
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
            # The rest of the identity must do: a server that took over is not noticed then.
            control = ()
        self._epoch = epoch_of(*control, meta[DATABASE_ID], meta.get(RESTORES, "0"))


_CONTROL: Final = "SELECT system_identifier, timeline_id FROM pg_control_system() CROSS JOIN pg_control_checkpoint()"


def _by_id(rows: Sequence[Row]) -> dict[str, Revision]:
    return {row[0]: revision_of(tuple(row)) for row in rows}
