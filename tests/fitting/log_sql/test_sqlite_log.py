"""What one step writes into SQLite, however much it is."""

import time
from pathlib import Path

from fitting.log_chain import verify
from fitting.log_rows import DeviceRows
from fitting.log_sql.record import Place, write_of
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.sqlite_log import SqliteLog
from tests.contracts.device_log_bench import DEVICE, LIMITS, START, registered
from tests.databases import new_sqlite

MANY = 123


async def test_a_step_with_more_events_than_one_statement_takes_is_written_whole(tmp_path: Path) -> None:
    database = SqliteDatabase(new_sqlite(tmp_path), monotonic=time.monotonic)
    await database.open()
    try:
        log = SqliteLog(database, clock=lambda: START, monotonic=time.monotonic)
        await log.open()
        rows = DeviceRows(DEVICE, log.epoch(), registered(), LIMITS)
        places = (Place(version, 0, f"w-{version}", "", log.epoch(), START) for version in (1, 2))
        assert await log.create(write_of(rows, rows.take(), next(places)).head)
        for number in range(MANY):
            rows.note("device", f"seen {number}", START, actor="phone")
        assert await log.commit(write_of(rows, rows.take(), next(places)))
        events = await log.events(DEVICE, 0, 2 * MANY)
    finally:
        await database.close()
    assert [event.n for event in events] == list(range(1, MANY + 1))
    assert verify(DEVICE, events) is None
