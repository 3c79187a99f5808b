"""Every store of audiograms keeps the contract: in memory, in SQLite, in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.log_sql.postgres import PostgresDatabase
from fitting.log_sql.sqlite import SqliteDatabase
from protocol.errors import Unavailable
from signaling.stores.audiograms import (
    REGISTERED,
    AudiogramStore,
    MemoryAudiogramStore,
    NewestOnFile,
    registered_audiogram,
)
from signaling.stores.audiograms_postgres import PostgresAudiogramTable
from signaling.stores.audiograms_sql import AudiogramRow, AudiogramTable, SqlAudiogramStore, SqliteAudiogramTable
from signaling.stores.devices import MemoryDeviceStore
from signaling.stores.devices_postgres import PostgresDeviceTable
from signaling.stores.devices_sql import DeviceTable, SqliteDeviceTable
from tests.contracts.audiogram_store import MAX_AUDIOGRAMS, RECORD, AudiogramStoreContract
from tests.contracts.device_log_bench import Clock
from tests.contracts.device_store import RECORD as DEVICE
from tests.databases import lent_postgres, new_sqlite
from tests.postgres import PostgresServer


@pytest.fixture
def bounds() -> list[str]:
    return []


def over(
    table: AudiogramTable, bounds: list[str], clock: Clock | None = None, max_cached: int = 10
) -> SqlAudiogramStore:
    return SqlAudiogramStore(
        table,
        monotonic=clock or Clock(),
        max_audiograms=MAX_AUDIOGRAMS,
        max_cached=max_cached,
        stale_s=0.25,
        reached=bounds.append,
    )


async def register(devices: DeviceTable) -> None:
    for device in ("d1", "d2"):
        assert await devices.add(device, "c1", "pat", b"")


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[AudiogramTable]:
    database = SqliteDatabase(new_sqlite(tmp_path), monotonic=Clock())
    await database.open()
    await register(SqliteDeviceTable(database))
    yield SqliteAudiogramTable(database)
    await database.close()


class Held:
    """A table whose first page is told late."""

    def __init__(self, inner: AudiogramTable) -> None:
        self._inner = inner
        self.gate, self.read = asyncio.Event(), asyncio.Event()
        self.holds = True

    async def add(self, row: AudiogramRow) -> bool:
        return await self._inner.add(row)

    async def get(self, device: str, audiogram_id: str) -> bytes | None:
        return await self._inner.get(device, audiogram_id)

    async def page(self, device: str, before: int, limit: int) -> tuple[bytes, ...]:
        found = await self._inner.page(device, before, limit)
        if self.holds:
            self.read.set()
            await self.gate.wait()
        return found


class TestMemoryAudiogramStore(AudiogramStoreContract):
    @pytest.fixture
    def store(self, bounds: list[str]) -> AudiogramStore:
        return MemoryAudiogramStore(max_audiograms=MAX_AUDIOGRAMS, reached=bounds.append)


class TestSqliteAudiogramStore(AudiogramStoreContract):
    @pytest.fixture
    def store(self, sqlite: AudiogramTable, bounds: list[str]) -> AudiogramStore:
        return over(sqlite, bounds)

    async def test_what_another_process_put_on_file_counts_after_a_while(
        self, sqlite: AudiogramTable, bounds: list[str]
    ) -> None:
        clock = Clock()
        here, there = over(sqlite, bounds, clock), over(sqlite, bounds)
        assert await here.newest("d1") is None
        stored = await there.add(RECORD)
        assert await here.newest("d1") is None
        clock.now_s += 0.26
        assert await here.newest("d1") == stored

    async def test_what_this_process_put_on_file_counts_at_once(
        self, sqlite: AudiogramTable, bounds: list[str]
    ) -> None:
        store = over(sqlite, bounds)
        assert await store.newest("d1") is None
        assert await store.add(RECORD) == await store.newest("d1")

    @pytest.mark.parametrize("earlier", [False, True])
    async def test_what_was_read_before_it_was_put_on_file_does_not_take_its_place(
        self, sqlite: AudiogramTable, bounds: list[str], earlier: bool
    ) -> None:
        if earlier:
            await over(sqlite, bounds).add(replace(RECORD, audiogram_id="a-0"))
        table = Held(sqlite)
        store = over(table, bounds)
        table.gate.clear()
        early = asyncio.create_task(store.newest("d1"))
        await table.read.wait()
        table.holds = False
        stored = await store.add(RECORD)
        table.gate.set()
        await early
        assert await store.newest("d1") == stored

    async def test_one_whose_answer_was_lost_counts_when_it_is_found(
        self, sqlite: AudiogramTable, bounds: list[str]
    ) -> None:
        store = over(sqlite, bounds)
        assert await store.newest("d1") is None
        stored = await over(sqlite, bounds).add(RECORD)
        # The same request again: only now this process knows that it had come about.
        assert await store.add(RECORD) == stored
        assert await store.newest("d1") == stored

    async def test_one_that_is_found_again_behind_newer_ones_does_not_count(
        self, sqlite: AudiogramTable, bounds: list[str]
    ) -> None:
        there = over(sqlite, bounds)
        stored = await there.add(RECORD)
        newest = await there.add(replace(RECORD, audiogram_id="a-2", audiogram=STANDARD_AUDIOGRAMS["N7"]))
        # This process knows nothing of the device yet, and gets an old request again.
        store = over(sqlite, bounds)
        assert await store.add(RECORD) == stored
        assert await store.newest("d1") == newest

    async def test_a_number_that_another_process_took_meanwhile_is_not_taken_twice(
        self, sqlite: AudiogramTable, bounds: list[str]
    ) -> None:
        stores = [over(sqlite, bounds) for _ in range(4)]
        stored = await asyncio.gather(
            *(one.add(replace(RECORD, audiogram_id=f"a-{number}")) for number, one in enumerate(stores))
        )
        assert sorted(one.number for one in stored) == [1, 2, 3, 4]

    async def test_only_so_many_are_kept_and_the_rest_is_read_again(
        self, sqlite: AudiogramTable, bounds: list[str]
    ) -> None:
        store = over(sqlite, bounds, max_cached=1)
        for device in ("d1", "d2"):
            await store.add(replace(RECORD, device=device))
        assert [one and one.device for one in [await store.newest("d1"), await store.newest("d2")]] == ["d1", "d2"]
        assert bounds == ["max_cached_devices"] * 3
        assert await store.newest("d1") is not None

    async def test_whoever_is_always_late_is_told_so(self, sqlite: AudiogramTable, bounds: list[str]) -> None:
        class Taken(SqliteAudiogramTable):
            """Somebody else is always a moment earlier."""

            async def add(self, row: AudiogramRow) -> bool:
                return False

        assert isinstance(sqlite, SqliteAudiogramTable)
        with pytest.raises(Unavailable):
            await over(Taken(sqlite._database), bounds).add(RECORD)


class TestPostgresAudiogramStore(AudiogramStoreContract):
    @pytest.fixture
    async def store(self, postgres: PostgresServer, bounds: list[str]) -> AsyncIterator[AudiogramStore]:
        async with lent_postgres(postgres) as url:
            database = PostgresDatabase(url, monotonic=Clock())
            await database.open()
            await register(PostgresDeviceTable(database))
            yield over(PostgresAudiogramTable(database), bounds)
            await database.close()


class TestNewestOnFile:
    """What a change is judged by."""

    @pytest.fixture
    def audiograms(self, bounds: list[str]) -> MemoryAudiogramStore:
        return MemoryAudiogramStore(max_audiograms=2, reached=bounds.append)

    @pytest.fixture
    def devices(self, bounds: list[str]) -> MemoryDeviceStore:
        return MemoryDeviceStore(max_devices=2, reached=bounds.append)

    @pytest.fixture
    def on_file(self, audiograms: MemoryAudiogramStore, devices: MemoryDeviceStore) -> NewestOnFile:
        return NewestOnFile(devices, audiograms)

    async def test_what_came_with_the_device_counts_until_there_is_a_newer_one(
        self, on_file: NewestOnFile, devices: MemoryDeviceStore, audiograms: MemoryAudiogramStore
    ) -> None:
        assert await on_file.get("d1") is None
        assert await devices.register(DEVICE)
        assert await on_file.get("d1") == DEVICE
        await audiograms.add(replace(RECORD, audiogram=STANDARD_AUDIOGRAMS["N7"]))
        assert await on_file.get("d1") == replace(DEVICE, audiogram=STANDARD_AUDIOGRAMS["N7"])

    async def test_a_device_that_came_without_one_has_the_newest(
        self, on_file: NewestOnFile, devices: MemoryDeviceStore, audiograms: MemoryAudiogramStore
    ) -> None:
        bare = replace(DEVICE, audiogram=None)
        await devices.register(bare)
        assert await on_file.get("d1") == bare
        await audiograms.add(RECORD)
        assert await on_file.get("d1") == replace(bare, audiogram=RECORD.audiogram)

    def test_what_came_with_the_device_is_its_first(self) -> None:
        first = registered_audiogram(DEVICE)
        assert first is not None
        assert (first.audiogram_id, first.number, first.source) == (REGISTERED, 0, "registration")
        assert first.audiogram == DEVICE.audiogram
        assert registered_audiogram(replace(DEVICE, audiogram=None)) is None
