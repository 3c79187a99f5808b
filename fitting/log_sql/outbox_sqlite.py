"""The outbox in SQLite: ``fitting.outbox.Outbox`` over the table that the device log writes.

An empty look costs a read and no write. This module must not know what an item stands for.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import bindparam, delete, null, or_, select, update
from sqlalchemy.dialects import sqlite as dialects

from fitting.outbox import DueItem

from .compiled import Statement
from .sqlite import SqliteDatabase
from .tables import outbox

__all__ = ["SqliteOutbox"]

_DIALECT: Final = dialects.dialect(paramstyle="named")
_C = outbox.c
_FREE = (_C.due_at <= bindparam("now"), or_(_C.leased_until.is_(None), _C.leased_until <= bindparam("now")))
_FOUND = select(_C.id).where(*_FREE).order_by(_C.due_at, _C.id).limit(bindparam("bound"))
_LOOK = Statement.of(_FOUND, _DIALECT)
_TAKE = Statement.of(
    update(outbox)
    .where(_C.id.in_(_FOUND))
    .values(leased_by=bindparam("taker"), leased_until=bindparam("until"))
    .returning(_C.id, _C.device, _C.kind, _C.seq, _C.due_at, _C.tries),
    _DIALECT,
)
_LATER = Statement.of(
    update(outbox)
    .where(_C.id == bindparam("of_id"))
    .values(due_at=bindparam("due"), tries=_C.tries + bindparam("more"), leased_by=null(), leased_until=null()),
    _DIALECT,
)
_DONE = Statement.of(delete(outbox).where(_C.id == bindparam("of_id")), _DIALECT)


class SqliteOutbox:
    """See ``Outbox``. ``name`` tells this process from others; ``now_s`` is the log's clock."""

    def __init__(self, database: SqliteDatabase, *, name: str, now_s: Callable[[], float]) -> None:
        self._database = database
        self._name = name
        self.now_s = now_s

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        """See ``Outbox``."""
        now_s = self.now_s()
        look = _LOOK.named({"now": now_s, "bound": 1})
        found = await self._database.read(lambda connection: connection.execute(_LOOK.text, look).fetchone())
        if found is None:
            return ()
        take = _TAKE.named({"now": now_s, "bound": limit, "taker": self._name, "until": now_s + hold_s})

        def work(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(_TAKE.text, take).fetchall()

        rows = await self._database.write(work)
        return tuple(sorted((DueItem(*row) for row in rows), key=lambda item: (item.due_at_s, item.id)))

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        """See ``Outbox``."""
        await self._change(_LATER, {"of_id": item.id, "due": due_at_s, "more": int(tried)})

    async def done(self, item: DueItem) -> None:
        """See ``Outbox``."""
        await self._change(_DONE, {"of_id": item.id})

    async def _change(self, statement: Statement, values: Mapping[str, Any]) -> None:
        named = statement.named(values)
        await self._database.write(lambda connection: connection.execute(statement.text, named).rowcount)
