"""The log in PostgreSQL keeps the contract of every device log."""

from collections.abc import AsyncIterator

import pytest

from fitting.log_sql.compiled import Statement
from fitting.log_sql.postgres_log import PostgresLog
from tests.contracts.device_log import Bench, DeviceLogContract
from tests.contracts.device_log_outbox import SharedOutboxContract
from tests.contracts.device_log_quiet import SharedQuietContract
from tests.contracts.device_log_restart import RestartContract
from tests.contracts.device_log_shared import BoundsContract, SharedContract
from tests.contracts.device_log_sweep import SweepContract
from tests.contracts.sql_world import Process, World, postgres_world
from tests.databases import lent_postgres
from tests.postgres import PostgresServer


@pytest.fixture
async def world(postgres: PostgresServer) -> AsyncIterator[World]:
    async with lent_postgres(postgres) as url:
        world = postgres_world(url)
        yield world
        await world.end()


class TestPostgresDeviceLog(DeviceLogContract):
    @pytest.fixture
    async def bench(self, world: World) -> Bench:
        return (await world.first()).bench


class TestPostgresRestart(RestartContract):
    async def outbox(self, process: Process) -> list[tuple[object, ...]]:
        assert isinstance(process.tables, PostgresLog)
        statement = Statement("SELECT device, kind, seq, due_at, tries FROM outbox", (), {})
        return [tuple(row) for row in await process.tables._database.fetch(statement, {})]


class TestPostgresShared(SharedContract):
    """Several processes."""


class TestPostgresQuiet(SharedQuietContract):
    """What a sweep need not ask."""


class TestPostgresBounds(BoundsContract):
    """How much is kept."""


class TestPostgresSweep(SweepContract):
    """Looks at all devices."""


class TestPostgresSharedOutbox(SharedOutboxContract):
    """What is due, for several processes."""
