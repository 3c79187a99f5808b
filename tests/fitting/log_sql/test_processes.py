"""Processes that die and disks that are full: what was acknowledged is there, what was not is nobody's."""

import asyncio
import json
import shutil
import subprocess
import sys
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from fitting.log_chain import verify
from fitting.log_over_store import StoredDeviceLog
from signaling.config import Config
from signaling.schema import migrate
from tests.contracts.device_log_bench import DEVICE, Bench, Clock, registered
from tests.databases import new_sqlite
from tests.fitting.log_sql.appender import log_on

# In a namespace of its own, so that it takes no right that an ordinary user has not.
SMALL_DISK = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


async def started(path: Path, device: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fitting.log_sql.appender", str(path), device), stdout=asyncio.subprocess.PIPE
    )


async def killed_after(process: Process, lines: int) -> list[list[str]]:
    """What an appender had acknowledged when it was killed."""
    assert process.stdout is not None
    told = [(await process.stdout.readline()).decode().split() for _ in range(lines)]
    process.kill()
    told += [line.decode().split() async for line in process.stdout]
    await process.wait()
    assert all(told)
    return told


async def all_is_there(log: StoredDeviceLog, device: str, told: list[list[str]]) -> None:
    """What was acknowledged of a device is there, and its record is in one piece."""
    for what, seq, *rest in told:
        delivery = await log.delivery(device, int(seq))
        assert delivery is not None
        if what == "accepted":
            assert [delivery.revision.revision_id] == rest
        else:
            assert delivery.state == "confirmed"
    events = await log.changed_since(device, 0, limit=100_000)
    assert verify(device, events) is None
    accepted = [event.seq for event in events if event.state == "accepted"]
    assert accepted == list(range(1, len(accepted) + 1))


@pytest.mark.parametrize("lines", [1, 2, 7, 40])
async def test_a_killed_process_has_lost_nothing_that_it_acknowledged(tmp_path: Path, lines: int) -> None:
    told = await killed_after(await started(new_sqlite(tmp_path), DEVICE), lines)
    log, database = await log_on(tmp_path / "auricle.db", "afterwards")
    await all_is_there(log, DEVICE, told)
    await log.close()
    await database.close()


async def test_processes_on_one_file_lose_nothing_whichever_of_them_is_killed(tmp_path: Path) -> None:
    path = new_sqlite(tmp_path)
    told: dict[str, list[list[str]]] = {}

    async def lives(number: int) -> None:
        """One after the other in one place, each killed while those in the other places write."""
        for life in range(3):
            device = f"d-{number}-{life}"
            told[device] = await killed_after(await started(path, device), 5 + 11 * number + 3 * life)

    async with asyncio.TaskGroup() as places:
        for number in range(3):
            places.create_task(lives(number))
    log, database = await log_on(path, "afterwards")
    for device, lines in told.items():
        await all_is_there(log, device, lines)
    await log.close()
    await database.close()


async def test_another_process_that_ends_takes_nothing_of_what_is_written_afterwards(tmp_path: Path) -> None:
    """The last that lets go of a file removes its WAL; another one must not take itself for the last."""
    path = new_sqlite(tmp_path)
    log, database = await log_on(path, "stays")
    await log.create(DEVICE, registered())
    other = (
        "import sys, pathlib; from fitting.log_sql.sqlite import connect; c = connect(pathlib.Path(sys.argv[1]), 5.0)"
    )
    other += "; c.execute('SELECT count(*) FROM device_head').fetchone(); c.close()"
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", other, str(path))
    assert await ended.wait() == 0
    await Bench(log, Clock()).attach()
    seen = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute('SELECT attached FROM device_head'))"
    )
    looks = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", seen, str(path)), stdout=asyncio.subprocess.PIPE
    )
    assert (await looks.communicate())[0] == b"(1,)\n"
    await log.close()
    await database.close()


async def test_after_an_older_copy_was_put_back_phones_are_told_that_history_may_be_lost(tmp_path: Path) -> None:
    path = new_sqlite(tmp_path)
    log, database = await log_on(path, "before")
    await log.create(DEVICE, registered())
    epoch = (await Bench(log, Clock()).attach()).epoch
    await log.close()
    await database.close()
    assert await migrate(Config(data=tmp_path), check=False, restored=True) == 0
    log, database = await log_on(path, "after")
    bench = Bench(log, Clock())
    again = await bench.attach(epoch=epoch, last_terminal=0)
    assert (again.resume, again.epoch == epoch) == ("reset", False)
    assert (await bench.attach(epoch=again.epoch)).resume == "ok"
    await log.close()
    await database.close()


def test_on_a_full_disk_what_became_of_things_is_still_recorded(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*SMALL_DISK, "true"], check=False).returncode:
        pytest.skip("a small disk needs a mount namespace, which this machine does not give")
    mount = f"mount -t tmpfs -o size=6m none {tmp_path}"
    script = f"{mount} && exec {sys.executable} -m tests.fitting.log_sql.disk_full {tmp_path}"
    done = subprocess.run([*SMALL_DISK, script], capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "ballast before": True,
        "new work": "storage_full",
        "away": True,
        "read": 1,
        "ended": True,
        "ballast while full": False,
        "new work afterwards": 2,
        "chain": None,
        "ballast afterwards": True,
    }
