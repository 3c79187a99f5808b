"""Presence over a real Redis: pods that die, a Redis that comes back empty, and nothing that is left behind."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from signaling.pods.directory_redis import RedisDirectory
from signaling.presence_redis import RedisPresence
from tests.bus_tables import PodTables, TablePods, table_pods
from tests.contracts.presence import is_counted
from tests.eventually import eventually, eventually_asked
from tests.redis_server import RedisServer, redis_server

QUICK = {"pod_beat_s": 0.05, "pod_gone_s": 0.5, "presence_flush_s": 0.01}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class Present:
    """Opens pods, and closes them."""

    def __init__(self, pods: TablePods, stack: AsyncExitStack) -> None:
        self._pods = pods
        self._stack = stack
        self._names = iter("abcdef")

    async def pod(self, **changes: object) -> tuple[RedisPresence, RedisDirectory, PodTables]:
        joined = await self._pods.join(**QUICK | changes)
        directory, presence = joined.present(next(self._names))
        for part in (directory, presence):
            await part.open()
            self._stack.push_async_callback(part.close)
        return presence, directory, joined


@pytest.fixture
async def present(server: RedisServer) -> AsyncIterator[Present]:
    async with table_pods(server.url) as pods, AsyncExitStack() as stack:
        yield Present(pods, stack)


async def test_the_people_of_a_pod_that_dies_are_gone_when_nobody_keeps_them(
    server: RedisServer, present: Present
) -> None:
    one, directory, _ = await present.pod()
    two, _, _ = await present.pod()
    ann = one.person("c1", "ann")
    one.came(ann)
    await eventually_asked(is_counted(two, (ann,), (1,)))
    # Killed: nobody says goodbye for it.
    await one._tasks.close()
    await directory._tasks.close()
    await eventually_asked(is_counted(two, (ann,), (0,)))
    await eventually(lambda: server.ask("EXISTS", "auricle:t:presence:{a}") == b":0\r\n")


async def test_a_redis_that_comes_back_empty_is_told_everything_again(server: RedisServer, present: Present) -> None:
    (one, _, _), (two, _, _) = await present.pod(), await present.pod()
    people = [one.person("c1", str(number)) for number in range(50)]
    for mark in people:
        one.came(mark)
    await eventually_asked(is_counted(two, people, (1,) * 50))
    server.kill()

    async def is_unknown() -> bool:
        return await two.count(people) is None

    await eventually_asked(is_unknown)
    # What a pod knows itself it goes on knowing.
    assert one.here(people[0]) == 1
    one.left(people[0])
    server.start()
    await eventually_asked(is_counted(two, people, (0,) + (1,) * 49))
    # Emptied, while only one of them moves.
    server.ask("FLUSHALL")
    one.came(people[0])
    await eventually_asked(is_counted(two, people, (1,) * 50))


@pytest.mark.parametrize("command", ["DEL auricle:t:presence:{a}", "FLUSHALL"])
async def test_a_pod_whose_people_redis_has_lost_is_not_one_that_has_none(
    server: RedisServer, present: Present, command: str
) -> None:
    # Nothing is written but what has changed.
    slow = {"pod_beat_s": 20, "pod_gone_s": 60}
    (one, _, _), (two, _, _) = await present.pod(**slow), await present.pod(**slow)
    people = [one.person("c1", str(number)) for number in range(50)]
    for mark in people:
        one.came(mark)
    await eventually_asked(is_counted(two, people, (1,) * 50))
    server.ask(*command.split())
    before, after = (1,) * 50, (2, *(1,) * 49)

    async def is_written_again() -> bool:
        counts = await two.count(people)
        # Part of them is not all of them.
        assert counts in {None, before, after}
        return counts == after

    assert not await is_written_again()
    one.came(people[0])
    if command != "FLUSHALL":
        # Whoever has noticed that all was lost believes nothing for a beat.
        await eventually_asked(is_written_again)


async def test_what_is_too_much_while_redis_is_slow_is_not_forgotten(server: RedisServer, present: Present) -> None:
    # Nothing is written but what has changed.
    slow = {"pod_beat_s": 20, "pod_gone_s": 60, "bus_timeout_s": 30}
    one, _, joined = await present.pod(**slow, max_presence_changes=4)
    two, _, _ = await present.pod(**slow)
    people = [one.person("c1", str(number)) for number in range(8)]
    one.came(people[0])
    await eventually_asked(is_counted(two, people[:1], (1,)))
    server.signal(signal.SIGSTOP)
    try:
        one.came(people[1])
        # It is being written.
        await eventually(lambda: not one._changed)
        for mark in people[2:]:
            one.came(mark)
        assert joined.metric("auricle_bound_reached_total", bound="max_presence_changes") == 1
    finally:
        server.signal(signal.SIGCONT)
    await eventually_asked(is_counted(two, people, (1,) * len(people)))


async def test_too_many_changes_to_be_told_one_by_one_are_told_as_a_whole(present: Present) -> None:
    one, _, joined = await present.pod(max_presence_changes=10)
    two, _, _ = await present.pod()
    before = one.person("c1", "before")
    one.came(before)
    await eventually_asked(is_counted(two, (before,), (1,)))
    people = [one.person("c1", str(number)) for number in range(25)]
    one.left(before)
    for mark in people:
        one.came(mark)
    await eventually_asked(is_counted(two, (before, *people), (0,) + (1,) * 25))
    assert joined.metric("auricle_bound_reached_total", bound="max_presence_changes") >= 1


async def test_redis_is_never_told_a_name(server: RedisServer, present: Present) -> None:
    one, _, _ = await present.pod()
    two, _, _ = await present.pod()
    mark = one.person("the clinic", "Ann Example")
    one.came(mark)
    await eventually_asked(is_counted(two, (mark,), (1,)))
    told = server.ask("HGETALL", "auricle:t:presence:{a}") + server.ask("KEYS", "*")
    assert bytes(mark) in told
    assert b"Ann" not in told
    assert b"clinic" not in told


async def test_after_ten_thousand_have_come_and_gone_nothing_is_left_but_the_pods_own(
    server: RedisServer, present: Present
) -> None:
    # Nobody is gone, however long the machine stands still.
    one, _, joined = await present.pod(pod_gone_s=60)
    two, _, _ = await present.pod(pod_gone_s=60)
    for number in range(10_000):
        mark = one.person("c1", str(number % 3_000))
        one.came(mark)
        if number % 7 == 0:
            await asyncio.sleep(0)  # the flusher gets its turns
        one.left(mark)
    last = one.person("c1", "last")
    one.came(last)
    await eventually_asked(is_counted(two, (last,), (1,)))
    # Beside that they are all.
    assert server.ask("HLEN", "auricle:t:presence:{a}") == b":2\r\n"
    one.left(last)
    await eventually(lambda: server.ask("HLEN", "auricle:t:presence:{a}") == b":1\r\n")
    await eventually(lambda: joined.backplane.is_settled)
    keys = server.ask("KEYS", "*")
    assert sorted(word for word in keys.split() if word.startswith(b"auricle")) == [
        b"auricle:t:presence:{a}",
        b"auricle:t:presence:{b}",
        b"auricle:t:{pods}",
        b"auricle:t:{pods}:a",
        b"auricle:t:{pods}:b",
    ]
    channels = server.ask("PUBSUB", "SHARDCHANNELS")
    assert sorted(word for word in channels.split() if word.startswith(b"auricle")) == [
        b"auricle:c:pods",
        b"auricle:c:presence",
        b"auricle:pods",
    ]
