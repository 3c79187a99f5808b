"""Connections that are asked for elsewhere while Redis is away, was killed, or has come back empty."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from protocol.signalr.codec import ProtocolName
from signaling.pods.owners import OWNERS_AWAY, OwnersAway
from signaling.pods.owners_redis import RedisOwners
from tests.eventually import eventually
from tests.signaling.by_hand import HELLO, EventReader, Poller, call, negotiate, poller
from tests.signaling.conftest import House
from tests.signaling.pods_around import Around, around, forwarded, is_sure
from tests.signaling.returning import returning

PROTOCOLS: tuple[ProtocolName, ...] = ("json", "messagepack")


@pytest.fixture
async def scene() -> AsyncIterator[Around]:
    async with around(3) as scene:
        yield scene


@pytest.mark.parametrize("moment", ["killed", "away", "empty"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stateful_connection_comes_back(scene: Around, protocol: ProtocolName, moment: str) -> None:
    client = await returning(scene.east, protocol=protocol)
    await client.call("Echo", "before", id_="1")
    if moment == "killed":
        # Nobody has noticed yet, or somebody has: it does not matter.
        scene.bus.kill()
    else:
        await scene.lose_bus()
    if moment == "empty":
        scene.bus.start()
        await eventually(lambda: all(pod.parts.pods.joined.is_whole for pod in scene.pods if pod.parts.pods))
    for number, pod in enumerate((scene.west, scene.pods[2], scene.west)):
        client.lose()
        client.house = pod
        await client.resume()
        if not number:
            assert await client.result("1") == "before"
        await client.call("Echo", number, id_=f"after {number}")
        assert await client.result(f"after {number}") == number
    assert [pod.app_sessions() for pod in scene.pods] == [1, 0, 0]


async def test_a_connection_that_opened_before_is_found_by_asking(scene: Around) -> None:
    client = await poller(scene.east)
    await scene.lose_bus()
    for number, pod in enumerate(scene.pods):
        client.house = pod
        await client.send(call("Echo", number, id_=str(number)))
        assert (await client.messages(1))[0]["result"] == number


async def test_the_pod_that_made_a_token_decides_who_opens_it(scene: Around) -> None:
    await scene.lose_bus()
    client = EventReader(scene.east, await negotiate(scene.east))
    client.house = scene.west
    assert await client.post(HELLO + call("Echo", 1, id_="1")) == 200
    # It is here now, though nothing but the one who made the token can know.
    client.house = scene.pods[2]
    headers = client.headers | {"Accept": "text/event-stream"}
    async with client.house.http.get(client.house.url + client.path, headers=headers) as response:
        client.response = response
        assert await client.event() == b":\r\n\r\n"
        assert [one.get("result") for one in await client.messages(2)] == [None, 1]
    assert [pod.app_sessions() for pod in scene.pods] == [0, 1, 0]
    assert forwarded(scene.pods[2], "events") == 1


async def test_of_those_who_come_together_one_opens_it(scene: Around) -> None:
    await scene.lose_bus()
    ticket = await negotiate(scene.east)
    polls = [asyncio.ensure_future(Poller(pod, ticket).poll()) for pod in scene.pods for _ in range(4)]
    await eventually(lambda: sum(pod.app_sessions() for pod in scene.pods) == 1)
    await eventually(lambda: sum(poll.done() for poll in polls) == len(polls) - 1)
    assert sum(pod.app_sessions() for pod in scene.pods) == 1
    assert await Poller(scene.west, ticket).post(HELLO) == 200
    assert [body for poll in polls if (body := (await poll).body)] == [b"{}\x1e"]


async def test_a_token_whose_pod_cannot_be_reached_is_opened_where_it_comes(scene: Around) -> None:
    ticket = await negotiate(scene.east)
    await scene.lose_bus()
    assert scene.east.parts.pods is not None
    await scene.east.parts.pods.internal.close()
    client = Poller(scene.west, ticket)
    assert (await client.poll()).status == 200
    await client.shake()
    assert scene.west.metric("auricle_pods_unreached_total") == 1
    # The one who made it is asked by nobody, and knows of nothing: it asks the others first.
    client.house = scene.east
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1


async def test_when_it_is_back_it_is_believed_after_a_while(scene: Around) -> None:
    client = await poller(scene.east)
    await scene.lose_bus()
    scene.bus.start()
    await eventually(lambda: all(pod.parts.pods.joined.is_whole for pod in scene.pods if pod.parts.pods))
    assert not any(is_sure(pod) for pod in scene.pods)
    client.house = scene.west
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1
    await until_sure(scene)


async def test_what_opens_before_it_is_believed_is_known_to_those_who_believe_it(scene: Around) -> None:
    await scene.lose_bus()
    scene.bus.start()
    await eventually(lambda: all(pod.parts.pods.joined.is_whole for pod in scene.pods if pod.parts.pods))
    # Each has written down what it had.
    await eventually(lambda: all(has_told(pod) for pod in scene.pods))
    client = await poller(scene.east)
    assert not any(is_sure(pod) for pod in scene.pods)
    await until_sure(scene)
    for number, pod in enumerate((scene.west, scene.pods[2])):
        client.house = pod
        await client.send(call("Echo", number, id_=str(number)))
        assert (await client.messages(1))[0]["result"] == number
    assert [pod.app_sessions() for pod in scene.pods] == [1, 0, 0]


def owners_of(house: House) -> RedisOwners:
    assert house.parts.pods is not None
    owners = house.parts.pods._owners
    assert isinstance(owners, RedisOwners)
    return owners


def has_told(house: House) -> bool:
    owners = owners_of(house)
    return owners._told_life == owners._parts.tables.life


async def until_sure(scene: Around) -> None:
    """All pods have had the time to write down what they have."""

    def all_are_sure_later() -> bool:
        for pod in scene.pods:
            pod.monotonic.now_s += 0.1
        return all(is_sure(pod) for pod in scene.pods)

    await eventually(all_are_sure_later)


async def test_what_opened_before_redis_was_emptied_is_known_to_those_who_have_not_looked_yet() -> None:
    async with around(3, pod_beat_s=20, pod_gone_s=60) as scene:
        client = await poller(scene.east)
        scene.bus.ask("FLUSHALL")
        for number, pod in enumerate((scene.west, scene.pods[2], scene.west)):
            client.house = pod
            await client.send(call("Echo", number, id_=str(number)))
            assert (await client.messages(1))[0]["result"] == number
        assert [pod.app_sessions() for pod in scene.pods] == [1, 0, 0]


@pytest.mark.parametrize("transport", ["polls", "stateful"])
async def test_what_comes_to_a_pod_that_alone_lacks_redis_opens_where_all_find_it(
    scene: Around, transport: str
) -> None:
    pods = scene.west.parts.pods
    assert pods is not None
    assert pods.joined.tables is not None
    await pods.joined.tables.close()
    assert [is_sure(pod) for pod in scene.pods] == [True, False, True]
    if transport == "polls":
        client = await poller(scene.west)
        for number, pod in enumerate(scene.pods * 2):
            client.house = pod
            await client.send(call("Echo", number, id_=str(number)))
            assert (await client.messages(1))[0]["result"] == number
    else:
        coming_back = await returning(scene.west)
        for number, pod in enumerate(scene.pods * 2):
            coming_back.lose()
            coming_back.house = pod
            await coming_back.resume()
            await coming_back.call("Echo", number, id_=str(number))
            assert await coming_back.result(str(number)) == number
    assert scene.west.app_sessions() == 0
    assert scene.east.app_sessions() + scene.pods[2].app_sessions() == 1


async def test_who_is_handed_a_connection_and_cannot_write_it_down_either_opens_it(
    scene: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = scene.west.parts.pods
    assert pods is not None
    assert pods.joined.tables is not None
    await pods.joined.tables.close()

    lost: list[RedisOwners] = []

    async def away(owners: RedisOwners, *_: object, **__: object) -> OwnersAway:
        # Redis is lost to it in this moment; the other one has not noticed.
        lost.append(owners)
        return OWNERS_AWAY

    sure = (owners_of(scene.east), owners_of(scene.pods[2]))
    monkeypatch.setattr(RedisOwners, "_claim", away)
    monkeypatch.setattr(RedisOwners, "are_sure", property(lambda owners: owners in sure and owners not in lost))
    client = await poller(scene.west)
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1
    assert lost
