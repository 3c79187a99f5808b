"""One database and the processes that use it: each a store with a memory of its own, that can be closed or killed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from fitting.log_over_store import StoredDeviceLog
from fitting.log_sql.limits import PostgresLimits, StoreLimits
from fitting.log_sql.outbox_postgres import PostgresOutbox
from fitting.log_sql.outbox_sqlite import SqliteOutbox
from fitting.log_sql.port import LogDatabase, Unwatched
from fitting.log_sql.postgres import PostgresDatabase
from fitting.log_sql.postgres_log import PostgresLog
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_values import LogLimits
from fitting.outbox import Outbox
from tests.contracts.device_log_bench import DEVICE, LIMITS, Bench, Clock, registered

__all__ = ["Counts", "Process", "World", "postgres_world", "sqlite_world"]


@dataclass
class Counts(Unwatched):
    """What a process has told of its work."""

    bounds: list[str] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    conflicts: int = 0
    batches: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def reached(self, bound: str) -> None:
        self.bounds.append(bound)

    def count(self, *, bound: str) -> int:
        return self.bounds.count(bound)

    def cached(self, hit: bool) -> None:
        self.hits.append(hit)

    def conflicted(self) -> None:
        self.conflicts += 1

    def committed(self, writes: int, duration_s: float) -> None:
        self.batches.append(writes)

    def failed(self, reason: str) -> None:
        self.failures.append(reason)


@dataclass
class Process:
    """A store as one process has it. ``bench`` speaks to its log."""

    store: SqlLogStore
    tables: LogDatabase
    bench: Bench
    counts: Counts
    monotonic: Clock
    end: Callable[[], Awaitable[None]]
    troubles: list[tuple[str, type[Exception]]]

    @property
    def log(self) -> StoredDeviceLog:
        assert isinstance(self.bench.log, StoredDeviceLog)
        return self.bench.log

    async def close(self) -> None:
        """End in order."""
        await self.log.close()
        await self.end()

    async def kill(self) -> None:
        """End without writing down what was only told."""
        await self.end()


Connect = Callable[[Counts], Awaitable[tuple[LogDatabase, Callable[[], Awaitable[None]]]]]


@dataclass
class World:
    """A database with one clock; ``process`` starts one more process on it."""

    connect: Connect
    clock: Clock
    running: list[Process] = field(default_factory=list)
    ids: Any = field(default_factory=lambda: count(1))

    async def process(self, *, limits: LogLimits = LIMITS, **bounds: Any) -> Process:
        counts, monotonic = Counts(), Clock(1_000.0)
        tables, end = await self.connect(counts)
        store = SqlLogStore(
            tables,
            name=f"process-{next(self.ids)}",
            monotonic=monotonic,
            limits=limits,
            bounds=StoreLimits(**bounds),
            watch=counts,
        )
        troubles: list[tuple[str, type[Exception]]] = []
        log = StoredDeviceLog(
            store, lambda: f"id-{next(self.ids)}", lambda device, error: troubles.append((device, type(error)))
        )
        bench = Bench(log, self.clock, outbox=_outbox_of(tables, f"process-{next(self.ids)}"))
        started = Process(store, tables, bench, counts, monotonic, end, troubles)
        self.running.append(started)
        return started

    async def first(self, **bounds: Any) -> Process:
        """A process on a database in which the device has just been registered."""
        process = await self.process(**bounds)
        assert await process.log.create(DEVICE, registered()) is None
        return process

    async def another(self, like: Process, **bounds: Any) -> Process:
        """A process whose bench knows what the other's does."""
        process = await self.process(**bounds)
        bench, known = process.bench, like.bench
        bench.fence, bench.generation = known.fence, known.generation
        bench.keys = 1_000 * len(self.running)
        bench.numbers = known.numbers
        return process

    async def end(self) -> None:
        for process in self.running:
            await process.end()


def _outbox_of(tables: LogDatabase, name: str) -> Outbox:
    if isinstance(tables, SqliteLog):
        return SqliteOutbox(tables._database, name=name, now_s=tables.now_s)
    assert isinstance(tables, PostgresLog)
    return PostgresOutbox(tables._database, name=name, now_s=tables.now_s)


def sqlite_world(path: Path) -> World:
    """On a file that is there."""
    clock = Clock()

    async def connect(counts: Counts) -> tuple[LogDatabase, Callable[[], Awaitable[None]]]:
        database = SqliteDatabase(path, monotonic=Clock(), watch=counts)
        await database.open()
        tables = SqliteLog(database, clock=clock, monotonic=clock)
        await tables.open()
        return tables, database.close

    return World(connect, clock)


def postgres_world(url: str) -> World:
    """On a database that is there; its clock is the test's."""
    clock = Clock()

    async def connect(counts: Counts) -> tuple[LogDatabase, Callable[[], Awaitable[None]]]:
        database = PostgresDatabase(url, monotonic=Clock(), limits=PostgresLimits(max_connections=4), watch=counts)
        tables = PostgresLog(database, clock=clock)
        await database.open()
        await tables.open()
        return tables, database.close

    return World(connect, clock)
