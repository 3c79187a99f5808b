"""``auricle audit verify``: reads every device's recorded events and says whether they are what was recorded.

Reads the database as it is, beside a running server too; changes nothing. Read ``verify`` first.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fitting.log_chain import ChainCheck
from fitting.log_sql.limits import SqliteLimits
from fitting.log_sql.port import ChainEnd, LogDatabase

from .config import MEMORY, Config, ConfigError
from .schema import require_current, sqlite_revision

if TYPE_CHECKING:
    from fitting.log_sql.postgres import PostgresDatabase
    from fitting.log_sql.postgres_log import PostgresLog
    from fitting.log_sql.sqlite import SqliteDatabase
    from fitting.log_sql.sqlite_log import SqliteLog

__all__ = ["Findings", "verify", "verify_all"]

_PAGE = 5_000
_TELL_EVERY_S = 2.0


@dataclass(slots=True)
class Findings:
    """What was read, and per broken device the number of the first event that is not as it was recorded."""

    devices: int = 0
    events: int = 0
    broken: dict[str, int] = field(default_factory=dict)


async def verify(config: Config, device: str | None) -> int:
    """Verify one device or all, and tell on stdout; 1 when something is not as it was recorded.

    Raises:
        ConfigError: there is no such device, or no database to read.
    """
    async with _tables(config) as tables:
        findings = Findings()
        if device is None:
            await verify_all(tables, findings)
        else:
            await _verify_one(tables, await _end_of(tables, device), findings)
    for name, n in findings.broken.items():
        print(f"{name}: event {n} is not what was recorded")
    said = f"{len(findings.broken)} broken" if findings.broken else "all as they were recorded"
    print(f"{findings.events} events of {findings.devices} devices: {said}")
    return 1 if findings.broken else 0


async def verify_all(tables: LogDatabase, findings: Findings) -> None:
    """Read all devices, one after the other; progress is told on stderr."""
    after, told_s = "", time.monotonic()
    while ends := await tables.ends(after, _PAGE):
        for end in ends:
            await _verify_one(tables, end, findings)
            if time.monotonic() - told_s > _TELL_EVERY_S:
                told_s = time.monotonic()
                print(f"{findings.events} events of {findings.devices} devices so far", file=sys.stderr)
        after = ends[-1].device


async def _verify_one(tables: LogDatabase, end: ChainEnd, findings: Findings) -> None:
    check = ChainCheck(end.device)
    # What is appended while we read comes after this end.
    while check.last_n < end.last_n:
        page = await tables.events(end.device, check.last_n, min(_PAGE, end.last_n - check.last_n))
        before = check.last_n
        if not check.follow(page) or check.last_n == before:
            break
        await asyncio.sleep(0)
    check.ends_at(end.last_n, end.last_hash)
    findings.devices += 1
    findings.events += check.last_n
    if check.broken_at is not None:
        findings.broken[end.device] = check.broken_at


async def _end_of(tables: LogDatabase, device: str) -> ChainEnd:
    loaded = await tables.load(device, known=())
    if loaded is None:
        raise ConfigError("there is no such device")
    return ChainEnd(device, loaded.head.last_n, loaded.head.last_hash)


@asynccontextmanager
async def _tables(config: Config) -> AsyncIterator[LogDatabase]:
    if config.database_url == MEMORY:
        raise ConfigError("database_url: memory keeps nothing that could be verified")
    tables, database = await (_postgres(config) if config.database_url else _sqlite(config))
    await database.open()
    try:
        await tables.open()
        yield tables
    finally:
        await database.close()


async def _postgres(config: Config) -> "tuple[PostgresLog, PostgresDatabase]":
    from fitting.log_sql.postgres import PostgresDatabase
    from fitting.log_sql.postgres_log import PostgresLog

    from . import schema_postgres

    require_current(await schema_postgres.revision(config.database_url))
    database = PostgresDatabase(config.database_url, monotonic=time.monotonic, limits=config.postgres_limits)
    return PostgresLog(database), database


async def _sqlite(config: Config) -> "tuple[SqliteLog, SqliteDatabase]":
    from fitting.log_sql.sqlite import SqliteDatabase
    from fitting.log_sql.sqlite_log import SqliteLog

    require_current(sqlite_revision(config.sqlite_file))
    database = SqliteDatabase(config.sqlite_file, monotonic=time.monotonic, limits=SqliteLimits(ballast_bytes=0))
    return SqliteLog(database, clock=time.time, monotonic=time.monotonic), database
