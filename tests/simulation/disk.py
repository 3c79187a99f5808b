"""What survives the server: the device log as far as it was made hard, in memory or in SQLite.

Writing takes time, and a process may be killed on either side of a commit. The decisions are the product's; only the
disk is made up. Must not know what is written. Read ``Disk`` first, then ``SlowMemoryStore.run``.
"""

import asyncio
import copy
import random
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypeVar, cast

from fitting.log_commands import revive
from fitting.log_memory import MemoryLogStore, MemoryOutbox
from fitting.log_over_store import LogStore, Step
from fitting.log_parts import Entry
from fitting.log_rows import DeviceRows
from fitting.log_sql.outbox_sqlite import SqliteOutbox
from fitting.log_sql.sqlite import SqliteDatabase, Work, connect
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_truth import AidTruth
from fitting.log_values import LogLimits
from fitting.outbox import DueItem, Outbox
from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import RegisteredAid
from protocol.errors import Unavailable, UnknownOutcome
from signaling.schema import prepare_sqlite
from signaling.stores.push_tokens import MemoryPushTokens, PushTokens
from signaling.stores.push_tokens_sql import SqlitePushTokens

from .links import Point
from .loop import Process

__all__ = ["Disk", "DiskKind", "MemoryDisk", "SlowMemoryStore", "SqliteDisk", "Stores"]

T = TypeVar("T")
DiskKind = Literal["memory", "sqlite"]


@dataclass(frozen=True, slots=True)
class Stores:
    """One database as one process has it."""

    log: LogStore
    outbox: Outbox
    tokens: PushTokens


class Disk(Protocol):
    """One database. ``stores`` is it as a new process finds it; ``away_until_s``: it answers nothing before that."""

    away_until_s: float

    async def stores(self, process: Process, limits: LogLimits) -> Stores: ...

    def due(self) -> tuple[DueItem, ...]:
        """All that is in the outbox, whoever looks."""
        ...


class _Slow:
    """How long things take, and whether they are to be had at all."""

    def __init__(self, chance: random.Random, point: Point, clock: Callable[[], float], epoch: str) -> None:
        self.chance, self.point, self.clock, self.epoch = chance, point, clock, epoch
        self.away_until_s = 0.0

    @property
    def is_away(self) -> bool:
        return asyncio.get_running_loop().time() < self.away_until_s

    async def read(self) -> None:
        """A look at what is not at hand."""
        await asyncio.sleep(self.chance.random() ** 4 * 0.05)
        if self.is_away:
            raise Unavailable("the database is away")

    async def commit(self) -> None:
        """Until it is on the disk: mostly a millisecond, sometimes a second."""
        await asyncio.sleep(0.0005 + self.chance.random() ** 6 * (0.02 if self.chance.random() < 0.95 else 1.5))


class MemoryDisk(_Slow):
    """Copies of rows, as they were at their last commit."""

    def __init__(
        self,
        chance: random.Random,
        point: Point,
        clock: Callable[[], float],
        epoch: str,
        make: "type[SlowMemoryStore] | None" = None,
    ) -> None:
        super().__init__(chance, point, clock, epoch)
        self._make = make or SlowMemoryStore
        self.rows: dict[str, DeviceRows] = {}
        self.histories: dict[str, Any] = {}
        self.outbox = MemoryOutbox(clock)
        self.tokens = MemoryPushTokens(max_devices=1, reached=lambda _: None)

    async def stores(self, process: Process, limits: LogLimits) -> Stores:
        store = self._make(self, process, limits)
        return Stores(store, _SlowOutbox(self, process, store.outbox), self.tokens)

    def due(self) -> tuple[DueItem, ...]:
        return tuple(self.outbox._items.values())


class _SlowOutbox:
    """``MemoryOutbox`` as one process reaches it."""

    def __init__(self, disk: MemoryDisk, process: Process, kept: MemoryOutbox) -> None:
        self._disk, self._process, self._kept = disk, process, kept
        self.now_s = kept.now_s

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        await self._reach()
        taken = await self._kept.take(limit, hold_s=hold_s)
        if taken:
            await self._written()
        return taken

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        await self._reach()
        await self._kept.later(item, due_at_s, tried=tried)
        await self._written()

    async def done(self, item: DueItem) -> None:
        await self._reach()
        await self._kept.done(item)
        await self._written()

    async def _reach(self) -> None:
        await self._process.reach()
        if self._disk.is_away:
            raise Unavailable("the database is away")

    async def _written(self) -> None:
        self._disk.point("after_commit")
        await self._process.reach()
        await self._disk.commit()


class SlowMemoryStore(MemoryLogStore):
    """``MemoryLogStore`` that can be killed: what a step makes hard is on the disk before its answer is known."""

    def __init__(self, disk: MemoryDisk, process: Process, limits: LogLimits) -> None:
        super().__init__(clock=disk.clock, epoch=disk.epoch, limits=limits)
        self._disk, self._process = disk, process
        self._devices = {device: _copied(rows) for device, rows in disk.rows.items()}
        self._histories = disk.histories
        self.outbox = disk.outbox
        self._locks: dict[str, asyncio.Lock] = {}
        self._generations = {device: rows.generation for device, rows in self._devices.items()}

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> bool:
        is_new = await super().create(device, aids)
        self._disk.rows[device] = _copied(self._devices[device])
        self._generations[device] = 0
        return is_new

    async def run(self, device: str, step: Step[T], *, key: str | None = None) -> T | Refusal:
        async with self._locks.setdefault(device, asyncio.Lock()):
            await self._process.reach()
            if key is not None or self._disk.chance.random() < 0.1:
                await self._disk.read()
            rows = self._devices.get(device)
            if rows is None:
                return Refusal(code="not_found", message="there is no such device")
            if self._disk.is_away:
                # Of what cannot be written down nothing stays.
                rows = _copied(rows)
            if rows.generation == self._generations[device]:
                # As every log that a killed process may have left something untold in.
                revive(rows, self._clock())
            outcome = step(rows, self._clock())
            if rows.fresh.is_hard and self._disk.is_away:
                raise Unavailable("the database is away")
            self._devices[device] = rows
            if rows.fresh.is_hard:
                await self._write_down(device, rows)
            return outcome

    async def _write_down(self, device: str, rows: DeviceRows) -> None:
        self._disk.point("before_commit")
        await self._process.reach()
        await self._disk.commit()
        self._keep(rows)
        self._disk.rows[device] = _copied(rows)
        self._disk.point("after_commit")
        await self._process.reach()


def _copied(rows: DeviceRows) -> DeviceRows:
    """All that a step may change, apart; the values themselves never change."""
    copied = copy.copy(rows)
    for name, value in vars(rows).items():
        if isinstance(value, dict | set | list | deque):
            setattr(copied, name, copy.copy(value))
    copied.entries = {seq: _entry(entry) for seq, entry in rows.entries.items()}
    copied.truth = AidTruth()
    copied.truth.ears, copied.truth.images = dict(rows.truth.ears), dict(rows.truth.images)
    copied.truth.battery = rows.truth.battery
    copied.take()
    rows.take()
    return copied


def _entry(entry: Entry) -> Entry:
    return replace(entry, seen=set(entry.seen))


class SqliteDisk(_Slow):
    """One SQLite database with the schema of the product, in memory; its connection outlives the processes."""

    def __init__(self, chance: random.Random, point: Point, clock: Callable[[], float], epoch: str) -> None:
        super().__init__(chance, point, clock, epoch)
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        _template().backup(self.connection)
        self.connection.execute("UPDATE log_meta SET value = ? WHERE name = 'database_id'", (epoch,))
        self._names = 0

    async def stores(self, process: Process, limits: LogLimits) -> Stores:
        self._names += 1
        database = cast("SqliteDatabase", _Inline(self, process))
        tables = SqliteLog(database, clock=self.clock, monotonic=self.clock)
        await tables.open()
        loop, name = asyncio.get_running_loop(), f"process-{self._names}"
        return Stores(
            SqlLogStore(tables, name=name, monotonic=loop.time, limits=limits),
            SqliteOutbox(database, name=name, now_s=tables.now_s),
            SqlitePushTokens(database),
        )

    def due(self) -> tuple[DueItem, ...]:
        found = self.connection.execute("SELECT id, device, kind, seq, due_at, tries FROM outbox")
        return tuple(DueItem(*row) for row in found.fetchall())


class _Inline:
    """The face of ``SqliteDatabase`` without its threads: each piece of work is one transaction, in its turn."""

    def __init__(self, disk: SqliteDisk, process: Process) -> None:
        self._disk, self._process = disk, process
        self._turn = asyncio.Lock()

    async def write(self, work: Work[T], *, is_new_work: bool = False) -> T:
        async with self._turn:
            await self._process.reach()
            if self._disk.is_away:
                raise Unavailable("the database is away")
            self._disk.point("before_commit")
            await self._process.reach()
            await self._disk.commit()
            result = _transacted(self._disk.connection, work)
            self._disk.point("after_commit")
            await self._process.reach()
            if self._disk.is_away:
                raise UnknownOutcome("the answer was lost")
            return result

    async def read(self, work: Work[T]) -> T:
        await self._process.reach()
        await self._disk.read()
        return work(self._disk.connection)


def _transacted(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result


@cache
def _template() -> sqlite3.Connection:
    """The schema, migrated once."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "auricle.db"
        prepare_sqlite(path)
        file = connect(path, 5.0)
        file.backup(made)
        file.close()
    return made
