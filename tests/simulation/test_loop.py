"""The loop whose time is a number, and processes that die."""

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.simulation.loop import Process, SimLoop, Stuck


def run(work: Coroutine[Any, Any, None]) -> float:
    """Run it to its end; the time then."""
    loop = SimLoop(random.Random(1))
    task = loop.create_task(work)
    try:
        loop.run_until_complete(task)
    finally:
        task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
    return loop.time()


def test_an_hour_takes_no_time() -> None:
    began_s = time.monotonic()
    assert run(asyncio.sleep(3_600)) == pytest.approx(4_600, abs=0.01)
    assert time.monotonic() - began_s < 5


def test_hours_that_are_skipped_are_over_for_everybody_and_nothing_is_done_twice() -> None:
    done: list[str] = []

    async def each(name: str, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            done.append(name)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        tasks = [loop.create_task(each("slow", 70.0)), loop.create_task(each("fast", 60.0))]
        await asyncio.sleep(1)
        loop.skip(3_600.0)
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()

    assert run(work()) == pytest.approx(4_602, abs=0.01)
    assert done == ["fast", "slow"]


def test_timers_fire_in_the_order_of_their_times() -> None:
    order: list[int] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for delay_s in (3, 1, 2):
            loop.call_later(delay_s, order.append, delay_s)
        await asyncio.sleep(4)

    run(work())
    assert order == [1, 2, 3]


def test_timers_of_one_instant_fire_in_an_order_that_the_seed_draws() -> None:
    orders = set()
    for seed in range(20):
        loop, order = SimLoop(random.Random(seed)), list[str]()
        for name in "ab":
            loop.call_at(2_000.0, order.append, name)
        loop.run_until_complete(asyncio.sleep(2_000))
        orders.add(tuple(order))
        loop.close()
    assert orders == {("a", "b"), ("b", "a")}


def test_what_will_never_come_is_said_to_be_so() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="no timer"):
        run(work())


def test_what_never_ends_is_ended() -> None:
    async def work() -> None:
        while True:  # noqa: ASYNC110  # what a run without an end would be
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="no end"):
        run(work())


def test_a_killed_process_ends_with_all_that_it_has_started() -> None:
    done: list[str] = []

    async def child() -> None:
        await asyncio.sleep(2)
        done.append("child")

    async def parent(process: Process) -> None:
        task = asyncio.get_running_loop().create_task(child())
        await process.reach()
        await task
        done.append("parent")

    async def work() -> None:
        process = Process("one")
        process.epitaphs.append(lambda: done.append("epitaph"))
        process.spawn(parent(process))
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(5)
        assert not process.tasks

    run(work())
    assert done == ["epitaph"]
