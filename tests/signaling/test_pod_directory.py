"""The directory of pods over a real Redis: pods that die, a Redis that goes, and names that somebody else writes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from protocol.errors import Unavailable
from tests.bus_tables import TablePods, table_pods
from tests.eventually import eventually
from tests.redis_server import RedisServer, redis_server

QUICK = {"pod_beat_s": 0.05, "pod_gone_s": 0.3}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def pods(server: RedisServer) -> AsyncIterator[TablePods]:
    async with table_pods(server.url) as pods:
        yield pods


async def test_a_pod_that_dies_is_gone_soon_and_leaves_nothing(server: RedisServer, pods: TablePods) -> None:
    one, two = (await pods.join(**QUICK)).directory("one"), (await pods.join(**QUICK)).directory("two")
    await one.open()
    await two.open()
    await eventually(lambda: one.pods() == ("one", "two"))
    # Killed: nobody says goodbye for it.
    await two._tasks.close()
    await eventually(lambda: one.pods() == ("one",))
    await eventually(lambda: b"two" not in server.ask("SMEMBERS", "auricle:t:{pods}"))
    assert b"two" not in server.ask("KEYS", "*")
    await one.close()
    assert server.ask("DBSIZE") == b":0\r\n"


async def test_without_redis_what_was_known_stays_known_and_all_is_said_again(
    server: RedisServer, pods: TablePods
) -> None:
    one, two = (await pods.join(**QUICK)).directory("one"), (await pods.join(**QUICK)).directory("two")
    two.reached_at("http://10.0.0.2:2")
    for each in (one, two):
        await each.open()
    await eventually(lambda: one.address_of("two"))
    server.kill()
    await asyncio.sleep(0.5)  # longer than a pod is believed in
    assert one.address_of("two") == "http://10.0.0.2:2"
    assert await one.look("two") == "http://10.0.0.2:2"
    with pytest.raises(Unavailable):
        await one.look("three")
    server.start()
    # It came back empty.
    await eventually(lambda: b"two" in server.ask("SMEMBERS", "auricle:t:{pods}"))
    for each in (one, two):
        await each.close()


async def test_an_address_that_no_pod_of_ours_has_told_is_not_believed(server: RedisServer, pods: TablePods) -> None:
    # A pod that was silent for so long that others take it for gone knows of nobody: a busy machine is silent.
    patient = QUICK | {"pod_gone_s": 30.0}
    one = (await pods.join(**patient)).directory("one")
    other = (await pods.join(**patient)).directory("two", key=b"x" * 32)
    other.reached_at("http://evil:1")
    for each in (one, other):
        await each.open()
    await eventually(lambda: one.is_settled and b"auricle:t:{pods}:one" in server.ask("KEYS", "*"))
    await eventually(lambda: b"auricle:t:{pods}:two" in server.ask("KEYS", "*"))
    # Told by another deployment, or written by hand: by nobody.
    assert await one.look("two") is None
    server.ask("SET", "auricle:t:{pods}:three", "http://evil:2")
    server.ask("SADD", "auricle:t:{pods}", "three")
    assert await one.look("three") is None
    assert one.pods() == ("one",)
    for each in (one, other):
        await each.close()
