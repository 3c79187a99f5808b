"""Pods that say goodbye while they carry requests for each other: nobody's request is lost with them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from signaling.config import Config
from signaling.server import drain
from tests.signaling.by_hand import Poller, call, negotiate, parsed, poller
from tests.signaling.pods_around import Around, around, poll_from_the_west


@pytest.fixture
async def scene() -> AsyncIterator[Around]:
    async with around() as scene:
        yield scene


async def test_a_pod_that_drains_goes_on_for_others_and_hands_on_what_is_new(scene: Around) -> None:
    client = await poller(scene.east)
    there = await poller(scene.west)
    new = await negotiate(scene.west)
    assert scene.west.parts.readiness.draining is False
    scene.west.parts.readiness.draining = True
    # What is carried to it is served, and it carries on.
    there.house = scene.east
    await there.send(call("Echo", "to it", id_="1"))
    assert (await there.messages(1))[0]["result"] == "to it"
    client.house = scene.west
    await client.send(call("Echo", "over it", id_="1"))
    answer = await client.poll()
    assert (parsed(answer.body)[0]["result"], answer.headers["Connection"]) == ("over it", "close")
    # A new one opens on another pod.
    opened = Poller(scene.west, new)
    assert (await opened.poll()).status == 200
    assert (scene.east.app_sessions(), scene.west.app_sessions()) == (2, 1)
    # And a poll through it does not wait for long.
    assert (await asyncio.wait_for(client.poll(), 10)).body == b""


async def test_a_poll_that_waits_elsewhere_goes_home_before_its_pod_ends(scene: Around) -> None:
    client = await poller(scene.east)
    polling = await poll_from_the_west(scene, client)
    await drain(scene.west.parts, Config(drain_s=5))
    answer = await polling
    assert (answer.status, answer.body) == (200, b"")
    # It has lost nothing.
    client.house = scene.east
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1


async def test_a_poll_in_flight_brings_the_goodbye_of_its_owner(scene: Around) -> None:
    client = await poller(scene.east)
    polling = await poll_from_the_west(scene, client)
    draining = asyncio.ensure_future(drain(scene.east.parts, Config(drain_s=5)))
    said = parsed((await polling).body)
    assert (said[-1]["type"], said[-1]["allowReconnect"]) == (7, True)
    assert (await client.poll()).status == 204
    await draining
    assert scene.east.app_sessions() == 0


async def test_a_pod_does_not_end_while_an_answer_is_on_its_way_through_it(scene: Around) -> None:
    client = await poller(scene.east)
    polling = await poll_from_the_west(scene, client)
    assert scene.west.parts.pods is not None
    waiting = asyncio.ensure_future(scene.west.parts.pods.emptied())
    await asyncio.sleep(0)
    assert not waiting.done()
    await client.send(call("Echo", 1, id_="1"))
    await asyncio.wait_for(waiting, 10)
    assert parsed((await polling).body)[0]["result"] == 1
