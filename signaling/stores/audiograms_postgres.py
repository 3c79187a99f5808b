"""The table of audiograms in PostgreSQL: ``AudiogramTable`` over the pool that the device log uses too."""

from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from fitting.log_sql.compiled import Statement
from fitting.log_sql.postgres import PostgresDatabase

from .audiograms_sql import ONE, PAGE, AudiogramRow
from .tables import audiogram

__all__ = ["PostgresAudiogramTable"]

_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped
_ADD = Statement.of(postgresql.insert(audiogram).on_conflict_do_nothing().returning(audiogram.c.number), _DIALECT)
_ONE, _PAGE = Statement.of(ONE, _DIALECT), Statement.of(PAGE, _DIALECT)


class PostgresAudiogramTable:
    """``AudiogramTable`` in PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def add(self, row: AudiogramRow) -> bool:
        return bool(await self._database.fetch(_ADD, row.values, is_write=True))

    async def get(self, device: str, audiogram_id: str) -> bytes | None:
        rows = await self._database.fetch(_ONE, {"of_device": device, "of_id": audiogram_id})
        return bytes(rows[0][0]) if rows else None

    async def page(self, device: str, before: int, limit: int) -> tuple[bytes, ...]:
        rows = await self._database.fetch(_PAGE, {"of_device": device, "before": before, "rows": limit})
        return tuple(bytes(row[0]) for row in rows)
