"""Answers given over REST in a table: what the two databases share, and SQLite.

This module must not know what was asked. Read ``SqliteRestAnswers.claim`` first.
"""

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Double, Text, bindparam, delete, select, update
from sqlalchemy.dialects import sqlite as dialects
from sqlalchemy.sql.elements import BindParameter, ColumnElement

from fitting.log_sql.compiled import Statement
from fitting.log_sql.sqlite import SqliteDatabase

from .rest_answers import CLAIM_S, KEEP_S, AnswerKey, KeptAnswer
from .tables import rest_answer

__all__ = ["DROP", "EXPIRED", "GET", "KEEP", "TAKEN_OVER", "TOO_MANY", "SqliteRestAnswers", "named"]

_C: Final = rest_answer.columns
_EXPIRED_AT: Final[BindParameter[float]] = bindparam("expired_at", type_=Double)
_STALE_AT: Final[BindParameter[float]] = bindparam("stale_at", type_=Double)
_OF_CALLER: Final[ColumnElement[bool]] = (_C.clinic == bindparam("of_clinic", type_=Text)) & (
    _C.author == bindparam("of_author", type_=Text)
)
_OF_KEY: Final = _OF_CALLER & (_C.key == bindparam("of_key", type_=Text))
_CLAIMED: Final = _OF_KEY & (_C.request_hash == bindparam("of_request", type_=Text)) & _C.answer.is_(None)
EXPIRED: Final[ColumnElement[bool]] = _C.at <= _EXPIRED_AT
TAKEN_OVER: Final[ColumnElement[bool]] = EXPIRED | (_C.answer.is_(None) & (_C.at <= _STALE_AT))
_OTHERS: Final = _OF_CALLER & (_C.key != bindparam("of_key", type_=Text))
# All of a caller but the newest, whose number is ``kept`` beside the one that was just claimed.
TOO_MANY: Final[ColumnElement[bool]] = _OTHERS & _C.key.not_in(
    select(_C.key).where(_OTHERS).order_by(_C.at.desc()).limit(bindparam("kept"))
)
GET: Final = select(_C.request_hash, _C.answer).where(_OF_KEY)
KEEP: Final = update(rest_answer).where(_CLAIMED).values(answer=bindparam("answer"))
DROP: Final = delete(rest_answer).where(_CLAIMED)

_DIALECT = dialects.dialect(paramstyle="named")
_GET, _KEEP, _DROP = (Statement.of(statement, _DIALECT) for statement in (GET, KEEP, DROP))
_insert = dialects.insert(rest_answer)
_CLAIM = Statement.of(
    _insert.on_conflict_do_update(
        index_elements=["clinic", "author", "key"],
        set_={name: _insert.excluded[name] for name in ("request_hash", "at", "answer")},
        where=TAKEN_OVER,
    ),
    _DIALECT,
)
_FORGET_EXPIRED = Statement.of(delete(rest_answer).where(EXPIRED), _DIALECT)
_FORGET_OLDEST = Statement.of(delete(rest_answer).where(TOO_MANY), _DIALECT)


def named(key: AnswerKey, request_hash: str = "", now_s: float = 0.0) -> dict[str, Any]:
    """The values by which statements name a key, a request and the times of both."""
    return {
        "of_clinic": key.clinic,
        "of_author": key.author,
        "of_key": key.key,
        "of_request": request_hash,
        "clinic": key.clinic,
        "author": key.author,
        "key": key.key,
        "request_hash": request_hash,
        "at": now_s,
        "answer": None,
        "expired_at": now_s - KEEP_S,
        "stale_at": now_s - CLAIM_S,
    }


class SqliteRestAnswers:
    """``RestAnswers`` in SQLite; ``limit`` of each caller, ``reached`` is told when more are forgotten."""

    def __init__(self, database: SqliteDatabase, *, limit: int, reached: Callable[[str], None]) -> None:
        self._database = database
        self._limit = limit
        self._reached = reached

    async def claim(self, key: AnswerKey, request_hash: str, now_s: float) -> KeptAnswer | None:
        """See ``RestAnswers``."""
        values = named(key, request_hash, now_s) | {"kept": self._limit - 1}

        def work(connection: sqlite3.Connection) -> tuple[KeptAnswer | None, int]:
            if connection.execute(_CLAIM.text, _CLAIM.named(values)).rowcount == 0:
                return KeptAnswer(*connection.execute(_GET.text, _GET.named(values)).fetchone()), 0
            connection.execute(_FORGET_EXPIRED.text, _FORGET_EXPIRED.named(values))
            return None, connection.execute(_FORGET_OLDEST.text, _FORGET_OLDEST.named(values)).rowcount

        kept, forgotten = await self._database.write(work, is_new_work=True)
        if forgotten:
            self._reached("max_rest_answers")
        return kept

    async def keep(self, key: AnswerKey, request_hash: str, answer: bytes) -> None:
        """See ``RestAnswers``."""
        values = _KEEP.named(named(key, request_hash) | {"answer": answer})
        await self._database.write(lambda connection: connection.execute(_KEEP.text, values).rowcount)

    async def drop(self, key: AnswerKey, request_hash: str) -> None:
        """See ``RestAnswers``."""
        values = _DROP.named(named(key, request_hash))
        await self._database.write(lambda connection: connection.execute(_DROP.text, values).rowcount)
