"""Where the stores that are suites' subjects keep their rows, and which bounds they said were reached."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fitting.log_sql.postgres import PostgresDatabase
from fitting.log_sql.sqlite import SqliteDatabase
from signaling.stores.sql import Rows, SqliteRows
from signaling.stores.sql_postgres import PostgresRows
from tests.contracts.device_log_bench import Clock
from tests.databases import lent_postgres, new_sqlite
from tests.postgres import PostgresServer


@pytest.fixture
def bounds() -> list[str]:
    return []


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Rows]:
    database = SqliteDatabase(new_sqlite(tmp_path), monotonic=Clock())
    await database.open()
    yield SqliteRows(database)
    await database.close()


@pytest.fixture
async def postgres_rows(postgres: PostgresServer) -> AsyncIterator[Rows]:
    async with lent_postgres(postgres) as url:
        database = PostgresDatabase(url, monotonic=Clock())
        await database.open()
        yield PostgresRows(database)
        await database.close()
