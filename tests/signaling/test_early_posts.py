"""What a client posts before its first poll or event stream: kept, bounded, handed on in order, forgotten in time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from signaling.transports.posts import Inbox
from signaling.transports.routes import HubRoutes
from tests.eventually import eventually
from tests.signaling.by_hand import HELLO, HUB, EventReader, Poller, Posted, Socket, call, negotiate, request
from tests.signaling.conftest import House, OpenHouse

UNKNOWN = b"No Connection with that ID"
ECHO = call("Echo", "early", id_="1")
ANSWERED = [{}, {"type": 3, "invocationId": "1", "result": "early"}]


async def early(house: House, *bodies: bytes) -> Poller:
    """A connection that has been posted to, each body in a request of its own, and is not open."""
    client = Poller(house, await negotiate(house))
    for body in bodies:
        assert await client.post(body) == 200
    return client


def waiting(house: House) -> dict[str, Inbox]:
    """The inboxes of all connections that are not open."""
    rooms = [routes._waiting for routes in house.parts.routes if isinstance(routes, HubRoutes)]
    return {key: inbox for room in rooms for key, (inbox, _) in room._inboxes.items()}


async def test_a_poll_brings_the_answers_to_what_was_posted_before_it(house: House) -> None:
    for bodies in ((HELLO, ECHO), (HELLO + ECHO,), (HELLO[:9], HELLO[9:] + ECHO[:20], ECHO[20:])):
        client = await early(house, *bodies)
        first = await client.poll()
        assert (first.status, first.body) == (200, b"")
        assert await client.messages(2) == ANSWERED
        await client.send(call("Echo", "later", id_="2"))
        assert (await client.messages(1))[0]["result"] == "later"


async def test_an_event_stream_brings_them_behind_its_first_comment(house: House) -> None:
    posted = await early(house, HELLO, ECHO)
    client = EventReader(house, posted.ticket)
    headers = client.headers | {"Accept": "text/event-stream"}
    async with house.http.get(house.url + client.path, headers=headers) as response:
        client.response = response
        assert await client.event() == b":\r\n\r\n"
        assert await client.messages(2) == ANSWERED
        await client.send(call("Echo", "later", id_="2"))
        assert (await client.messages(1))[0]["result"] == "later"


async def test_a_websocket_brings_them_too_and_takes_no_more_posts(house: House) -> None:
    posted = await early(house, HELLO + ECHO)
    client = Socket(house, posted.ticket)
    client.frames = await house.socket(house.url + client.path, headers=client.headers)
    assert await client.messages(2) == ANSWERED
    assert await posted.post(ECHO) == 405


async def test_what_was_wrong_with_it_is_said_when_somebody_listens(house: House) -> None:
    client = await early(house, b'{"protocol":"morse","version":1}\x1e')
    assert (await client.poll()).body == b""
    assert await client.messages(1) == [{"error": "The protocol 'morse' is not supported."}]
    assert (await client.poll()).status == 204


async def test_a_post_that_is_still_coming_when_the_connection_opens_is_not_lost(house: House) -> None:
    client = await early(house, HELLO)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield ECHO[:10]
        begun.set()
        await go_on.wait()
        yield ECHO[10:]

    inbox = waiting(house)[client.ticket.connection_id]
    slow = asyncio.create_task(client.ask("POST", data=slowly()))
    await begun.wait()
    await eventually(inbox._turn.locked)
    await client.poll()
    quick = asyncio.create_task(client.post(call("Echo", "behind", id_="2")))
    await eventually(lambda: inbox.posts == 2)
    go_on.set()
    assert [(await slow).status, await quick] == [200, 200]
    assert [message.get("result") for message in await client.messages(3)] == [None, "early", "behind"]


async def test_no_more_bytes_than_configured_are_kept(open_house: OpenHouse) -> None:
    house = await open_house(max_early_bytes=150)
    client = await early(house, HELLO)
    assert (await client.ask("POST", data=ECHO + b" " * 100)).status == 413
    assert house.metric("auricle_bound_reached_total", bound="max_early_bytes") == 1
    assert await client.post(ECHO) == 200
    await client.poll()
    assert await client.messages(2) == ANSWERED


async def test_no_more_connections_than_configured_wait_and_they_do_not_wait_for_ever(open_house: OpenHouse) -> None:
    house = await open_house(max_early_connections=1)
    first, second = await early(house, HELLO), Poller(house, await negotiate(house))
    refused = await second.ask("POST", data=HELLO)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert house.metric("auricle_bound_reached_total", bound="max_early_connections") == 1
    await first.poll()
    assert await second.post(HELLO) == 200
    house.wall.now_s += 15.1
    house.sweep()
    third = await early(house, HELLO)
    for client, status in ((second, 404), (third, 200)):
        answer = await client.poll()
        assert answer.status == status
    assert waiting(house) == {}


async def test_a_connection_that_was_given_up_takes_no_posts_that_were_on_their_way(house: House) -> None:
    client = await early(house, HELLO)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        begun.set()
        await go_on.wait()
        yield b"}\x1e"

    inbox = waiting(house)[client.ticket.connection_id]
    slow = asyncio.create_task(client.ask("POST", data=slowly()))
    await begun.wait()
    await eventually(inbox._turn.locked)
    house.wall.now_s += 15.1
    house.sweep()
    go_on.set()
    answer = await slow
    assert (answer.status, answer.body) == (404, UNKNOWN)


@pytest.mark.parametrize(("user", "clinic"), [("bob", "c1"), ("ann", "c2")])
async def test_somebody_else_can_say_nothing_for_it(house: House, user: str, clinic: str) -> None:
    client = await early(house, HELLO)
    answer = await request(
        house, "POST", client.path, headers=house.bearer(user, clinic=clinic), data=call("Abort") + ECHO
    )
    assert (answer.status, answer.body) == (404, UNKNOWN)
    await client.poll()
    assert await client.messages(1) == [{}]


async def test_a_server_that_is_full_or_drains_keeps_nothing(open_house: OpenHouse) -> None:
    house = await open_house(max_connections=1)
    client: Posted = Poller(house, await negotiate(house))
    await house.socket(house.url + HUB, headers=house.bearer())
    assert (await client.ask("POST", data=HELLO)).status == 503
    house.parts.readiness.draining = True
    assert (await client.ask("POST", data=HELLO)).status == 503
    assert waiting(house) == {}
