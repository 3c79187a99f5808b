"""Server-Sent Events as a stranger meets them: headers, the exact bytes of an event, status codes, and every end."""

import asyncio
import socket

import aiohttp
import pytest

from signaling.server import drain
from signaling.transports.event_stream import EventStreamTransport, event
from signaling.transports.posts import Inbox
from tests.eventually import eventually
from tests.signaling.by_hand import (
    HELLO,
    HUB,
    PATIENCE_S,
    EventReader,
    call,
    cancel,
    done,
    event_reader,
    items,
    negotiate,
    poller,
    request,
    stream,
)
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rehearsal import Rehearsal

ACCEPT = {"Accept": "text/event-stream"}


async def test_headers_and_a_first_comment_come_at_once(house: House) -> None:
    ticket = await negotiate(house)
    url = f"{house.url}{HUB}?id={ticket.token}"
    async with house.http.get(url, headers=house.bearer() | ACCEPT) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache,no-store"
        assert response.headers["Content-Encoding"] == "identity"
        assert await asyncio.wait_for(response.content.readexactly(5), PATIENCE_S) == b":\r\n\r\n"
        assert house.app_sessions() == 1


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"{}\x1e", b"data: {}\x1e\r\n\r\n"),
        (b"a\nb\x1e", b"data: a\r\ndata: b\x1e\r\n\r\n"),
        (b"a\r\nb\rc\x1e", b"data: a\r\ndata: b\r\ndata: c\x1e\r\n\r\n"),
        ("\u2028".encode(), b"data: \xe2\x80\xa8\r\n\r\n"),
    ],
)
def test_every_line_of_an_event_has_its_prefix(payload: bytes, expected: bytes) -> None:
    assert event(payload) == expected


async def test_a_batch_is_one_event_and_a_value_over_several_lines_stays_whole(house: House) -> None:
    async with event_reader(house) as client:
        await client.send(call("Echo", 1, id_="1"), call("Echo", 2, id_="2"))
        assert await client.event() == (
            b'data: {"type":3,"invocationId":"1","result":1}\x1e{"type":3,"invocationId":"2","result":2}\x1e\r\n\r\n'
        )
        await client.send(
            b'{"type":1,"target":"Echo","invocationId":"3","arguments":[{"a":\r\n 1,\n\n"b":"\\r\\n"}]}\x1e'
        )
        found = await client.event()
        assert found.count(b"data: ") == 4
        client.inbox.clear()
        await client.send(
            b'{"type":1,"target":"Echo","invocationId":"4","arguments":[{"a":\r\n 1,\n\n"b":"\\r\\n"}]}\x1e'
        )
        assert (await client.messages(1))[0]["result"] == {"a": 1, "b": "\r\n"}


async def test_messagepack_is_refused_with_microsofts_words(house: House) -> None:
    async with event_reader(house, hello=b'{"protocol":"messagepack","version":1}\x1e') as client:
        assert await client.rest() == [
            {
                "error": "Cannot use the 'messagepack' protocol on the current transport. "
                "The transport does not support 'Binary' transfer format."
            }
        ]
    assert house.app_sessions() == 0


async def test_a_second_event_stream_is_409_and_other_transports_are_400(house: House) -> None:
    async with event_reader(house) as client:
        assert (await client.ask("GET", headers=house.bearer() | ACCEPT)).status == 409
        poll = await client.ask("GET")
        assert (poll.status, poll.body) == (400, b"Cannot change transports mid-connection")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await house.socket(house.url + client.path, headers=house.bearer())
        assert refused.value.status == 400
        assert (await client.ask("DELETE")).status == 400
        await client.send(call("Echo", "alive", id_="1"))
        assert (await client.messages(1))[0]["result"] == "alive"


async def test_tokens_of_others_find_nothing_and_a_browser_may_use_the_query(house: House) -> None:
    ticket = await negotiate(house)
    url = f"{house.url}{HUB}?id={ticket.token}"
    assert (await request(house, "GET", f"{HUB}?id={ticket.token}", headers=house.bearer("bob") | ACCEPT)).status == 404
    async with house.http.get(url, headers=ACCEPT) as bare:
        assert bare.status == 401
    async with house.http.get(f"{url}&access_token={house.token()}", headers=ACCEPT) as response:
        client = EventReader(house, ticket)
        client.response = response
        assert await client.event() == b":\r\n\r\n"
        await client.send(HELLO)
        assert await client.messages(1) == [{}]
        assert (await client.ask("POST", "bob", data=call("Abort"))).status == 404
        async with house.http.post(f"{url}&access_token={house.token()}", data=call("Abort")) as post:
            assert post.status == 401
        await client.send(call("Echo", 1, id_="1"))
        assert (await client.messages(1))[0]["result"] == 1


async def test_pings_keep_the_stream_alive_and_silence_after_a_ping_ends_it(house: House) -> None:
    async with event_reader(house) as client:
        for _ in range(2):
            house.monotonic.now_s += 15
            house.sweep()
            assert await client.messages(1) == [{"type": 6}]
        await client.send(b'{"type":6}\x1e')
        house.monotonic.now_s += 30
        house.sweep()
        found = await client.rest()
        assert found[-1] == {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
    await eventually(lambda: '"cause": "client_timeout"' in house.log.getvalue())


async def test_abort_ends_the_response_behind_the_last_words(house: House) -> None:
    async with event_reader(house) as client:
        await client.send(call("Echo", 1, id_="1"), call("Abort"), call("Echo", 2, id_="2"))
        assert await client.rest() == [{"type": 3, "invocationId": "1", "result": 1}, {"type": 7}]
        assert house.app_sessions() == 0
        for method in ("GET", "POST", "DELETE"):
            assert (await client.ask(method)).status == 404


async def test_a_broken_message_ends_the_response_with_a_word(house: House) -> None:
    async with event_reader(house) as client:
        await client.send(b"rubbish\x1e")
        assert await client.rest() == [{"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}]


async def test_a_client_that_closes_its_end_is_seen_at_the_next_look(house: House) -> None:
    async with event_reader(house) as client:
        connections = house.http_connections()
        client.response.close()
        await eventually(lambda: house.http_connections() < connections)
        assert house.app_sessions() == 1
        house.sweep()
        await eventually(lambda: house.app_sessions() == 0)
        await eventually(lambda: '"cause": "gone"' in house.log.getvalue())


async def test_a_client_that_closes_its_end_is_seen_when_something_is_sent(house: House) -> None:
    async with event_reader(house) as client, event_reader(house, "bob") as other:
        connections = house.http_connections()
        client.response.close()
        await eventually(lambda: house.http_connections() < connections)
        await other.send(call("ToUser", "ann", "news", 1, id_="1"))
        assert (await other.messages(1))[0]["type"] == 3
        await eventually(lambda: house.app_sessions() == 1)


async def test_a_drain_says_goodbye_with_leave_to_come_back(house: House) -> None:
    async with event_reader(house) as client, event_reader(house, "bob") as other:
        await drain(house.parts, house.parts.hubs[0].config)
        for one in (client, other):
            assert await one.rest() == [{"type": 7, "error": "The server is shutting down.", "allowReconnect": True}]
    fresh = await request(house, "GET", HUB + "?id=x", headers=house.bearer() | ACCEPT)
    assert fresh.status == 404


async def test_the_end_of_the_token_is_the_end_of_the_connection(house: House) -> None:
    async with event_reader(house) as client:
        house.wall.now_s += 3_600
        house.sweep()
        assert await client.rest() == [{"type": 7, "error": "The token has expired.", "allowReconnect": True}]


async def test_a_handshake_that_does_not_come_is_an_end_with_a_word(house: House) -> None:
    ticket = await negotiate(house)
    headers = house.bearer() | ACCEPT
    async with house.http.get(f"{house.url}{HUB}?id={ticket.token}", headers=headers) as response:
        client = EventReader(house, ticket)
        client.response = response
        assert await client.event() == b":\r\n\r\n"
        house.monotonic.now_s += 15.1
        house.sweep()
        assert await client.rest() == [{"error": "Handshake was canceled."}]


async def test_a_reader_that_does_not_read_is_dropped_and_memory_stays_bounded(open_house: OpenHouse) -> None:
    hub, limit_bytes = Rehearsal(), 100_000
    house = await open_house(hub=hub, max_send_queue_bytes=limit_bytes)
    slow = EventReader(house, await negotiate(house, hub=hub.path), hub.path)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", house.runner.addresses[0][1]))
    reader, writer = await asyncio.open_connection(sock=narrow, limit=1_024)
    auth = house.bearer()["Authorization"]
    writer.write(
        f"GET {slow.path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: {auth}\r\n\r\n".encode()
    )
    await reader.readuntil(b":\r\n\r\n")
    await slow.send(HELLO, call("Join", "g"))
    transport = slow.session.transport
    assert isinstance(transport, EventStreamTransport)
    async with event_reader(house, hub=hub.path) as loud:
        word, most, sent = "x" * 10_000, 0, 0
        while not house.metric("auricle_bound_reached_total", bound="max_send_queue_bytes"):
            await loud.send(call("Shout", "g", word, 1, id_="1"))
            await loud.messages(1)
            sent += 1
            most = max(most, transport.waiting_bytes)
            assert sent < 2_000
        assert most <= limit_bytes + 11_000
        await eventually(lambda: house.app_sessions() == 1)
        await eventually(lambda: '"cause": "slow_consumer"' in house.log.getvalue())
        assert transport._events == []
    writer.transport.abort()


async def test_posts_wait_while_an_upload_is_full_and_none_is_lost(open_house: OpenHouse) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub, max_waiting_bytes=400)
    async with event_reader(house, hub=hub.path) as client:
        await client.send(call("Gather", id_="1", streams=("s",)))
        inbox = inbox_of(client)
        posts = [asyncio.create_task(client.post(items("s", *range(6 * n, 6 * n + 6)))) for n in range(5)]
        # The buffer of the upload holds ten items, and a frame's worth of bytes is kept behind it.
        await eventually(lambda: sum(post.done() for post in posts) == 3)
        await eventually(lambda: inbox.posts == 2)
        assert not inbox._readable.is_set()
        assert sum(post.done() for post in posts) == 3
        hub.gate.set()
        assert [await post for post in posts] == [200] * 5
        await client.send(done("s"))
        assert sorted((await client.messages(1))[0]["result"]) == list(range(30))


def inbox_of(client: EventReader) -> Inbox:
    transport = client.session.transport
    assert isinstance(transport, EventStreamTransport)
    return transport.inbox


async def test_questions_streams_and_cancels_work_over_events(house: House) -> None:
    async with event_reader(house) as client, event_reader(house, "bob") as other:
        await client.send(call("AskMe", "how", id_="1"))
        question = (await client.messages(1))[0]
        await client.send(done(question["invocationId"], error="no idea"))
        assert (await client.messages(1))[0]["error"].endswith("HubException: no idea")
        await client.send(stream("Count", 1_000, 1_000, id_="2"))
        assert (await client.messages(1))[0]["item"] == 0
        await client.send(cancel("2"))
        assert await client.messages(1) == [{"type": 3, "invocationId": "2"}]
        polling = await poller(house, "cem")
        for one in (client, other, polling):
            await one.send(call("JoinGroup", "g"))
        await other.send(call("ToOthersInGroup", "g", "news", {"a": [1]}))
        for one in (client, polling):
            assert await one.messages(1) == [{"type": 1, "target": "news", "arguments": [{"a": [1]}]}]
