"""The log in SQLite keeps the contract of every device log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.device_log import Bench, DeviceLogContract
from tests.contracts.sql_world import World, sqlite_world
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
