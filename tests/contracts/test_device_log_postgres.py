"""The log in PostgreSQL keeps the contract of every device log."""

from collections.abc import AsyncIterator

import pytest

from tests.contracts.device_log import Bench, DeviceLogContract
from tests.contracts.sql_world import World, postgres_world
from tests.databases import new_postgres
from tests.postgres import PostgresServer


@pytest.fixture
async def world(postgres: PostgresServer) -> AsyncIterator[World]:
    world = postgres_world(await new_postgres(postgres))
    yield world
    await world.end()


class TestPostgresDeviceLog(DeviceLogContract):
    @pytest.fixture
    async def bench(self, world: World) -> Bench:
        return (await world.first()).bench
