"""One SQLite file: what waits is written in one commit, an error is its own, and a full disk loses nothing."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from fitting.log_sql import sqlite
from fitting.log_sql.limits import SqliteLimits
from fitting.log_sql.sqlite import SqliteDatabase, Work, connect
from protocol.errors import Overloaded, StorageFull, Unavailable, UnknownOutcome
from tests.contracts.device_log_bench import Clock
from tests.contracts.sql_world import Counts

Open = Callable[..., Awaitable[SqliteDatabase]]
KEPT = "SELECT value FROM kept ORDER BY value"


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def open_file(tmp_path: Path, counts: Counts) -> AsyncIterator[Open]:
    opened: list[SqliteDatabase] = []

    async def open_file(**limits: int) -> SqliteDatabase:
        path = tmp_path / "a.db"
        if not path.exists():
            with closing(connect(path, 1.0)) as connection:
                connection.execute("CREATE TABLE kept (value INTEGER PRIMARY KEY, room BLOB)")
        database = SqliteDatabase(path, monotonic=Clock(), limits=SqliteLimits(**limits), watch=counts)
        await database.open()
        opened.append(database)
        return database

    yield open_file
    for database in opened:
        await database.close()


def keep(value: int, room: int = 0) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO kept VALUES (?, zeroblob(?))", (value, room))
        return value

    return work


async def kept(database: SqliteDatabase) -> list[int]:
    return await database.read(lambda connection: [value for (value,) in connection.execute(KEPT)])


class Gate:
    """Work that holds the writing thread up until the test lets it go."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.reached.set()
        assert self.opened.wait(20)


async def test_what_waits_is_written_in_one_commit(open_file: Open, counts: Counts) -> None:
    database = await open_file()
    gate = Gate()
    held = asyncio.ensure_future(database.write(gate))
    await asyncio.to_thread(gate.reached.wait, 20)
    waiting = [asyncio.ensure_future(database.write(keep(value))) for value in range(20)]
    await asyncio.sleep(0)
    gate.opened.set()
    assert await asyncio.gather(held, *waiting) == [None, *range(20)]
    assert counts.batches == [1, 20]
    assert await kept(database) == list(range(20))


async def test_an_error_undoes_its_own_work_and_nothing_else(open_file: Open) -> None:
    database = await open_file()

    def broken(connection: sqlite3.Connection) -> None:
        keep(7)(connection)
        raise RuntimeError("a bug")

    gate = Gate()
    works: list[Work[object]] = [gate, keep(1), broken, keep(1), keep(2)]
    tasks = [asyncio.ensure_future(database.write(work)) for work in works]
    await asyncio.sleep(0)
    gate.opened.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        *("NoneType", "int", "RuntimeError", "IntegrityError", "int"),
    ]
    assert await kept(database) == [1, 2]
    assert await database.write(keep(3)) == 3


async def test_whoever_gives_up_waiting_does_not_hold_the_others_up(open_file: Open) -> None:
    database = await open_file()
    gate = Gate()
    tasks = [asyncio.ensure_future(database.write(work)) for work in (gate, keep(1), keep(2))]
    await asyncio.to_thread(gate.reached.wait, 20)
    tasks[1].cancel()
    gate.opened.set()
    assert await tasks[2] == 2


async def test_only_so_much_waits(open_file: Open, counts: Counts) -> None:
    database = await open_file(max_waiting_writes=2)
    gate = Gate()
    held = asyncio.ensure_future(database.write(gate))
    await asyncio.to_thread(gate.reached.wait, 20)
    waiting = [asyncio.ensure_future(database.write(keep(value))) for value in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await database.write(keep(3))
    assert counts.count(bound="max_waiting_writes") == 1
    gate.opened.set()
    await asyncio.gather(held, *waiting)
    assert await kept(database) == [1, 2]


async def test_without_room_nothing_is_written_reading_goes_on_and_writing_comes_back(
    open_file: Open, counts: Counts
) -> None:
    database = await open_file(ballast_bytes=0)
    await database.write(keep(1))
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 4").fetchone())
    with pytest.raises(StorageFull) as full:
        await database.write(keep(2, room=1_000_000))
    assert full.value.code == "storage_full"
    away = [database.is_away]
    assert counts.failures == ["full"]
    assert await kept(database) == [1]
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert [*away, database.is_away] == [True, False]
    assert await database.write(keep(2, room=1_000_000)) == 2


async def test_a_writer_that_holds_the_file_for_too_long_is_told_of(
    open_file: Open, counts: Counts, tmp_path: Path
) -> None:
    database = await open_file(timeout_s=0)
    with closing(connect(tmp_path / "a.db", 1.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await database.write(keep(1))
        other.execute("ROLLBACK")
    assert counts.count(bound="database_timeout_s") == 1
    assert await database.write(keep(1)) == 1


async def test_what_waits_when_it_is_closed_is_written(open_file: Open) -> None:
    database = await open_file()
    writing = [asyncio.ensure_future(database.write(keep(value))) for value in range(5)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writing) == list(range(5))
    for use in (database.write(keep(9)), kept(database)):
        with pytest.raises(Unavailable):
            await use
    assert await kept(await open_file()) == list(range(5))


async def test_what_is_no_database_cannot_be_opened(tmp_path: Path, counts: Counts) -> None:
    (tmp_path / "b.db").write_bytes(b"nothing of the kind" * 100)
    database = SqliteDatabase(tmp_path / "b.db", monotonic=Clock(), watch=counts)
    with pytest.raises(Unavailable):
        await database.open()
    await database.close()
    assert counts.failures == ["no_database"]


async def test_the_file_is_its_owners_alone_and_every_commit_is_on_the_disk(open_file: Open, tmp_path: Path) -> None:
    database = await open_file()
    await database.write(keep(1))
    assert {(tmp_path / name).stat().st_mode & 0o077 for name in ("a.db", "a.db-wal", "a.db-shm")} == {
        0
    }  # a test may wait for a disk
    pragmas = ("journal_mode", "synchronous", "foreign_keys")
    told = await database.write(lambda c: [c.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas])
    assert told == ["wal", 2, 1]


class Failing:
    """A connection of a disk that fails: some statements raise."""

    def __init__(self, real: sqlite3.Connection, *failing: str, error: Exception | None = None) -> None:
        self.real, self.failing = real, failing
        self.error = error or sqlite3.OperationalError("disk I/O error")

    @property
    def in_transaction(self) -> bool:
        return self.real.in_transaction

    def execute(self, statement: str, values: tuple[int, ...] = ()) -> sqlite3.Cursor:
        if statement in self.failing:
            raise self.error
        return self.real.execute(statement, values)

    def close(self) -> None:
        self.real.close()
        if "close" in self.failing:
            raise self.error


def broken(database: SqliteDatabase, *failing: str, error: Exception | None = None) -> None:
    """Have the writer's connection fail from now on; another one does not."""
    writer = database._writer
    assert writer is not None
    assert writer._connection is not None
    writer._connection = cast("sqlite3.Connection", Failing(writer._connection, *failing, error=error))


@pytest.mark.parametrize(
    ("failing", "error", "outcome"),
    [
        (("COMMIT",), None, Unavailable),
        (("COMMIT", "ROLLBACK"), None, UnknownOutcome),
        (("COMMIT", "ROLLBACK", "close"), None, UnknownOutcome),
        (("BEGIN IMMEDIATE",), OSError("gone"), UnknownOutcome),
    ],
)
async def test_whatever_the_disk_does_the_writer_tells_it_and_comes_back(
    open_file: Open, counts: Counts, failing: tuple[str, ...], error: Exception | None, outcome: type[Exception]
) -> None:
    database = await open_file()
    await database.write(keep(1))
    broken(database, *failing, error=error)
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable) as told:
            await database.write(keep(2))
    assert type(told.value) is outcome
    was_away = database.is_away
    assert counts.failures
    if outcome is Unavailable:
        # Nothing was written and that is known, so the connection is kept: here, until the disk is well.
        writer = database._writer
        assert writer is not None
        assert writer._connection is not None
        writer._connection = cast("Failing", writer._connection).real
    async with asyncio.timeout(20):
        assert await database.write(keep(3)) == 3
    assert (was_away, database.is_away) == (True, False)
    assert await kept(database) == [1, 3]


async def test_a_file_that_cannot_be_opened_again_is_away_until_it_can(
    open_file: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await open_file()
    broken(database, "COMMIT", "ROLLBACK")
    with pytest.raises(UnknownOutcome):
        await database.write(keep(1))

    def gone(path: Path, timeout_s: float) -> sqlite3.Connection:
        raise OSError("no such device")

    was_away = []
    with monkeypatch.context() as away:
        away.setattr(sqlite, "connect", gone)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await database.write(keep(2))
            was_away.append(database.is_away)
    assert await database.write(keep(2)) == 2
    assert [*was_away, database.is_away] == [True, True, False]
    assert await kept(database) == [2]


async def test_ballast_that_can_be_neither_made_nor_removed_does_not_end_the_writer(
    open_file: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(Path, "open", fails)
    monkeypatch.setattr(Path, "unlink", fails)
    database = await open_file(ballast_bytes=1_024)
    async with asyncio.timeout(20):
        assert await database.write(keep(1)) == 1
        with pytest.raises(StorageFull):
            await database.write(keep(2), is_new_work=True)
    assert database.is_away


async def test_ballast_that_another_process_has_just_set_aside_is_left_to_all(
    open_file: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await open_file(ballast_bytes=1_024)).write(keep(0))
    made = (tmp_path / "a.db.ballast").stat()
    # This one looked before the other had made it.
    monkeypatch.setattr(Path, "exists", lambda path: path.suffix != ".ballast" and bool(path.stat()))
    second = await open_file(ballast_bytes=1_024)
    assert await second.write(keep(1), is_new_work=True) == 1
    assert not second.is_away
    assert (tmp_path / "a.db.ballast").stat().st_mtime_ns == made.st_mtime_ns


async def test_ballast_that_another_process_gave_up_leaves_no_room_for_new_work_here(
    open_file: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await open_file(ballast_bytes=1_024)
    assert await database.write(keep(1), is_new_work=True) == 1
    (tmp_path / "a.db.ballast").unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "open", full)
        with pytest.raises(StorageFull):
            await database.write(keep(2), is_new_work=True)
        assert await database.write(keep(3)) == 3
    assert await database.write(keep(2), is_new_work=True) == 2


async def test_without_room_what_became_of_things_is_tried_again_when_another_process_gave_the_ballast_up(
    open_file: Open, tmp_path: Path
) -> None:
    database = await open_file(ballast_bytes=1_024)
    tries = 0

    def full_at_first(connection: sqlite3.Connection) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            (tmp_path / "a.db.ballast").unlink()
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return keep(4)(connection)

    assert await database.write(full_at_first) == 4
    assert tries == 2


def test_many_that_make_a_file_at_once_all_have_it(tmp_path: Path) -> None:
    refused: list[sqlite3.Error] = []
    begin = threading.Barrier(8)

    def make(path: Path) -> None:
        begin.wait()
        try:
            connect(path, 30.0).close()
        except sqlite3.Error as error:
            refused.append(error)

    # Of a hundred rounds some meet at the one moment that matters.
    for number in range(100):
        threads = [threading.Thread(target=make, args=(tmp_path / f"{number}.db",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert refused == []
