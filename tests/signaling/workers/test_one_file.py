"""Workers on one SQLite file: one time, nothing lost, and a record that holds, whoever is killed."""

import sqlite3
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from fitting.log_over_store import StoredDeviceLog
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.sqlite_log import SqliteLog
from fitting.log_sql.store import SqlLogStore
from fitting.log_values import LogLimits
from tests.contracts.device_log_bench import DEVICE, Bench, Clock, registered
from tests.databases import new_sqlite
from tests.signaling.care import lease
from tests.signaling.workers.crew import BODY, PATIENT, crew, token

pytestmark = pytest.mark.timeout(180)  # each starts several servers, on a machine that may be busy


async def test_a_worker_that_is_started_again_has_the_time_of_the_others(tmp_path: Path) -> None:
    """A lease must not be over for one and live for another."""
    path = new_sqlite(tmp_path)
    newest_s = await written_ahead(path)
    async with crew(tmp_path, **PATIENT) as workers:
        ready_s = time.monotonic()
        await workers.running.register(token("ann", "clinician"), BODY)
        workers.worker(1).kill()
        await workers.until_logged("child_back", child="worker 1")
        fitter = await workers.client(1, "ann", "clinician")
        asked_s = time.monotonic()
        await lease(fitter)
        with closing(sqlite3.connect(path)) as looks:
            [at_s] = looks.execute("SELECT max(at) FROM event").fetchone()
        assert at_s - newest_s >= asked_s - ready_s


async def written_ahead(path: Path) -> float:
    """When something was recorded, an hour from now: the host's clock has been set back since."""
    database = SqliteDatabase(path, monotonic=time.monotonic)
    await database.open()
    log = SqliteLog(database, clock=lambda: time.time() + 3_600, monotonic=time.monotonic)
    await log.open()
    numbers = count()
    store = SqlLogStore(log, name="before", monotonic=time.monotonic, limits=LogLimits())
    stored = StoredDeviceLog(store, lambda: f"id-{next(numbers)}")
    await stored.create(DEVICE, registered())
    await Bench(stored, Clock()).attach()
    await stored.close()
    await database.close()
    with closing(sqlite3.connect(path)) as looks:
        return float(looks.execute("SELECT max(at) FROM event").fetchone()[0])
