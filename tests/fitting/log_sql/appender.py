"""A process of its own that fits a device in a SQLite file without end, and says what was acknowledged.

Run as ``python -m tests.fitting.log_sql.appender FILE DEVICE``; it is meant to be killed. Others may do the same to
other devices in the same file.
"""

import asyncio
import sys
import time
from itertools import count
from pathlib import Path

from fitting.log_over_store import StoredDeviceLog
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_values import LogLimits
from tests.contracts.device_log_bench import Bench, Clock, louder, registered

__all__ = ["log_on"]


async def log_on(path: Path, name: str) -> tuple[StoredDeviceLog, SqliteDatabase]:
    """A log on a file that is there, by the host's clock."""
    database = SqliteDatabase(path, monotonic=time.monotonic)
    await database.open()
    tables = SqliteLog(database, clock=time.time, monotonic=time.monotonic)
    await tables.open()
    numbers = count(1)
    store = SqlLogStore(tables, name=name, monotonic=time.monotonic, limits=LogLimits(max_moments=10_000))
    return StoredDeviceLog(store, lambda: f"{name}-{next(numbers)}"), database


async def main(path: Path, device: str) -> None:
    log, _ = await log_on(path, f"appender-{device}")
    assert await log.create(device, registered()) is None
    bench = Bench(log, Clock(), device=device)
    await bench.fitted()
    for number in count(1):
        base = (await bench.newest()).content
        accepted = await bench.submit(louder(base, by=10 if number % 2 else -10))
        print(f"accepted {accepted.seq} {accepted.revision_id}", flush=True)
        await bench.confirm(await bench.offer())
        print(f"ended {accepted.seq}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
