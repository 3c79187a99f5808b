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
from signaling.paced import Paced, Way
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
async def door(hall: Hall, most: int = 2) -> AsyncIterator[Door]:
    found = Door(hall.protocol, paced=Paced(most), reached=hall.bounds.append, log=LogBook(hall.log))
    await found.open("127.0.0.1", 0, backlog=64)
    try:
        yield found
    finally:
        await found.close()


def knock(stack: ExitStack, found: Door, count: int) -> None:
    """So many connections, which the kernel has while the event loop does not run."""
    for _ in range(count):
        stack.enter_context(socket.create_connection(found.addresses[0]))


async def test_those_who_come_together_are_taken_a_few_at_a_time() -> None:
    hall = Hall()
    with ExitStack() as stack:
        async with door(hall, most=2) as found:
            knock(stack, found, 40)
            taken = set[int]()
            while hall.came < 40:
                await asyncio.sleep(0)  # one turn of the event loop
                taken.add(hall.came)
            # Ten times as late as a tick may be made up for, not all at once.
            assert len(taken - {0}) >= 3
            assert all(bound == "max_accepts" for bound in hall.bounds)
            assert hall.bounds
            # Nobody is asked for again and again while nobody comes.
            told = len(hall.bounds)
            knock(stack, found, 1)
            await eventually(lambda: hall.came == 41)
            # Once for it, and once when there is nobody more.
            assert len(hall.bounds) <= told + 3


async def test_those_who_end_do_not_keep_others_out() -> None:
    hall, paced, ended = Hall(), Paced(2), list[int]()
    found = Door(hall.protocol, paced=paced, reached=hall.bounds.append, log=LogBook(hall.log))
    await found.open("127.0.0.1", 0, backlog=64)
    try:
        with ExitStack() as stack:
            for number in range(400):
                paced.do(Way.OUT, lambda number=number: ended.append(number))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            knock(stack, found, 5)
            await eventually(lambda: hall.came == 5)
            assert len(ended) < 400
            await eventually(lambda: len(ended) == 400)
    finally:
        await found.close()


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


# accept(2) on Linux also tells what the network has to say of who came.
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EPROTO, errno.ENETDOWN])
async def test_what_cannot_be_taken_now_is_taken_later(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall()
    with ExitStack() as stack:
        async with door(hall) as found:

            def none_left(_: socket.socket) -> None:
                raise OSError(number, "not now")

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
        second = Door(asyncio.Protocol, paced=Paced(1), reached=lambda _: None, log=LogBook(io.StringIO()))
        with pytest.raises(OSError):  # noqa: PT011  # which number it has is the machine's
            await second.open("127.0.0.1", first.addresses[0][1], backlog=1)
        assert second.addresses == []
