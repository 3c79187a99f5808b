"""The time of a log in SQLite: it rises, whatever becomes of the host's clock."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from fitting.log_over_store import StoredDeviceLog
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_values import LogLimits
from tests.contracts.device_log_bench import DEVICE, START, Bench, Clock, refused, registered
from tests.databases import new_sqlite

LEASE_S = 15.0
HOUR_S = 3_600.0


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator["Opened"]:
    opened = Opened(new_sqlite(tmp_path))
    yield opened
    await opened.close()


class Opened:
    """A log on a file, by a wall clock and a clock that only rises."""

    def __init__(self, path: Path) -> None:
        self.wall, self.monotonic = Clock(), Clock(50.0)
        self._path = path
        self._ids = count()
        self._closing: list[SqliteDatabase] = []

    async def bench(self) -> Bench:
        database = SqliteDatabase(self._path, monotonic=self.monotonic)
        await database.open()
        self._closing.append(database)
        tables = SqliteLog(database, clock=self.wall, monotonic=self.monotonic)
        await tables.open()
        limits = LogLimits(lease_ttl_s=LEASE_S)
        store = SqlLogStore(tables, name=f"p-{next(self._ids)}", monotonic=self.monotonic, limits=limits)
        return Bench(StoredDeviceLog(store, lambda: f"id-{next(self._ids)}"), self.wall)

    async def close(self) -> None:
        while self._closing:
            await self._closing.pop().close()


@pytest.mark.parametrize("set_by_s", [-HOUR_S, HOUR_S])
async def test_a_lease_lives_as_long_as_it_was_granted_for_whoever_sets_the_clock(
    opened: Opened, set_by_s: float
) -> None:
    bench = await opened.bench()
    await bench.log.create(DEVICE, registered())
    await bench.fitted()
    opened.wall.pass_s(set_by_s)
    opened.monotonic.pass_s(LEASE_S - 1)
    alive = await bench.log.alive(DEVICE)
    assert alive is not None
    assert alive[1] == pytest.approx(1.0)
    held = refused(await bench.log.acquire(DEVICE, session="s-2", holder="bob"))
    assert (held.code, held.retry_after_ms) == ("lease_held", 1_000)
    assert await bench.log.lapsed() == ()
    opened.monotonic.pass_s(1)
    assert [device for device, _ in await bench.log.lapsed()] == [DEVICE]


@pytest.mark.parametrize(("set_by_s", "begins_s"), [(-HOUR_S, 7.0), (HOUR_S, 7.0 + HOUR_S)])
async def test_after_a_restart_it_is_the_clocks_time_but_never_before_what_is_written(
    opened: Opened, set_by_s: float, begins_s: float
) -> None:
    bench = await opened.bench()
    await bench.log.create(DEVICE, registered())
    await bench.attach()
    opened.wall.pass_s(7)
    opened.monotonic.pass_s(7)
    await bench.acquire()
    await opened.close()
    opened.wall.pass_s(set_by_s)
    opened.monotonic.now_s = 1.0
    assert (await (await opened.bench()).head()).at_s == START + begins_s
