"""The log in SQLite keeps the contract of every device log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fitting.log_sql.sqlite_log import SqliteLog
from tests.contracts.device_log import Bench, DeviceLogContract
from tests.contracts.device_log_outbox import SharedOutboxContract
from tests.contracts.device_log_quiet import SharedQuietContract
from tests.contracts.device_log_restart import RestartContract
from tests.contracts.device_log_shared import BoundsContract, SharedContract
from tests.contracts.device_log_sweep import SweepContract
from tests.contracts.sql_world import Process, World, sqlite_world
from tests.databases import new_sqlite


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = sqlite_world(new_sqlite(tmp_path))
    yield world
    await world.end()


class TestSqliteDeviceLog(DeviceLogContract):
    @pytest.fixture
    async def bench(self, world: World) -> Bench:
        return (await world.first()).bench


class TestSqliteRestart(RestartContract):
    async def outbox(self, process: Process) -> list[tuple[object, ...]]:
        assert isinstance(process.tables, SqliteLog)
        return await process.tables._database.read(
            lambda connection: connection.execute("SELECT device, kind, seq, due_at, tries FROM outbox").fetchall()
        )


class TestSqliteShared(SharedContract):
    """Several processes."""


class TestSqliteQuiet(SharedQuietContract):
    """What a sweep need not ask."""


class TestSqliteBounds(BoundsContract):
    """How much is kept."""


class TestSqliteSweep(SweepContract):
    """Looks at all devices."""


class TestSqliteSharedOutbox(SharedOutboxContract):
    """What is due, for several processes."""
