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
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypeVar, cast

from fitting.log_commands import revive
from fitting.log_memory import MemoryLogStore
from fitting.log_over_store import LogStore, Step
from fitting.log_parts import Entry
from fitting.log_rows import DeviceRows
from fitting.log_sql.sqlite import SqliteDatabase, Work, connect
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_truth import AidTruth
from fitting.log_values import LogLimits
from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import RegisteredAid
from protocol.errors import Unavailable, UnknownOutcome
from signaling.schema import prepare_sqlite

from .links import Point
from .loop import Process

__all__ = ["Disk", "DiskKind", "MemoryDisk", "SlowMemoryStore", "SqliteDisk"]

T = TypeVar("T")
DiskKind = Literal["memory", "sqlite"]


class Disk(Protocol):
    """One database. ``store`` is it as a new process finds it; ``away_until_s``: it answers nothing before that."""

    away_until_s: float

    async def store(self, process: Process, limits: LogLimits) -> LogStore: ...


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

    async def store(self, process: Process, limits: LogLimits) -> LogStore:
        return self._make(self, process, limits)


class SlowMemoryStore(MemoryLogStore):
    """``MemoryLogStore`` that can be killed: what a step makes hard is on the disk before its answer is known."""

    def __init__(self, disk: MemoryDisk, process: Process, limits: LogLimits) -> None:
        super().__init__(clock=disk.clock, epoch=disk.epoch, limits=limits)
        self._disk, self._process = disk, process
        self._devices = {device: _copied(rows) for device, rows in disk.rows.items()}
        self._histories = disk.histories
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

    async def store(self, process: Process, limits: LogLimits) -> LogStore:
        self._names += 1
        database = cast("SqliteDatabase", _Inline(self, process))
        tables = SqliteLog(database, clock=self.clock, monotonic=self.clock)
        await tables.open()
        loop = asyncio.get_running_loop()
        return SqlLogStore(tables, name=f"process-{self._names}", monotonic=loop.time, limits=limits)


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
