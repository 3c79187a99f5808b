"""Answers given over REST in PostgreSQL: ``RestAnswers`` over the pool that the device log uses too."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import delete, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from fitting.log_sql.compiled import Statement
from fitting.log_sql.postgres import PostgresDatabase
from protocol.errors import Unavailable

from .rest_answers import AnswerKey, KeptAnswer
from .rest_answers_sql import DROP, EXPIRED, GET, KEEP, TAKEN_OVER, TOO_MANY, named
from .tables import rest_answer

__all__ = ["PostgresRestAnswers"]

_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped
_GET, _KEEP, _DROP = (Statement.of(statement, _DIALECT) for statement in (GET, KEEP, DROP))
_insert = postgresql.insert(rest_answer)
_CLAIM = Statement.of(
    _insert.on_conflict_do_update(
        index_elements=["clinic", "author", "key"],
        set_={name: _insert.excluded[name] for name in ("request_hash", "at", "answer")},
        where=TAKEN_OVER,
    ).returning(true()),
    _DIALECT,
)
_FORGET = Statement.of(delete(rest_answer).where(EXPIRED | TOO_MANY).returning(EXPIRED), _DIALECT)
# Others may claim a key and give it free between two questions, but hardly again and again.
_TRIES: Final = 3


class PostgresRestAnswers:
    """``RestAnswers`` in PostgreSQL; ``limit`` of each caller, ``reached`` is told when more are forgotten."""

    def __init__(self, database: PostgresDatabase, *, limit: int, reached: Callable[[str], None]) -> None:
        self._database = database
        self._limit = limit
        self._reached = reached

    async def claim(self, key: AnswerKey, request_hash: str, now_s: float) -> KeptAnswer | None:
        """See ``RestAnswers``."""
        values = named(key, request_hash, now_s)
        for _ in range(_TRIES):
            if await self._database.fetch(_CLAIM, values, is_write=True):
                await self._forget(values)
                return None
            if found := await self._database.fetch(_GET, values):
                return KeptAnswer(*found[0])
        raise Unavailable("others use this idempotency key all the time, try again")

    async def _forget(self, values: Mapping[str, Any]) -> None:
        forgotten = await self._database.fetch(_FORGET, {**values, "kept": self._limit - 1}, is_write=True)
        if not all(is_expired for (is_expired,) in forgotten):
            self._reached("max_rest_answers")

    async def keep(self, key: AnswerKey, request_hash: str, answer: bytes) -> None:
        """See ``RestAnswers``."""
        await self._database.fetch(_KEEP, named(key, request_hash) | {"answer": answer}, is_write=True)

    async def drop(self, key: AnswerKey, request_hash: str) -> None:
        """See ``RestAnswers``."""
        await self._database.fetch(_DROP, named(key, request_hash), is_write=True)
