"""The client's half of long polling and of Server-Sent Events: what a POST is answered, and when it waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from protocol.signalr.codec import MESSAGEPACK
from protocol.signalr.messages import Completion, Invocation
from signaling.transports.posts import PostedTransport
from tests.eventually import eventually
from tests.signaling.by_hand import (
    HELLO,
    HUB,
    PATIENCE_S,
    Poller,
    Posted,
    call,
    done,
    event_reader,
    items,
    negotiate,
    parsed,
    poller,
    request,
)
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rehearsal import Rehearsal

UNKNOWN = b"No Connection with that ID"


async def test_a_post_is_answered_with_an_empty_text_before_its_calls_have_run(open_house: OpenHouse) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub)
    client = await poller(house, hub=hub.path)
    for kind in ("text/plain;charset=UTF-8", "application/octet-stream"):
        headers = house.bearer() | {"Content-Type": kind}
        answer = await client.ask("POST", data=call("Wait", 7, id_=kind), headers=headers)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Type"].partition(";")[0] == "text/plain"
    assert hub.notes == ["wait 7"]
    hub.gate.set()
    assert [message["result"] for message in await client.messages(2)] == [7, 7]


async def test_posts_of_one_connection_are_taken_in_one_after_the_other(house: House) -> None:
    client = await poller(house)
    whole, begun, go_on = call("Echo", "first", id_="1"), asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield whole[:20]
        begun.set()
        await go_on.wait()
        yield whole[20:]

    slow = asyncio.create_task(client.ask("POST", data=slowly()))
    await begun.wait()
    await eventually(client.transport.inbox._turn.locked)
    quick = asyncio.create_task(client.ask("POST", data=call("Echo", "second", id_="2")))
    assert (await asyncio.wait({quick}, timeout=0.05))[0] == set()
    go_on.set()
    assert [(await slow).status, (await quick).status] == [200, 200]
    assert [message["result"] for message in await client.messages(2)] == ["first", "second"]


async def test_the_refusals_of_a_post(open_house: OpenHouse) -> None:
    house = await open_house(max_frame_bytes=1_000)
    client = await poller(house)
    assert (await request(house, "POST", HUB, data=HELLO)).status == 400
    assert (await request(house, "POST", f"{HUB}?id=nobody", data=HELLO)).status == 404
    token = (await negotiate(house)).token
    await house.socket(f"{house.url}{HUB}?id={token}", headers=house.bearer())
    assert (await request(house, "POST", f"{HUB}?id={token}", data=HELLO)).status == 405
    assert await client.post(call("Echo", "x" * 1_000, id_="1")) == 413
    fits = call("Echo", "", id_="2")
    assert await client.post(call("Echo", "x" * (1_000 - len(fits)), id_="2")) == 200
    assert (await client.messages(1))[0]["invocationId"] == "2"


async def test_a_broken_body_is_400_and_hurts_nobody(house: House) -> None:
    client = await poller(house)
    compressed = house.bearer() | {"Content-Encoding": "gzip"}
    assert (await client.ask("POST", data=b"not gzip", headers=compressed)).status == 415
    begun = asyncio.Event()

    async def never_ends() -> AsyncIterator[bytes]:
        yield b"{"
        begun.set()
        await asyncio.Event().wait()

    async with aiohttp.ClientSession(headers=house.bearer()) as other:
        post = asyncio.create_task(other.post(house.url + client.path, data=never_ends()))
        await begun.wait()
        await eventually(client.transport.inbox._turn.locked)
        post.cancel()
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1
    assert "crashed" not in house.log.getvalue()


@pytest.mark.parametrize("transport", ["events", "polls"])
async def test_a_body_far_larger_than_a_message_is_handed_on_as_it_comes(house: House, transport: str) -> None:
    async with AsyncExitStack() as streams:
        client: Posted = await (
            streams.enter_async_context(event_reader(house)) if transport == "events" else poller(house)
        )
        texts = [f"{number}" * 10_000 for number in range(10, 99)]
        post = asyncio.create_task(client.post(*(call("Echo", text, id_=text[:2]) for text in texts)))
        assert [message["result"] for message in await client.messages(len(texts))] == texts
        assert await post == 200


async def test_a_large_body_waits_half_read_while_the_calls_in_it_do(open_house: OpenHouse) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub)
    client = await poller(house, hub=hub.path)
    await client.send(call("Gather", id_="a", streams=("s",)))
    session = client.session
    post = asyncio.create_task(client.post(items("s", *range(20_000)), done("s")))
    await eventually(lambda: session._parked is not None)
    assert (await asyncio.wait({post}, timeout=0.05))[0] == set()
    assert session._parked is not None
    assert session._parked.size_bytes < 4 * 65_536
    hub.gate.set()
    assert await post == 200
    assert (await client.messages(1))[0]["result"] == list(range(20_000))


@pytest.mark.parametrize("how", ["broken", "slow", "large"])
async def test_a_body_that_ends_within_a_message_ends_its_connection(open_house: OpenHouse, how: str) -> None:
    house = await open_house(body_timeout_s=0.2 if how == "slow" else 60.0, max_frame_bytes=200_000)
    client, begun = await poller(house), asyncio.Event()
    opened = client.session

    async def beginning() -> AsyncIterator[bytes]:
        for number in range(100_000 if how == "large" else 50):
            yield call("Echo", "x" * 2_000, id_=str(number))
        yield b'{"type":'
        begun.set()
        await asyncio.Event().wait()

    async with aiohttp.ClientSession(headers=house.bearer()) as other:
        post = asyncio.create_task(other.post(house.url + client.path, data=beginning()))
        if how == "broken":
            await begun.wait()
            await eventually(lambda: opened._outbox.transport.waiting_bytes > 0)
            post.cancel()
        await eventually(lambda: opened.is_ending)
        post.cancel()
    found = parsed((await client.poll()).body)
    assert found[-1] == {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
    assert all(len(message["result"]) == 2_000 for message in found[:-1])
    assert "crashed" not in house.log.getvalue()


async def test_a_post_to_a_connection_that_has_been_told_goodbye_is_404(house: House) -> None:
    client = await poller(house)
    await client.send(call("Abort"))
    assert await client.post(call("Echo", 1, id_="1")) == 404


async def test_posts_wait_while_the_calls_before_them_do_and_none_is_lost(open_house: OpenHouse) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub, max_pending_calls=3)
    client = await poller(house, hub=hub.path)
    # One runs, three wait; the one that reached the bound was taken in.
    for number in range(4):
        await client.send(call("Wait", number, id_=str(number)))
    transport = client.transport
    posts = [asyncio.create_task(client.post(call("Wait", n, id_=str(n)))) for n in range(4, 8)]
    await eventually(lambda: transport.inbox.posts == 4)
    assert (await asyncio.wait(posts, timeout=0.05))[0] == set()
    assert await client.post(call("Wait", 99, id_="99")) == 429
    assert hub.notes == ["wait 0"]
    assert house.metric("auricle_bound_reached_total", bound="max_pending_calls") == 2
    hub.gate.set()
    assert [await post for post in posts] == [200] * 4
    assert sorted(message["result"] for message in await client.messages(8)) == list(range(8))


@pytest.mark.parametrize("transport", ["events", "polls"])
async def test_a_post_that_waits_is_told_when_the_connection_ends(open_house: OpenHouse, transport: str) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub, max_waiting_bytes=600)
    async with AsyncExitStack() as streams:
        opened = event_reader(house, hub=hub.path)
        client: Posted = await (
            streams.enter_async_context(opened) if transport == "events" else poller(house, hub=hub.path)
        )
        await client.send(call("Gather", id_="a", streams=("s",)), items("s", *range(10)))
        for _ in range(2 if transport == "events" else 0):
            # What a client of event streams posts is taken in for a while, since its pings are among it.
            await client.send(items("s", *range(12)))
        carrier = client.session.transport
        assert isinstance(carrier, PostedTransport)
        post = asyncio.create_task(client.post(items("s", 10)))
        await eventually(lambda: carrier.inbox.posts == 1)
        client.session.abort()
        assert await asyncio.wait_for(post, PATIENCE_S) == 404


async def test_messagepack_travels_in_polls_and_posts(house: House) -> None:
    client = Poller(house, await negotiate(house))
    await client.poll()
    value = {"bytes": b"\x00\x1e\xff"}
    echo = Invocation("Echo", (MESSAGEPACK.encode_value(value),), invocation_id="1")
    await client.send(b'{"protocol":"messagepack","version":1}\x1e', MESSAGEPACK.encode(echo))
    body = (await client.poll()).body
    assert body.startswith(b"{}\x1e")
    answer = MESSAGEPACK.decode(body.removeprefix(b"{}\x1e")[1:])
    assert isinstance(answer, Completion)
    assert MESSAGEPACK.binder(object)(answer.result) == value  # type: ignore[arg-type]  # a received result is Raw
