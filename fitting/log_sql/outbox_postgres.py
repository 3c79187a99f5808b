"""The outbox in PostgreSQL: ``fitting.outbox.Outbox`` over the table that the device log writes.

Processes that take at the same time pass over each other's rows. This module must not know what an item stands for.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Double, Integer, Text, bindparam, delete, null, or_, select, update
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from fitting.outbox import DueItem

from .compiled import Statement
from .postgres import PostgresDatabase
from .tables import outbox

__all__ = ["PostgresOutbox"]

_DIALECT: Final = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped
_C = outbox.c
_NOW = bindparam("now", type_=Double)
_TAKE = Statement.of(
    update(outbox)
    .where(
        _C.id.in_(
            select(_C.id)
            .where(_C.due_at <= _NOW, or_(_C.leased_until.is_(None), _C.leased_until <= _NOW))
            .order_by(_C.due_at, _C.id)
            .limit(bindparam("bound"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(leased_by=bindparam("taker", type_=Text), leased_until=bindparam("until", type_=Double))
    .returning(_C.id, _C.device, _C.kind, _C.seq, _C.due_at, _C.tries),
    _DIALECT,
)
_LATER = Statement.of(
    update(outbox)
    .where(_C.id == bindparam("of_id"))
    .values(
        due_at=bindparam("due", type_=Double),
        tries=_C.tries + bindparam("more", type_=Integer),
        leased_by=null(),
        leased_until=null(),
    )
    .returning(_C.id),
    _DIALECT,
)
_DONE = Statement.of(delete(outbox).where(_C.id == bindparam("of_id")).returning(_C.id), _DIALECT)


class PostgresOutbox:
    """See ``Outbox``. ``name`` tells this process from others; ``now_s`` is the log's clock."""

    def __init__(self, database: PostgresDatabase, *, name: str, now_s: Callable[[], float]) -> None:
        self._database = database
        self._name = name
        self.now_s = now_s

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        """See ``Outbox``."""
        now_s = self.now_s()
        values = {"now": now_s, "bound": limit, "taker": self._name, "until": now_s + hold_s}
        rows = await self._database.fetch(_TAKE, values, is_write=True)
        return tuple(sorted((DueItem(*row) for row in rows), key=lambda item: (item.due_at_s, item.id)))

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        """See ``Outbox``."""
        values = {"of_id": item.id, "due": due_at_s, "more": int(tried)}
        await self._database.fetch(_LATER, values, is_write=True)

    async def done(self, item: DueItem) -> None:
        """See ``Outbox``."""
        await self._database.fetch(_DONE, {"of_id": item.id}, is_write=True)
