"""Calls of one connection run one at a time and in order, unless one gives its turn up."""

import asyncio
import io

import pytest

from signaling.flow import Flow
from signaling.log import LogBook
from signaling.tasks import TaskSet
from signaling.turns import Turn, TurnQueue


@pytest.fixture
def tasks() -> TaskSet:
    return TaskSet("test", LogBook(io.StringIO()))


async def test_calls_run_one_at_a_time_and_in_order(tasks: TaskSet) -> None:
    queue, seen, running = TurnQueue(tasks, Flow(lambda: None), limit=10), list[int](), 0

    async def call(number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)  # lets another call run, if there were one
        seen.append(number)
        running -= 1

    for number in range(5):
        queue.submit(lambda _, number=number: call(number))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert not queue.idle
    await tasks.finish(1)
    assert seen == [0, 1, 2, 3, 4]
    assert queue.idle


async def test_a_call_that_gives_its_turn_up_lets_the_next_one_run(tasks: TaskSet) -> None:
    queue, answer, seen = TurnQueue(tasks, Flow(lambda: None), limit=10), asyncio.Event(), list[str]()

    async def asks(turn: Turn) -> None:
        turn.give_up()
        turn.give_up()
        await answer.wait()
        seen.append("asked")

    async def answers(_: Turn) -> None:
        seen.append("plain")
        answer.set()

    queue.submit(asks)
    queue.submit(answers)
    await tasks.finish(1)
    assert seen == ["plain", "asked"]
    assert queue.idle


async def test_a_call_that_fails_does_not_stop_the_next_one(tasks: TaskSet) -> None:
    queue, seen = TurnQueue(tasks, Flow(lambda: None), limit=10), list[str]()

    async def fails(_: Turn) -> None:
        raise RuntimeError

    async def works(_: Turn) -> None:
        seen.append("works")

    queue.submit(fails)
    queue.submit(works)
    await tasks.finish(1)
    assert seen == ["works"]


async def test_a_full_queue_stops_the_reader_until_there_is_room(tasks: TaskSet) -> None:
    gate, went_on = asyncio.Event(), list[int]()
    flow = Flow(lambda: went_on.append(1))
    queue = TurnQueue(tasks, flow, limit=2)

    async def call(_: Turn) -> None:
        await gate.wait()

    stopped = []
    for _ in range(4):
        queue.submit(call)
        stopped.append(flow.stopped)
    assert stopped == [False, True, True, True]
    assert flow.bound == "max_pending_calls"
    gate.set()
    await tasks.finish(1)
    assert not flow.stopped
    assert went_on == [1]


def test_a_connection_is_read_again_when_the_last_reason_is_gone() -> None:
    went_on: list[int] = []
    flow = Flow(lambda: went_on.append(1))
    flow.stop("a")
    flow.stop("b")
    flow.go_on()
    assert (flow.stopped, went_on) == (True, [])
    flow.go_on()
    assert (flow.stopped, went_on) == (False, [1])


async def test_tasks_that_do_not_end_are_cancelled_and_errors_are_logged() -> None:
    stream = io.StringIO()
    tasks = TaskSet("owner", LogBook(stream))

    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise ValueError("secret")

    tasks.spawn(for_ever())
    tasks.spawn(fails())
    await tasks.finish(0.01)
    assert len(tasks) == 0
    assert "task_failed" in stream.getvalue()
    assert "secret" not in stream.getvalue()


async def test_closing_waits_for_tasks_that_the_end_of_others_has_started() -> None:
    tasks = TaskSet("owner", LogBook(io.StringIO()))
    ended: list[str] = []

    async def last() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("last")

    async def first() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tasks.spawn(last())
            # Let it begin, or its end could not be seen.
            await asyncio.sleep(0)
            ended.append("first")

    tasks.spawn(first())
    await asyncio.sleep(0)  # it begins
    await tasks.close()
    assert ended == ["first", "last"]
    assert len(tasks) == 0


async def test_a_call_whose_time_is_up_takes_those_that_have_not_begun_along(tasks: TaskSet) -> None:
    queue, seen = TurnQueue(tasks, Flow(lambda: None), limit=10), list[str]()

    async def never_ends(_: Turn) -> None:
        seen.append("began")
        await asyncio.Event().wait()

    for _ in range(3):
        queue.submit(never_ends)
    await tasks.finish(0.01)
    assert seen == ["began"]
    assert queue.idle
