"""``Rows`` in PostgreSQL, over the pool that the device log uses too: each call is one statement, one round trip."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Delete, Integer, Select, Table, Update, literal_column
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from fitting.log_sql.compiled import Statement
from fitting.log_sql.postgres import LostRace, PostgresDatabase

__all__ = ["PostgresRows"]

_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped
# A row that was written comes back as this, so that they can be counted.
_ONE = literal_column("1", Integer)


class PostgresRows:
    """``Rows`` in PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._compiled: dict[object, Statement] = {}

    async def add(self, table: Table, values: Mapping[str, Any], *, is_new_work: bool = True) -> bool:
        """See ``Rows``."""
        statement = self._compiled.get(table)
        if statement is None:
            insert = postgresql.insert(table).on_conflict_do_nothing().returning(_ONE)
            statement = self._compiled[table] = Statement.of(insert, _DIALECT)
        return bool(await self._database.fetch(statement, values, is_write=True))

    async def change(self, statement: Update | Delete, values: Mapping[str, Any]) -> int:
        """See ``Rows``."""
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = Statement.of(statement.returning(_ONE), _DIALECT)
        try:
            return len(await self._database.fetch(compiled, values, is_write=True))
        except LostRace:
            # Somebody else has taken what only one may have.
            return 0

    async def read(self, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See ``Rows``."""
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = Statement.of(statement, _DIALECT)
        return await self._database.fetch(compiled, values)
