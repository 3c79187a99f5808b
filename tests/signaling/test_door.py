"""However many come at once, a turn of the event loop takes a few, and those who are here have theirs in between."""

import asyncio
import errno
import io
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from signaling.door import Door
from signaling.log import LogBook
from tests.eventually import eventually


@dataclass
class Hall:
    """Who came in, and which bounds were reached."""

    came: int = 0
    bounds: list[str] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def protocol(self) -> asyncio.Protocol:
        self.came += 1
        return asyncio.Protocol()


@asynccontextmanager
async def door(hall: Hall, at_once: int = 2) -> AsyncIterator[Door]:
    found = Door(hall.protocol, at_once=at_once, reached=hall.bounds.append, log=LogBook(hall.log))
    await found.open("127.0.0.1", 0, backlog=64)
    try:
        yield found
    finally:
        await found.close()


def knock(stack: ExitStack, found: Door, count: int) -> None:
    """So many connections, which the kernel has while the event loop does not run."""
    for _ in range(count):
        stack.enter_context(socket.create_connection(found.addresses[0]))


async def test_a_turn_takes_no_more_than_so_many() -> None:
    hall = Hall()
    with ExitStack() as stack:
        async with door(hall, at_once=2) as found:
            knock(stack, found, 11)
            before, most = 0, 0
            while hall.came < 11:
                await asyncio.sleep(0)  # one turn of the event loop
                before, most = hall.came, max(most, hall.came - before)
            assert most == 2
            # The last turn took one: nobody was left outside.
            assert [bound == "max_accepts" for bound in hall.bounds] == [True] * 5


async def test_who_has_hung_up_meanwhile_is_no_trouble() -> None:
    hall = Hall()
    with ExitStack() as stack:
        async with door(hall) as found:
            for _ in range(5):
                gone = socket.create_connection(found.addresses[0])
                # A reset, where a goodbye would wait to be read.
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                gone.close()
            knock(stack, found, 1)
            await eventually(lambda: hall.came >= 1)
            knock(stack, found, 1)
            await eventually(lambda: hall.came >= 2)
    assert "task_failed" not in hall.log.getvalue()


async def test_without_files_it_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall()
    with ExitStack() as stack:
        async with door(hall) as found:

            def none_left(_: socket.socket) -> None:
                raise OSError(errno.EMFILE, "no file is left")

            monkeypatch.setattr("signaling.door._PAUSE_S", 0.01)
            with monkeypatch.context() as patched:
                patched.setattr(socket.socket, "accept", none_left)
                knock(stack, found, 1)
                await eventually(lambda: "task_failed" in hall.log.getvalue())
            await eventually(lambda: hall.came == 1)


async def test_a_door_that_is_closed_lets_nobody_in() -> None:
    hall = Hall()
    async with door(hall) as found:
        address = found.addresses[0]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    assert found.addresses == []


async def test_a_place_that_is_taken_is_an_error() -> None:
    async with door(Hall()) as first:
        second = Door(asyncio.Protocol, at_once=1, reached=lambda _: None, log=LogBook(io.StringIO()))
        with pytest.raises(OSError):  # noqa: PT011  # which number it has is the machine's
            await second.open("127.0.0.1", first.addresses[0][1], backlog=1)
        assert second.addresses == []
