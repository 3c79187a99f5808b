"""What may wait, and how long, while pods carry requests for each other; and pods that are gone, silent or ending."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from signaling.pods.internal_client import READ_BYTES
from signaling.pods.owners_redis import RedisOwners
from tests.eventually import eventually
from tests.signaling.by_hand import (
    HELLO,
    HUB,
    EventReader,
    Poller,
    call,
    event_reader,
    negotiate,
    parsed,
    poller,
    request,
)
from tests.signaling.conftest import House
from tests.signaling.pods_around import Around, around, forwarded, len_of, poll_from_the_west
from tests.signaling.pods_inside import internal_of
from tests.signaling.raw_websocket import dial
from tests.signaling.returning import answer_to, returning

# What the HTTP library lets wait for a client before it waits itself.
CLIENT_BUFFER_BYTES = 65_536
REACHED = "auricle_bound_reached_total"


@pytest.fixture
async def scene() -> AsyncIterator[Around]:
    async with around() as scene:
        yield scene


async def test_so_many_are_carried_and_no_more() -> None:
    async with around(max_forwards=1) as scene:
        client = await poller(scene.east)
        client.house = scene.west
        polling = asyncio.ensure_future(client.poll())
        await eventually(lambda: len_of(scene.west) == 1)
        answer = await client.ask("POST", data=call("Echo", 1, id_="1"))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert scene.west.metric(REACHED, bound="max_forwards") == 1
        assert forwarded(scene.west, "post", "full") == 1
        client.house = scene.east
        await client.send(call("Echo", 1, id_="1"))
        assert parsed((await polling).body)[0]["result"] == 1


async def test_a_pod_that_was_killed_is_gone_at_once(scene: Around) -> None:
    client = await poller(scene.east)
    polling = await poll_from_the_west(scene, client)
    # As after SIGKILL: nobody says goodbye, and the directory still believes in it.
    await cut(scene.east)
    assert (await polling).status == 404
    assert forwarded(scene.west, "poll", "gone") == 1
    assert (await client.ask("POST", data=call("Echo", 1))).status == 404
    assert forwarded(scene.west, "post", "gone") == 1
    answer = await client.ask("POST", data=call("Echo", 1))
    assert answer.body == b"No Connection with that ID"
    refreshed = await request(scene.west, "POST", f"{HUB}/refresh?id={client.ticket.token}")
    assert (refreshed.status, b"connection_not_found" in refreshed.body) == (404, True)


async def cut(pod: House) -> None:
    """Nothing of this pod is reached inside any more."""
    runner = internal_of(pod)._runner
    assert runner is not None
    assert runner.server is not None
    for site in tuple(runner.sites):
        await site.stop()
    for connection in runner.server.connections:
        if connection.transport is not None:
            connection.transport.abort()


async def test_a_pod_that_the_others_know_to_be_gone_is_not_waited_for(scene: Around) -> None:
    client = await poller(scene.east)
    polling = await poll_from_the_west(scene, client)
    assert scene.east.parts.pods is not None
    await scene.east.parts.pods.joined.directory.close()
    await scene.until(polling.done)
    assert (await polling).status == 404


@asynccontextmanager
async def silent_pod(scene: Around) -> AsyncIterator[None]:
    """From now on the east takes connections, and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        assert scene.east.parts.pods is not None
        directory = scene.east.parts.pods.joined.directory
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        directory.reached_at(address)
        await eventually(lambda: knows(scene.west, directory.pod) == address)
        yield


def knows(house: House, pod: str) -> str | None:
    assert house.parts.pods is not None
    return house.parts.pods.joined.directory.address_of(pod)


async def test_a_pod_that_says_nothing_is_waited_for_no_longer_than_is_allowed() -> None:
    async with around(forward_timeout_s=0.1, poll_timeout_s=0.2, owner_answer_s=0.05) as scene:
        client = await poller(scene.east)
        stateful = await returning(scene.east)
        async with silent_pod(scene):
            client.house = stateful.house = scene.west
            for method in ("GET", "POST", "DELETE"):
                answer = await client.ask(method)
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert await answer_to(stateful) == 503
            assert scene.west.metric(REACHED, bound="forward_timeout_s") == 4
            # And one that should say whether it has a connection.
            await scene.lose_bus()
            other = Poller(scene.west, await negotiate(scene.west))
            assert (await other.poll()).status == 200
            assert scene.west.metric(REACHED, bound="owner_answer_s") == 1


async def test_who_answers_in_the_place_of_a_pod_is_not_believed(scene: Around) -> None:
    client = await poller(scene.east)
    app = web.Application()

    async def lie(_: web.Request) -> web.Response:
        return web.Response(text="a lie", headers={"Auricle-Answer": "stream.0"})

    app.router.add_route("*", "/{any:.*}", lie)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        assert scene.east.parts.pods is not None
        directory = scene.east.parts.pods.joined.directory
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        directory.reached_at(address)
        await eventually(lambda: knows(scene.west, directory.pod) == address)
        client.house = scene.west
        answer = await client.poll()
        assert (answer.status, answer.body) == (404, b"No Connection with that ID")
        assert forwarded(scene.west, "poll", "refused") == 1
    finally:
        await runner.cleanup()


async def test_a_pod_that_fails_to_say_whose_a_connection_is_has_not_said_it() -> None:
    async with around() as scene:
        other = Poller(scene.west, await negotiate(scene.east))
        await scene.lose_bus()
        assert scene.east.parts.pods is not None
        whereabouts = scene.east.parts.pods._whereabouts
        assert whereabouts is not None

        def fail(_: str) -> bool:
            raise web.HTTPInternalServerError(text="some words")

        whereabouts.holds.insert(0, fail)
        # Not carried to a pod of that name.
        assert (await other.poll()).status == 200
        assert scene.west.metric("auricle_pods_unreached_total") == 1


async def test_so_many_connections_of_others_are_remembered_and_no_more() -> None:
    async with around(max_known_owners=1) as scene:
        clients = [await poller(scene.east) for _ in range(3)]
        for client in clients:
            client.house = scene.west
            await client.send(call("Echo", 1, id_="1"))
        assert scene.west.metric(REACHED, bound="max_known_owners") == 2
        for client in clients:
            assert (await client.messages(1))[0]["result"] == 1


async def test_and_so_many_decisions_about_connections_while_redis_cannot_be_asked() -> None:
    async with around(max_known_owners=2) as scene:
        await scene.lose_bus()
        assert scene.east.parts.pods is not None
        clients = [await poller(scene.east) for _ in range(5)]
        for client in clients:
            await client.send(call("Echo", 1, id_="1"))
            assert (await client.messages(1))[0]["result"] == 1
        whereabouts, owners = scene.east.parts.pods._whereabouts, scene.east.parts.pods._owners
        assert whereabouts is not None
        assert isinstance(owners, RedisOwners)
        assert (len(whereabouts._decided), len(owners._unwritten)) == (2, 2)
        # Three of five were too many, for either table.
        assert scene.east.metric(REACHED, bound="max_known_owners") == 6


async def test_of_so_many_connections_pods_are_asked_at_a_time() -> None:
    async with around(max_owner_questions=1, owner_answer_s=5) as scene:
        first, second = await negotiate(scene.west), await negotiate(scene.west)
        async with silent_pod(scene):
            await scene.lose_bus()
            waiting = asyncio.ensure_future(Poller(scene.west, first).poll())
            assert scene.west.parts.pods is not None
            whereabouts = scene.west.parts.pods._whereabouts
            assert whereabouts is not None
            await eventually(lambda: whereabouts._asking == 1)
            answer = await Poller(scene.west, second).poll()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert scene.west.metric(REACHED, bound="max_owner_questions") == 1
            waiting.cancel()


async def test_a_reader_that_does_not_read_is_dropped_by_the_pod_that_has_it() -> None:
    """What waits for it is bounded on both pods."""
    limit_bytes = 100_000
    async with around(max_send_queue_bytes=limit_bytes) as scene:
        slow = EventReader(scene.east, await negotiate(scene.east))
        assert await slow.post(HELLO + call("JoinGroup", "g")) == 200
        wire = await dial(scene.west, narrow=True)
        lines = [f"GET {slow.path} HTTP/1.1", "Host: x", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in scene.west.bearer().items()]
        wire.send("\r\n".join((*lines, "", "")).encode())
        await wire.reader.readuntil(b":\r\n\r\n")
        transport = slow.session.transport
        async with event_reader(scene.east) as loud:
            word, most, held, sent = "x" * 10_000, 0, 0, 0
            while not scene.east.metric(REACHED, bound="max_send_queue_bytes"):
                await loud.send(call("ToGroup", "g", "news", word, id_="1"))
                await loud.until("1")
                most, held = max(most, transport.waiting_bytes), max(held, held_by(scene.west))
                sent += 1
                assert sent < 3_000
            assert most <= limit_bytes + 11_000
            assert 0 < held <= 2 * READ_BYTES + CLIENT_BUFFER_BYTES
            await scene.until(lambda: scene.east.app_sessions() == 1)
            # The other pod has nothing to tell it, so it is given as long as a poll.
            assert len_of(scene.west) == 1
            scene.west.monotonic.now_s += 90
            scene.west.sweep()
            assert scene.west.metric(REACHED, bound="forward_timeout_s") == 1
            await eventually(lambda: len_of(scene.west) == 0)
            assert '"cause": "slow_consumer"' in scene.east.log.getvalue()


def held_by(pod: House) -> int:
    """What waits in a pod for clients of others."""
    assert pod.runner.server is not None
    return sum(
        connection.transport.get_write_buffer_size()
        for connection in pod.runner.server.connections
        if connection.transport is not None
    )
