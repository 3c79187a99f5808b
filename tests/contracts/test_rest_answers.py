"""Every store of answers given over REST keeps the contract: in memory, in SQLite, in PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fitting.log_sql.postgres import PostgresDatabase
from fitting.log_sql.sqlite import SqliteDatabase
from signaling.stores.rest_answers import MemoryRestAnswers, RestAnswers
from signaling.stores.rest_answers_postgres import PostgresRestAnswers
from signaling.stores.rest_answers_sql import SqliteRestAnswers
from tests.contracts.device_log_bench import Clock
from tests.contracts.rest_answers import BOUNDS, LIMIT, RestAnswersContract
from tests.databases import lent_postgres, new_sqlite
from tests.postgres import PostgresServer


@pytest.fixture(autouse=True)
def _no_bound_was_met_yet() -> None:
    BOUNDS.clear()


class TestMemoryRestAnswers(RestAnswersContract):
    @pytest.fixture
    def answers(self) -> RestAnswers:
        return MemoryRestAnswers(limit=LIMIT, reached=BOUNDS.append)


class TestSqliteRestAnswers(RestAnswersContract):
    @pytest.fixture
    async def answers(self, tmp_path: Path) -> AsyncIterator[RestAnswers]:
        database = SqliteDatabase(new_sqlite(tmp_path), monotonic=Clock())
        await database.open()
        yield SqliteRestAnswers(database, limit=LIMIT, reached=BOUNDS.append)
        await database.close()


class TestPostgresRestAnswers(RestAnswersContract):
    @pytest.fixture
    async def answers(self, postgres: PostgresServer) -> AsyncIterator[RestAnswers]:
        async with lent_postgres(postgres) as url:
            database = PostgresDatabase(url, monotonic=Clock())
            await database.open()
            yield PostgresRestAnswers(database, limit=LIMIT, reached=BOUNDS.append)
            await database.close()
