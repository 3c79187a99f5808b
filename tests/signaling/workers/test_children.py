"""A child and what is done to it: real processes that start too slowly, end too slowly, or cannot be started."""

import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from signaling.log import LogBook
from signaling.workers.children import Child, ValkeyKind
from signaling.workers.guard import Guard
from signaling.workers.plan import ChildLimits, ChildState
from tests.eventually import eventually

LIMITS = ChildLimits(start_s=30.0, end_s=15.0, hang_s=15.0, back_off_s=5.0, max_restarts=1, window_s=60.0)
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


class Program(ValkeyKind):
    """A Python program; it is ready when the test says so."""

    name = "program"

    def __init__(self, code: str = DEAF) -> None:
        self.code = code
        self.is_up = False
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, guard: Guard) -> "subprocess.Popen[bytes]":
        if not self.code:
            raise OSError(11, "Resource temporarily unavailable")
        read, write = os.pipe()
        with open(read, "rb") as output, open(write, "wb") as lent:
            self.started.append(guard.start([sys.executable, "-c", self.code], output=lent))
            # Before it says so it is not deaf yet.
            output.read(1)
        return self.started[-1]

    def is_ready(self) -> bool:
        return self.is_up


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture
def reached() -> list[str]:
    return []


@pytest.fixture
def child(guard: Guard, reached: list[str]) -> Iterator[Child]:
    program = Program()
    made = Child(program, LIMITS, guard, LogBook(StringIO()), reached.append)
    made.begin(0.0)
    yield made
    for process in program.started:
        process.kill()
        process.wait(20)


async def has_ended(child: Child) -> None:
    """Until the kernel says so; the child has not looked yet."""
    process = child.process
    assert process is not None
    await eventually(lambda: process.poll() is not None)


async def test_one_that_is_not_up_in_time_is_killed_and_counted(child: Child, reached: list[str]) -> None:
    assert not child.look(29.9)
    assert reached == []
    assert not child.look(30.0)
    [bound] = reached
    assert bound == "worker_start_s"
    await has_ended(child)
    # It has never worked: there is no use in another try.
    assert child.look(30.1)
    assert (child.state, child.code) == (ChildState.GONE, -9)


async def test_one_that_says_nothing_more_is_killed_and_counted(child: Child, reached: list[str]) -> None:
    kind = child.kind
    assert isinstance(kind, Program)
    kind.is_up = True
    for now_s in (1.0, 2.0):
        assert not child.look(now_s)
        assert (child.state, child.due_s) == (ChildState.UP, now_s + 15)
    kind.is_up = False
    assert not child.look(16.9)
    assert reached == []
    assert not child.look(17.0)
    [bound] = reached
    assert bound == "worker_hang_s"
    await has_ended(child)
    assert not child.look(17.1)
    assert (child.state, child.code) == (ChildState.BACKING_OFF, -9)


def test_whoever_was_not_looked_at_for_long_has_its_time_once_more(child: Child, reached: list[str]) -> None:
    kind = child.kind
    assert isinstance(kind, Program)
    kind.is_up = True
    assert not child.look(1.0)
    kind.is_up = False
    # All of them were stopped, and go on now: the supervisor a moment before the others.
    assert not child.look(100.0)
    assert (reached, child.state, child.due_s) == ([], ChildState.UP, 115.0)


async def test_one_that_does_not_end_in_time_is_killed_and_counted(child: Child, reached: list[str]) -> None:
    kind = child.kind
    assert isinstance(kind, Program)
    kind.is_up = True
    assert not child.look(1.0)
    child.stop(2.0)
    assert not child.look(16.9)
    assert child.process is not None
    assert child.process.poll() is None
    assert not child.look(17.0)
    [bound] = reached
    assert bound == "worker_end_s"
    await has_ended(child)
    assert not child.look(17.1)
    assert child.state is ChildState.GONE


async def test_one_that_ends_too_often_is_given_up_and_counted(child: Child, reached: list[str]) -> None:
    kind = child.kind
    assert isinstance(kind, Program)
    kind.is_up = True
    for end in (1, 2):
        now_s = float(end)
        assert not child.look(now_s)
        assert child.state is ChildState.UP
        assert child.process is not None
        child.process.kill()
        await has_ended(child)
        assert child.look(now_s) is (end == 2)
        child.look(now_s + 0.1)
    [bound] = reached
    assert bound == "max_worker_restarts"
    assert len(kind.started) == 2


def test_one_that_the_machine_cannot_start_has_ended_at_once(child: Child, guard: Guard) -> None:
    none = Child(Program(""), LIMITS, guard, LogBook(StringIO()), lambda _: None)
    none.begin(0.0)
    assert none.look(0.1)
    assert (none.state, none.code) == (ChildState.GONE, -1)


def test_one_that_was_never_started_is_gone_and_stays_so(guard: Guard) -> None:
    child = Child(Program(), LIMITS, guard, LogBook(StringIO()), lambda _: None)
    child.stop(0.0)
    assert not child.look(1.0)
    assert (child.state, child.due_s, child.news()) == (ChildState.GONE, None, None)
