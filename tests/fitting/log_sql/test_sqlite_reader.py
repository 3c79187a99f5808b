"""The reading thread: what waits is read in one go, errors are their own, and an end leaves nobody waiting."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator

import pytest

from fitting.log_sql.sqlite_reader import Reader
from protocol.errors import Unavailable


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    reader = Reader(connection, asyncio.get_running_loop())
    yield reader
    await asyncio.to_thread(reader.close)


def one(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT 1").fetchone()[0])


async def test_what_waits_is_read_in_one_go(reader: Reader) -> None:
    reached, opened = threading.Event(), threading.Event()

    def gate(_: sqlite3.Connection) -> None:
        reached.set()
        assert opened.wait(20)

    held = asyncio.ensure_future(reader.read(gate))
    await asyncio.to_thread(reached.wait, 20)
    turns: list[int] = []
    waiting = [asyncio.ensure_future(reader.read(one)) for _ in range(20)]
    for task in waiting:
        task.add_done_callback(lambda _: turns.append(1))
    await asyncio.sleep(0)
    opened.set()
    await held
    # All of them are told in one turn of the loop, so none is waited for by itself.
    assert await waiting[0] == 1
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True] * 20


async def test_an_error_is_its_own(reader: Reader) -> None:
    asked = reader.read(lambda connection: connection.execute("SELECT * FROM nothing").fetchall())
    outcomes = await asyncio.gather(asked, reader.read(one), return_exceptions=True)
    assert isinstance(outcomes[0], sqlite3.OperationalError)
    assert outcomes[1] == 1


async def test_whoever_gives_up_waiting_does_not_hold_the_others_up(reader: Reader) -> None:
    task = asyncio.ensure_future(reader.read(one))
    await asyncio.sleep(0)
    task.cancel()
    assert await reader.read(one) == 1


async def test_what_waits_at_the_end_is_read_and_what_comes_then_is_refused() -> None:
    reader = Reader(sqlite3.connect(":memory:", check_same_thread=False), asyncio.get_running_loop())
    waiting = [asyncio.ensure_future(reader.read(one)) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.to_thread(reader.close)
    assert await asyncio.gather(*waiting) == [1] * 100
    with pytest.raises(Unavailable):
        await reader.read(one)
