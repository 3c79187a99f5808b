"""A Redis that comes back empty has forgotten all pods: none of them is gone because it has not been told yet."""

from collections.abc import AsyncIterator, Iterator

import pytest

from protocol.errors import Unavailable
from signaling.pods.directory_redis import RedisDirectory
from tests.bus_tables import PodTables, TablePods, table_pods
from tests.eventually import eventually, eventually_asked
from tests.redis_server import RedisServer, redis_server
from tests.signaling.by_hand import call, poller
from tests.signaling.pods_around import around, forwarded, len_of, poll_from_the_west

# Nobody is taken for gone in the time that a test needs, however slow the machine is.
SLOW = {"pod_beat_s": 20, "pod_gone_s": 60}
NAMES = "auricle:t:{pods}"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def pods(server: RedisServer) -> AsyncIterator[TablePods]:
    async with table_pods(server.url) as pods:
        yield pods


async def opened(pods: TablePods, name: str, **changes: object) -> tuple[RedisDirectory, PodTables]:
    joined = await pods.join(**changes)
    directory = joined.directory(name)
    directory.reached_at(f"http://{name}:1")
    await directory.open()
    return directory, joined


async def until_back(server: RedisServer, directory: RedisDirectory) -> None:
    """Redis is there again, and knows this pod."""
    server.start()
    await eventually(lambda: directory.pod.encode() in server.ask("SMEMBERS", NAMES))
    await eventually(lambda: not directory.is_settled)


async def test_who_has_not_been_written_down_again_is_not_gone(server: RedisServer, pods: TablePods) -> None:
    (one, _), (two, _) = await opened(pods, "one", **SLOW), await opened(pods, "two", **SLOW)
    await eventually(lambda: one.address_of("two"))
    lost: list[tuple[str, ...]] = []
    one.on_change(lambda: lost.append(one.pods()))
    server.kill()
    # It is the other's turn first.
    await two._tasks.close()
    await until_back(server, one)
    assert b"two" not in server.ask("SMEMBERS", NAMES)
    assert one.address_of("two") == "http://two:1"
    assert one.pods() == ("one", "two")
    # It may live as well: nobody has said so yet.
    with pytest.raises(Unavailable):
        await one.look("three")
    await two.open()
    await eventually(lambda: b"two" in server.ask("SMEMBERS", NAMES))
    assert lost == []
    for each in (one, two):
        await each.close()


async def test_nobody_is_gone_when_redis_is_emptied_while_it_runs(server: RedisServer, pods: TablePods) -> None:
    (one, its), (two, _) = await opened(pods, "one", **SLOW), await opened(pods, "two", **SLOW)
    await eventually(lambda: one.address_of("two"))
    await eventually(lambda: two.address_of("one"))
    lost: list[tuple[str, ...]] = []
    for each in (one, two):
        each.on_change(lambda: lost.append(one.pods()))
    life = its.tables.life
    server.ask("FLUSHALL")
    # Somebody looks; the other one hears of it, and says once more that it lives.
    one._news.set()
    await eventually(lambda: {b"one", b"two"} <= set(server.ask("SMEMBERS", NAMES).split()))
    await eventually(lambda: its.tables.life > life)
    assert lost == []
    for each in (one, two):
        await each.close()


async def test_who_does_not_come_back_is_gone_after_a_beat(server: RedisServer, pods: TablePods) -> None:
    quick = {"pod_beat_s": 0.2, "pod_gone_s": 20}
    (one, _), (two, _) = await opened(pods, "one", **quick), await opened(pods, "two", **quick)
    await eventually(lambda: one.address_of("two"))
    server.kill()
    await two._tasks.close()
    server.start()
    await eventually(lambda: one.pods() == ("one",))
    assert one.is_settled
    await one.close()


async def test_who_is_there_is_not_known_before_all_have_said_so(server: RedisServer, pods: TablePods) -> None:
    first, second = await pods.join(**SLOW), await pods.join(**SLOW)
    (one, far), (two, near) = first.present("one"), second.present("two")
    for directory in (one, two):
        await directory.open()
    await eventually(lambda: set(two.pods()) == {"one", "two"})
    for presence in (far, near):
        await presence.open()
    ann = near.person("c1", "ann")

    async def is_known() -> bool:
        return await near.count((ann,)) == (0,)

    await eventually_asked(is_known)
    server.kill()
    for part in (one, far):
        await part._tasks.close()
    await until_back(server, two)
    assert second.tables.is_up
    # The other pod may have her: nobody can tell.
    assert await near.count((ann,)) is None
    for part in (far, near, one, two):
        await part.close()


async def test_pods_that_are_killed_leave_nothing_for_ever(server: RedisServer, pods: TablePods) -> None:
    one, _ = await opened(pods, "one", pod_beat_s=0.05, pod_gone_s=0.3)
    await eventually(lambda: b"one" in server.ask("SMEMBERS", NAMES))
    await one._tasks.close()
    await eventually(lambda: server.ask("DBSIZE") == b":0\r\n")


async def test_what_is_carried_to_a_pod_that_redis_has_forgotten_goes_on() -> None:
    async with around(**SLOW) as scene:
        client = await poller(scene.east)
        polling = await poll_from_the_west(scene, client)
        assert scene.east.parts.pods is not None
        assert scene.west.parts.pods is not None
        east, west = scene.east.parts.pods._directory, scene.west.parts.pods._directory
        assert isinstance(east, RedisDirectory)
        assert isinstance(west, RedisDirectory)
        scene.bus.kill()
        # It has said that it lives a moment ago, and does again when it is time.
        await east._tasks.close()
        await until_back(scene.bus, west)
        scene.west.sweep()
        assert len_of(scene.west) == 1
        assert await client.post(call("Echo", 1, id_="1")) == 200
        assert (await polling).status == 200
        assert forwarded(scene.west, "poll", "gone") == forwarded(scene.west, "post", "gone") == 0
