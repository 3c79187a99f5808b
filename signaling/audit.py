"""``auricle audit verify``: reads every device's recorded events and says whether they are what was recorded.

Reads the database as it is, beside a running server too; changes nothing. Read ``verify`` first.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fitting.log_chain import ChainCheck, is_as_accepted
from fitting.log_sql.limits import SqliteLimits
from fitting.log_sql.port import ChainEnd, LogDatabase
from fitting.log_values import LogEvent

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
    """What was read, and per broken device the number of the first event that is not as it was recorded.

    ``amiss``: lines on changes and revisions that are not what their events cover. ``old_format``: acceptances recorded
    by a version whose events covered no content. ``heads`` are the ends of the chains; ``against`` is what they were
    when somebody wrote them down elsewhere.
    """

    devices: int = 0
    events: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    amiss: list[str] = field(default_factory=list)
    old_format: int = 0
    heads: list[ChainEnd] = field(default_factory=list)
    against: dict[str, tuple[int, str]] = field(default_factory=dict)


async def verify(config: Config, device: str | None, *, heads: Path | None = None, against: Path | None = None) -> int:
    """Verify one device or all, and tell on stdout; 1 when something is not as it was recorded.

    ``heads`` is written: the end of each chain, to be kept where nobody can change it. ``against`` is such a file of
    an earlier day: each chain must still go through what it says.

    Raises:
        ConfigError: there is no such device, or no database to read.
    """
    findings = Findings(against={} if against is None else _heads_in(against))
    async with _tables(config) as tables:
        if device is None:
            await verify_all(tables, findings)
        else:
            await _verify_one(tables, await _end_of(tables, device), findings)
    if device is None:
        gone = sorted(findings.against.keys() - {end.device for end in findings.heads})
        findings.amiss += [f"{name}: the device is not there any more" for name in gone]
    _tell(findings)
    if heads is not None:
        _write_down(findings, heads)
    return 1 if findings.broken or findings.amiss else 0


def _tell(findings: Findings) -> None:
    for name, n in findings.broken.items():
        print(f"{name}: event {n} is not what was recorded")
    for line in findings.amiss:
        print(line)
    if findings.old_format:
        print(f"{findings.old_format} changes in the old format: their events do not cover what was changed")
    said = "all as they were recorded"
    if findings.broken or findings.amiss:
        said = f"{len(findings.broken)} broken" + (f", {len(findings.amiss)} amiss" if findings.amiss else "")
    print(f"{findings.events} events of {findings.devices} devices: {said}")


def _write_down(findings: Findings, heads: Path) -> None:
    heads.write_text("".join(f"{end.device} {end.last_n} {end.last_hash}\n" for end in findings.heads))


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
    pinned_n, pinned_hash = findings.against.get(end.device, (0, ""))
    # What is appended while we read comes after this end.
    while check.last_n < end.last_n:
        page = await tables.events(end.device, check.last_n, min(_PAGE, end.last_n - check.last_n))
        before = check.last_n
        if not check.follow(page) or check.last_n == before:
            break
        if any(event.n == pinned_n and event.hash != pinned_hash for event in page):
            check.broken_at = pinned_n
            break
        await _verify_content(tables, end.device, page, findings)
        await asyncio.sleep(0)
    check.ends_at(end.last_n, end.last_hash)
    if check.broken_at is None and end.last_n < pinned_n:
        check.broken_at = end.last_n + 1
    findings.heads.append(end)
    findings.devices += 1
    findings.events += check.last_n
    if check.broken_at is not None:
        findings.broken[end.device] = check.broken_at


async def _verify_content(tables: LogDatabase, device: str, page: Iterable[LogEvent], findings: Findings) -> None:
    """Hold each change that these events accepted, and its revision, to what is stored of them now."""
    for event in page:
        if event.kind != "delivery" or event.state != "accepted" or event.seq is None:
            continue
        try:
            delivery = await tables.delivery(device, event.seq)
        except (msgspec.MsgspecError, LookupError, ValueError, TypeError):
            # Whatever was done to the row: it says nothing any more.
            findings.amiss.append(f"{device}: change {event.seq} or its revision is gone or cannot be read")
            continue
        if delivery is None:
            findings.amiss.append(f"{device}: change {event.seq} was accepted and is not there any more")
        elif event.digest is None:
            findings.old_format += 1
        elif not is_as_accepted(event, delivery):
            revision = delivery.revision.revision_id
            findings.amiss.append(f"{device}: revision {revision} of change {event.seq} is not what was accepted")


async def _end_of(tables: LogDatabase, device: str) -> ChainEnd:
    # By the ends alone: nothing else of the device need be readable.
    after = ""
    while ends := await tables.ends(after, _PAGE):
        for end in ends:
            if end.device == device:
                return end
        after = ends[-1].device
    raise ConfigError("there is no such device")


def _heads_in(path: Path) -> dict[str, tuple[int, str]]:
    try:
        lines = [line.rsplit(" ", 2) for line in path.read_text().splitlines()]
        return {device: (int(n), end) for device, n, end in lines}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no list of heads: {error}") from None


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
