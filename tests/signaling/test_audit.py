"""``auricle audit verify`` on real databases: it finds what somebody did to them."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_values import LogEvent, first_hash
from signaling.audit import Findings, verify, verify_all
from signaling.config import Config, ConfigError
from tests.contracts.device_log_bench import DEVICE, Clock
from tests.contracts.sql_world import World, postgres_world, sqlite_world
from tests.databases import new_postgres, new_sqlite
from tests.postgres import PostgresServer
from tests.signaling.test_cli import run


async def fit(world: World) -> int:
    """Two devices, of which one was fitted; how many events there are."""
    process = await world.first()
    await process.bench.fitted()
    await process.bench.apply()
    await process.log.create("d-2", {})
    events = await process.log.changed_since(DEVICE, 0)
    await process.close()
    return len(events)


async def test_it_tells_what_it_read_and_finds_an_edit(tmp_path: Path) -> None:
    count = await fit(sqlite_world(new_sqlite(tmp_path)))
    where = ("audit", "verify", "--data", str(tmp_path))
    done = await asyncio.to_thread(run, *where)
    assert (done.returncode, done.stdout) == (0, f"{count} events of 2 devices: all as they were recorded\n")
    with closing(sqlite3.connect(tmp_path / "auricle.db")) as database:
        database.execute("UPDATE event SET actor = 'bob' WHERE n = 3")
        database.commit()
    for more in ((), ("--device", DEVICE)):
        done = await asyncio.to_thread(run, *where, *more)
        assert done.returncode == 1
        assert done.stdout.splitlines()[0] == "d-1: event 3 is not what was recorded"
    done = await asyncio.to_thread(run, *where, "--device", "d-2")
    assert (done.returncode, done.stdout) == (0, "0 events of 1 devices: all as they were recorded\n")
    done = await asyncio.to_thread(run, *where, "--device", "d-9")
    assert (done.returncode, done.stderr) == (2, "auricle: there is no such device\n")


EDITS = {
    "edit": ("UPDATE event SET digest = 'sha256:0' WHERE n = 4", 4),
    "delete": ("DELETE FROM event WHERE n = 2", 2),
    "cut": ("DELETE FROM event WHERE n > 3", 4),
    "reorder": ("UPDATE event SET n = CASE n WHEN 2 THEN -3 WHEN 3 THEN -2 ELSE n END", 2),
    "head": ("UPDATE device_head SET last_hash = 'x' WHERE device = 'd-1'", None),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_every_kind_of_edit_is_found_in_postgres_too(
    postgres: PostgresServer, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await new_postgres(postgres)
    count = await fit(postgres_world(url))
    assert await verify(Config(database_url=url), None) == 0
    admin = await asyncpg.connect(url)
    statement, found = EDITS[edit]
    await admin.execute(statement)
    await admin.execute("UPDATE event SET n = -n WHERE n < 0")
    await admin.close()
    assert await verify(Config(database_url=url), None) == 1
    assert f"d-1: event {found or count + 1} is not what was recorded" in capsys.readouterr().out


async def test_where_nothing_is_kept_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memory"):
        await verify(Config(database_url="memory:"), None)
    with pytest.raises(ConfigError, match="no schema"):
        await verify(Config(data=tmp_path), None)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  # a test may wait for a disk


async def test_long_chains_are_read_in_pages_and_quickly(tmp_path: Path) -> None:
    """A million take seconds. How long it takes to make such a chain says how quick the machine is at the moment."""
    path, count = new_sqlite(tmp_path), 40_000
    await fit(sqlite_world(path))
    made_s = -time.process_time()
    with closing(sqlite3.connect(path)) as database:
        rows, before = [], first_hash("d-2")
        for n in range(1, count + 1):
            event = LogEvent(0, "delivery", "offered", 1_700_000_000.0 + n, n, "right").chained(n, before)
            before = event.hash
            what = (event.kind, event.state, event.at_s, event.seq, event.ear, None, None, "", None)
            rows.append(("d-2", n, *what, before))
        made_s += time.process_time()
        database.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.execute("UPDATE device_head SET last_n = ?, last_hash = ? WHERE device = 'd-2'", (count, before))
        database.commit()
    sqlite = SqliteDatabase(path, monotonic=Clock())
    await sqlite.open()
    findings, started_s = Findings(), time.process_time()
    await verify_all(SqliteLog(sqlite, clock=Clock(), monotonic=Clock()), findings)
    used_s = time.process_time() - started_s
    await sqlite.close()
    assert (findings.devices, findings.broken) == (2, {})
    assert findings.events > count
    print(f"made in {made_s:.2f} s of CPU time, verified in {used_s:.2f} s")
    assert used_s < 20 * made_s
