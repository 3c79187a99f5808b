"""Statements of the stores, written once for both databases: what adds, what changes and what reads rows.

A statement is SQLAlchemy's and of no dialect; it is compiled when it is first used. ``Rows`` is the port, and here is
its SQLite. This module must not know any table. Read ``Rows`` first.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Delete, Select, Table, Update
from sqlalchemy.dialects import sqlite as dialects

from fitting.log_sql.compiled import Statement
from fitting.log_sql.sqlite import SqliteDatabase

__all__ = ["TRIES", "Rows", "SqliteRows"]

# How often a store looks again when somebody else has taken the number or the place that it was about to take.
TRIES: Final = 8
_DIALECT = dialects.dialect(paramstyle="named")


class Rows(Protocol):
    """The rows of one database. Every call raises Unavailable when that is away."""

    async def add(self, table: Table, values: Mapping[str, Any], *, is_new_work: bool = True) -> bool:
        """Add a row, all its columns given; False when one with its key is there, and nothing changes.

        ``is_new_work``: it may be refused first when the disk is full.
        """
        ...

    async def change(self, statement: Update | Delete, values: Mapping[str, Any]) -> int:
        """Change or delete rows; how many there were, none when a row would have what only one may have."""
        ...

    async def read(self, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows that are looked for."""
        ...


class SqliteRows:
    """``Rows`` in SQLite."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._compiled: dict[object, Statement] = {}

    async def add(self, table: Table, values: Mapping[str, Any], *, is_new_work: bool = True) -> bool:
        """See ``Rows``."""
        statement = self._compiled.get(table)
        if statement is None:
            statement = Statement.of(dialects.insert(table).on_conflict_do_nothing(), _DIALECT)
            self._compiled[table] = statement
        return await self._write(statement, values, is_new_work) == 1

    async def change(self, statement: Update | Delete, values: Mapping[str, Any]) -> int:
        """See ``Rows``."""
        return await self._write(self._of(statement), values, is_new_work=False)

    async def read(self, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See ``Rows``."""
        compiled = self._of(statement)
        given = compiled.named(values)
        return await self._database.read(lambda connection: connection.execute(compiled.text, given).fetchall())

    async def _write(self, statement: Statement, values: Mapping[str, Any], is_new_work: bool) -> int:
        given = statement.named(values)

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(statement.text, given).rowcount

        return await self._database.write(work, is_new_work=is_new_work)

    def _of(self, statement: Select[Any] | Update | Delete) -> Statement:
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = Statement.of(statement, _DIALECT)
        return compiled
