"""Socket.IO sessions whose requests come to any pod: polls, posts and upgrades are carried to the one that has them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from signaling.config import Config
from signaling.pods.directory_redis import RedisDirectory
from signaling.server import drain
from signaling.transports.engineio_elsewhere import CONTENT_TYPE, ROUTE
from signaling.transports.forward import CONNECTION
from tests.eventually import eventually
from tests.signaling.conftest import House
from tests.signaling.pods_around import Around, around, forwarded, len_of
from tests.signaling.pods_inside import inside, internal_of
from tests.signaling.socketio.by_hand import HUB, POLLING, WEBSOCKET, PollingByHand, SocketByHand

UNKNOWN = {"code": 1, "message": "Session ID unknown"}


@pytest.fixture
async def scene() -> AsyncIterator[Around]:
    async with around() as scene:
        yield scene


async def called(client: PollingByHand, ack_id: int) -> str:
    """Who the hub says it is."""
    assert await client.post(f'42{HUB},{ack_id}["WhoAmI"]') == 200
    return await acknowledged(client, ack_id)


async def acknowledged(client: PollingByHand, ack_id: int) -> str:
    head = f"43{HUB},{ack_id}["
    while True:
        status, body = await client.poll()
        assert status == 200
        for packet in body.split("\x1e"):
            if packet.startswith(head):
                answer: dict[str, Any] = json.loads(packet[len(head) - 1 :])[0]
                return str(answer["user"])


async def waiting_in_the_east(scene: Around, client: PollingByHand) -> "asyncio.Task[tuple[int, str]]":
    """A poll that was brought from the west, and waits."""
    client.house = scene.west
    polling = asyncio.create_task(client.poll())
    await eventually(lambda: len_of(scene.west) == 1 and any(one._poll for one in sockets(scene.east).values()))
    return polling


def sockets(house: House) -> dict[str, Any]:
    """The Engine.IO sessions of a pod."""
    routes = next(one for one in house.parts.routes if hasattr(one, "_sio"))
    found: dict[str, Any] = routes._sio.front.sockets
    return found


async def unknown(house: House, path: str) -> None:
    async with house.http.get(house.url + path) as answer:
        assert (answer.status, await answer.json()) == (400, UNKNOWN)


async def test_polls_and_posts_come_to_any_pod(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    for number in range(4):
        client.house = scene.pods[number % 2]
        assert await called(client, number) == "ann"
    assert (len(sockets(scene.east)), len(sockets(scene.west))) == (1, 0)
    assert (forwarded(scene.west, "poll"), forwarded(scene.west, "post")) == (2, 2)


async def test_a_session_is_taken_over_by_a_socket_that_comes_to_another_pod(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    polling = await waiting_in_the_east(scene, client)
    frames = await scene.west.socket(f"{scene.west.url.replace('http', 'ws')}{WEBSOCKET}&sid={client.sid}")
    await frames.send_str("2probe")
    assert (await frames.receive()).data == "3probe"
    assert await polling == (200, "6")
    await frames.send_str("5")
    upgraded = SocketByHand(scene.west, frames)
    for number in range(3):
        hello = {"contract": 1, "app": "phone", "unknown": "x" * 20_000}
        assert (await upgraded.call(number, "Hello", hello))["contract"] == 1
    assert forwarded(scene.west, "socket") == 1
    await frames.close()
    await eventually(lambda: not sockets(scene.east))


async def test_without_redis_nothing_has_to_be_asked(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    await scene.lose_bus()
    client.house = scene.west
    assert await called(client, 1) == "ann"


async def test_a_pod_that_nobody_can_be_asked_for_is_not_taken_for_gone(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    assert scene.west.parts.pods is not None
    directory = scene.west.parts.pods._directory
    assert isinstance(directory, RedisDirectory)
    await scene.lose_bus()
    # As of one that has just begun, and has heard of nobody.
    directory._become({})
    async with scene.west.http.get(f"{scene.west.url}{POLLING}&sid={client.sid}") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert forwarded(scene.west, "poll", "unknown") == 1
    scene.bus.start()
    await eventually(lambda: directory.address_of(scene.east.parts.pods.pod))  # type: ignore[union-attr]  # a house of pods
    client.house = scene.west
    assert await called(client, 1) == "ann"


async def test_what_breaks_the_protocol_is_refused_as_by_the_pod_that_has_the_session(scene: Around) -> None:
    for body, headers, status in (
        ("x" * 100_000, {}, 413),
        ("42/hub,", {"Content-Type": "application/octet-stream"}, 400),
        ("9", {}, 400),
    ):
        client = await PollingByHand.enter(scene.east)
        client.house = scene.west
        assert await client.post(body, **headers) == status
        await eventually(lambda: not sockets(scene.east))
        await unknown(scene.west, f"{POLLING}&sid={client.sid}")


async def test_an_id_that_no_pod_has_made_is_carried_nowhere(scene: Around) -> None:
    client = await PollingByHand.dial(scene.east)
    sid = client.sid
    assert sid not in sockets(scene.west)
    changed = sid[:-2] + ("AA" if sid[-2:] != "AA" else "BB")
    for path in (f"{POLLING}&sid={changed}", f"{POLLING}&sid=nobody", f"{POLLING}&sid=&x=%ff"):
        await unknown(scene.west, path)
    async with scene.west.http.put(f"{scene.west.url}{POLLING}&sid={sid}") as answer:
        assert answer.status == 400
    assert forwarded(scene.west, "poll") == 0


async def test_a_session_that_has_ended_is_unknown_on_every_pod(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    assert await client.post("1") == 200
    for pod in scene.pods:
        await unknown(pod, f"{POLLING}&sid={client.sid}")
    # And what was carried is never carried on.
    async with inside(scene.west) as pods:
        headers = {CONNECTION: client.sid, CONTENT_TYPE: "text/plain"}
        address, to = internal_of(scene.west).address, pod_of(scene.west)
        async with pods.ask(address, "GET", ROUTE, to=to, timeout_s=5, headers=headers) as answer:
            assert answer.status == 400
    assert forwarded(scene.west, "poll") == 1


async def test_with_its_pod_a_session_is_gone_at_once(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    client.house = scene.west
    await internal_of(scene.east).close()
    await unknown(scene.west, f"{POLLING}&sid={client.sid}")
    assert forwarded(scene.west, "poll", "gone") == 1


async def test_polls_go_home_before_the_pod_that_carries_them_ends(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    polling = await waiting_in_the_east(scene, client)
    await drain(scene.west.parts, Config(drain_s=5))
    assert await polling == (200, "6")
    # Another one through it does not wait for long.
    assert await asyncio.wait_for(client.poll(), 10) == (200, "6")
    client.house = scene.east
    assert await called(client, 1) == "ann"


async def test_a_poll_that_is_carried_brings_the_goodbye_of_its_pod(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    polling = await waiting_in_the_east(scene, client)
    draining = asyncio.create_task(drain(scene.east.parts, Config(drain_s=5)))
    said = (await polling)[1]
    assert '["Draining"' in said
    while "1" not in said.split("\x1e"):
        status, said = await client.poll()
        assert status == 200
    await draining
    assert not sockets(scene.east)


async def test_a_page_of_another_site_reaches_no_pod(scene: Around) -> None:
    client = await PollingByHand.enter(scene.east)
    headers = {"Origin": "https://evil.example"}
    async with scene.west.http.get(f"{scene.west.url}{POLLING}&sid={client.sid}", headers=headers) as answer:
        assert answer.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await scene.west.http.ws_connect(f"{scene.west.url}{WEBSOCKET}&sid={client.sid}", headers=headers)
    assert len_of(scene.west) == forwarded(scene.west, "poll") == forwarded(scene.west, "socket") == 0


def pod_of(house: House) -> str:
    assert house.parts.pods is not None
    return house.parts.pods.pod
