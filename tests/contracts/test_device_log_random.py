"""Whatever is asked in whatever order, a log in SQL answers as the one in memory does."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fitting.log_memory import MemoryLogStore
from fitting.log_over_store import LogStore, Step, StoredDeviceLog
from fitting.log_rows import DeviceRows
from fitting.log_sql.store import SqlLogStore
from fitting.log_values import LogLimits
from tests.contracts.device_log_bench import DEVICE, registered
from tests.contracts.device_log_restart import chain
from tests.contracts.random_commands import Script
from tests.contracts.sql_world import World, postgres_world, sqlite_world
from tests.databases import lent_postgres, new_sqlite
from tests.postgres import PostgresServer

LIMITS = LogLimits(max_pending=3, max_keys=4, max_reports=4, max_moments=8, max_history=10_000)
STEPS = 250


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "sqlite":
        world = sqlite_world(new_sqlite(tmp_path))
        yield world
        await world.end()
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    async with lent_postgres(server) as url:
        world = postgres_world(url)
        yield world
        await world.end()


class Numbered:
    """A store whose steps get the same ids whenever they are taken, again on other rows too."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._command = self._runs = 0
        self._ids: Iterator[str] = iter(())

    def begin(self, command: int) -> None:
        """What is taken now belongs to that command."""
        self._command, self._runs = command, 0

    def new_id(self) -> str:
        return next(self._ids)

    async def run(self, device: str, step: Step[Any], *, key: str | None = None) -> Any:
        self._runs += 1
        run = f"{self._command}-{self._runs}"

        def numbered(rows: DeviceRows, now_s: float) -> Any:
            self._ids = (f"id-{run}-{number}" for number in count(1))
            return step(rows, now_s)

        return await self._store.run(device, numbered, key=key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def forget(store: SqlLogStore) -> None:
    """As if other devices had taken all the room: everything is read again."""
    await store.close()


@pytest.mark.parametrize("forgetful", [False, True], ids=["remembers", "forgets"])
@pytest.mark.parametrize("seed", range(6))
async def test_memory_and_sql_give_the_same_answers(world: World, seed: int, forgetful: bool) -> None:
    process = await world.process(limits=LIMITS)
    script = Script(seed, world.clock)
    in_memory = MemoryLogStore(clock=world.clock, epoch=process.tables.epoch(), limits=LIMITS)
    stores = [Numbered(in_memory), Numbered(process.store)]
    memory, sql = (StoredDeviceLog(store, store.new_id) for store in stores)
    for log in (sql, memory):
        assert await log.create(DEVICE, registered()) is None
    answers: Counter[str] = Counter()
    for number in range(STEPS):
        command = script.command()
        for store in stores:
            store.begin(number)
        expected, answered = await script.run(memory, command), await script.run(sql, command)
        assert answered == expected, number
        answers[type(expected).__name__] += 1
        if forgetful:
            await forget(process.store)
        await script.learn(memory)
    assert await sql.head(DEVICE) == await memory.head(DEVICE)
    events = await memory.changed_since(DEVICE, 0, limit=10_000)
    assert await sql.changed_since(DEVICE, 0, limit=10_000) == events
    assert await sql.revisions(DEVICE, limit=1_000) == await memory.revisions(DEVICE, limit=1_000)
    process.bench.log = sql
    await chain(process.bench)
    # It was no idle talk.
    assert all(answers[name] for name in ("Accepted", "Recorded", "Refusal", "Attached", "Delivery")), answers
