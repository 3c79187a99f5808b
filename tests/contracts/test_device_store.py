"""Every store of registered devices keeps the contract: in memory, in SQLite, in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fitting.log_sql.postgres import PostgresDatabase
from fitting.log_sql.sqlite import SqliteDatabase
from protocol.errors import Overloaded
from signaling.stores.devices import DeviceStore, MemoryDeviceStore
from signaling.stores.devices_postgres import PostgresDeviceTable
from signaling.stores.devices_sql import DeviceTable, SqlDeviceStore, SqliteDeviceTable
from tests.contracts.device_log_bench import Clock
from tests.contracts.device_store import RECORD, DeviceStoreContract
from tests.databases import lent_postgres, new_sqlite
from tests.postgres import PostgresServer

BOUNDS: list[str] = []


def over(table: DeviceTable, clock: Clock | None = None, max_cached: int = 10) -> SqlDeviceStore:
    return SqlDeviceStore(table, monotonic=clock or Clock(), max_cached=max_cached, stale_s=0.25, reached=BOUNDS.append)


@pytest.fixture
async def sqlite_file(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(new_sqlite(tmp_path), monotonic=Clock())
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def sqlite(sqlite_file: SqliteDatabase) -> DeviceTable:
    return SqliteDeviceTable(sqlite_file)


class SlowTable(SqliteDeviceTable):
    """A disk from which what was read comes late, when the test says so."""

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__(database)
        self.has_read, self.may_tell = asyncio.Event(), asyncio.Event()

    async def get(self, device: str) -> bytes | None:
        packed = await super().get(device)
        self.has_read.set()
        await self.may_tell.wait()
        return packed


class TestMemoryDeviceStore(DeviceStoreContract):
    @pytest.fixture
    def store(self) -> DeviceStore:
        return MemoryDeviceStore(max_devices=2, reached=BOUNDS.append)

    async def test_only_so_many_devices_are_held(self, store: DeviceStore) -> None:
        for device in ("d1", "d2"):
            await store.register(replace(RECORD, device=device))
        with pytest.raises(Overloaded):
            await store.register(replace(RECORD, device="d3"))
        assert "max_devices" in BOUNDS


class TestSqliteDeviceStore(DeviceStoreContract):
    @pytest.fixture
    def store(self, sqlite: DeviceTable) -> DeviceStore:
        return over(sqlite)

    async def test_what_another_process_changes_is_seen_after_a_while(self, sqlite: DeviceTable) -> None:
        clock = Clock()
        here = over(sqlite, clock)
        assert await here.get("d1") is None
        assert await over(sqlite).register(RECORD)
        assert await here.get("d1") == RECORD

    async def test_what_was_read_before_a_change_and_comes_after_it_is_not_remembered(
        self, sqlite_file: SqliteDatabase
    ) -> None:
        table = SlowTable(sqlite_file)
        store = over(table)
        await store.register(RECORD)
        reading = asyncio.create_task(store.get("d1"))
        await table.has_read.wait()
        second = replace(RECORD, red_flags=False, version=2)
        assert await store.change(second)
        table.may_tell.set()
        assert await reading == RECORD
        assert await store.get("d1") == second

    async def test_only_so_many_records_are_kept_and_the_rest_is_read_again(self, sqlite: DeviceTable) -> None:
        store = over(sqlite, max_cached=2)
        devices = [f"d{number}" for number in range(4)]
        for device in devices:
            await store.register(replace(RECORD, device=device))
            await store.get(device)
        assert BOUNDS.count("max_cached_devices") == 2
        assert [record and record.device for record in [await store.get(device) for device in devices]] == devices


class TestPostgresDeviceStore(DeviceStoreContract):
    @pytest.fixture
    async def store(self, postgres: PostgresServer) -> AsyncIterator[DeviceStore]:
        async with lent_postgres(postgres) as url:
            database = PostgresDatabase(url, monotonic=Clock())
            await database.open()
            yield over(PostgresDeviceTable(database))
            await database.close()
