"""Every store of push tokens keeps the contract: in memory, in SQLite, in PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fitting.log_sql.postgres import PostgresDatabase
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.push import PushTarget
from protocol.errors import Overloaded
from signaling.stores.push_tokens import MemoryPushTokens, PushTokens
from signaling.stores.push_tokens_postgres import PostgresPushTokens
from signaling.stores.push_tokens_sql import SqlitePushTokens
from tests.contracts.device_log_bench import Clock
from tests.databases import lent_postgres, new_sqlite
from tests.postgres import PostgresServer

FIRST, SECOND = PushTarget("fcm", "first"), PushTarget("apns", "5ec0")
BOUNDS: list[str] = []


class PushTokensContract:
    async def test_the_newest_token_counts(self, store: PushTokens) -> None:
        assert await store.get("d1") is None
        await store.put("d1", FIRST, 1.0)
        await store.put("d2", SECOND, 1.0)
        await store.put("d1", SECOND, 2.0)
        assert (await store.get("d1"), await store.get("d2")) == (SECOND, SECOND)

    async def test_a_dead_token_is_not_given_until_the_phone_brings_one(self, store: PushTokens) -> None:
        await store.put("d1", FIRST, 1.0)
        await store.park("d1", FIRST, 2.0)
        assert await store.get("d1") is None
        await store.put("d1", FIRST, 3.0)
        assert await store.get("d1") == FIRST

    async def test_the_death_of_an_older_token_does_not_touch_a_newer_one(self, store: PushTokens) -> None:
        await store.put("d1", FIRST, 1.0)
        await store.put("d1", SECOND, 2.0)
        await store.park("d1", FIRST, 3.0)
        await store.park("d2", FIRST, 3.0)
        assert await store.get("d1") == SECOND


class TestMemoryPushTokens(PushTokensContract):
    @pytest.fixture
    def store(self) -> PushTokens:
        return MemoryPushTokens(max_devices=2, reached=BOUNDS.append)

    async def test_only_so_many_are_held(self, store: PushTokens) -> None:
        for device in ("d1", "d2", "d1"):
            await store.put(device, FIRST, 1.0)
        with pytest.raises(Overloaded):
            await store.put("d3", FIRST, 1.0)
        assert BOUNDS == ["max_devices"]


class TestSqlitePushTokens(PushTokensContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[PushTokens]:
        database = SqliteDatabase(new_sqlite(tmp_path), monotonic=Clock())
        await database.open()
        yield SqlitePushTokens(database)
        await database.close()


class TestPostgresPushTokens(PushTokensContract):
    @pytest.fixture
    async def store(self, postgres: PostgresServer) -> AsyncIterator[PushTokens]:
        async with lent_postgres(postgres) as url:
            database = PostgresDatabase(url, monotonic=Clock())
            await database.open()
            yield PostgresPushTokens(database)
            await database.close()
