"""Long polling as a stranger meets it: every status code, header and body, and when a connection ends."""

import asyncio
import socket as socket_module
from urllib.parse import urlsplit

import aiohttp
import pytest

from signaling.server import drain
from tests.eventually import eventually
from tests.signaling.by_hand import (
    HELLO,
    HUB,
    Answer,
    Poller,
    call,
    done,
    event_reader,
    negotiate,
    parsed,
    poller,
    request,
    stream,
)
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rehearsal import Rehearsal

UNKNOWN = b"No Connection with that ID"


def is_a_poll(answer: Answer, body: bytes) -> None:
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    never_cached(answer)


def never_cached(answer: Answer) -> None:
    assert answer.headers["Cache-Control"] == "no-cache,no-store"
    assert answer.headers["Pragma"] == "no-cache"


async def waiting(client: Poller) -> "asyncio.Task[Answer]":
    """A poll that has reached the server and waits there."""
    before = client.polls_begun
    task = asyncio.create_task(client.poll())
    await eventually(lambda: client.polls_begun > before)
    return task


async def test_the_first_poll_is_answered_at_once_and_empty(house: House) -> None:
    client = Poller(house, await negotiate(house))
    is_a_poll(await client.poll(), b"")
    assert await client.post(HELLO) == 200
    is_a_poll(await client.poll(), b"{}\x1e")


async def test_all_that_waits_comes_in_one_body(house: House) -> None:
    client = await poller(house)
    await client.send(call("Echo", 1, id_="1"), call("Echo", 2, id_="2"))
    await client.send(call("CallMe", "hey", [None, "ä"]))
    answer = await client.poll()
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert parsed(answer.body) == [
        {"type": 3, "invocationId": "1", "result": 1},
        {"type": 3, "invocationId": "2", "result": 2},
        {"type": 1, "target": "hey", "arguments": [[None, "ä"]]},
    ]


async def test_a_poll_with_nothing_to_bring_ends_empty_in_time(open_house: OpenHouse) -> None:
    house = await open_house(poll_timeout_s=0.02)
    client = await poller(house)
    for _ in range(2):
        is_a_poll(await client.poll(), b"")
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1


async def test_a_poll_that_waits_is_answered_when_something_comes(house: House) -> None:
    client = await poller(house)
    poll = await waiting(client)
    await client.send(call("Echo", "late", id_="1"))
    assert parsed((await poll).body)[0]["result"] == "late"


async def test_after_abort_come_the_last_words_then_204_then_404(house: House) -> None:
    client = await poller(house)
    await client.send(call("Echo", 1, id_="1"), call("Abort"), call("Echo", 2, id_="2"))
    assert parsed((await client.poll()).body) == [{"type": 3, "invocationId": "1", "result": 1}, {"type": 7}]
    last = await client.poll()
    assert (last.status, last.body) == (204, b"")
    never_cached(last)
    assert house.app_sessions() == 0
    for method in ("GET", "POST", "DELETE"):
        answer = await client.ask(method)
        assert (answer.status, answer.body) == (404, UNKNOWN)


async def test_a_newer_poll_sends_the_older_one_home_and_gets_the_data(house: House) -> None:
    client = await poller(house)
    first = await waiting(client)
    second = await waiting(client)
    sent_home = await first
    assert (sent_home.status, sent_home.body) == (204, b"")
    never_cached(sent_home)
    third = await waiting(client)
    assert (await second).status == 204
    await client.send(call("Echo", "newest", id_="1"))
    assert parsed((await third).body)[0]["result"] == "newest"
    assert house.app_sessions() == 1


async def drop_a_poll(house: House, client: Poller) -> None:
    """Poll over a connection of its own, and lose it."""
    before, connections = client.polls_begun, house.http_connections()
    async with aiohttp.ClientSession() as other:
        poll = asyncio.create_task(other.get(house.url + client.path, headers=house.bearer()))
        await eventually(lambda: client.polls_begun > before)
        poll.cancel()
    await eventually(lambda: house.http_connections() == connections)


async def test_a_client_that_drops_its_poll_loses_nothing(house: House) -> None:
    client = await poller(house)
    await drop_a_poll(house, client)
    await client.send(call("Echo", "kept", id_="1"))
    assert (await client.messages(1))[0]["result"] == "kept"


async def test_a_client_that_drops_its_poll_and_stays_away_is_gone(house: House) -> None:
    client = await poller(house)
    await drop_a_poll(house, client)
    house.sweep()
    await asyncio.sleep(0)  # the handler of the dead poll takes its leave
    house.sweep()
    house.monotonic.now_s += 15
    house.sweep()
    assert house.app_sessions() == 0


async def test_delete_ends_the_connection(house: House) -> None:
    client = await poller(house)
    poll = await waiting(client)
    answer = await client.ask("DELETE")
    assert (answer.status, answer.body) == (202, b"")
    assert (await poll).status == 204
    assert house.app_sessions() == 0
    assert (await client.ask("DELETE")).status == 404
    assert (await client.poll()).status == 404
    await eventually(lambda: '"cause": "gone"' in house.log.getvalue())


async def test_delete_is_for_long_polling_and_needs_an_id(house: House) -> None:
    async with event_reader(house) as events:
        assert (await events.ask("DELETE")).status == 400
    token = (await negotiate(house)).token
    await house.socket(f"{house.url}{HUB}?id={token}", headers=house.bearer())
    assert (await request(house, "DELETE", f"{HUB}?id={token}")).status == 400
    assert (await request(house, "DELETE", HUB)).status == 400
    assert (await request(house, "DELETE", f"{HUB}?id=nobody")).status == 404


async def test_a_client_that_does_not_poll_is_gone_after_the_disconnect_timeout(house: House) -> None:
    client = await poller(house)
    house.sweep()
    house.monotonic.now_s += 14.9
    house.sweep()
    poll = await waiting(client)
    for _ in range(3):
        house.monotonic.now_s += 15.1
        house.sweep()
    assert house.app_sessions() == 1
    await client.send(call("Echo", 1, id_="1"))
    assert (await poll).status == 200
    house.sweep()
    house.monotonic.now_s += 14.9
    house.sweep()
    assert house.app_sessions() == 1
    house.monotonic.now_s += 0.2
    house.sweep()
    assert house.app_sessions() == 0
    assert (await client.poll()).status == 404


async def test_neither_pings_nor_silence_matter_while_the_client_polls(house: House) -> None:
    client = await poller(house)
    await client.send(b'{"type":6}\x1e')
    poll = await waiting(client)
    for _ in range(4):
        house.monotonic.now_s += 16
        house.sweep()
    await client.send(call("Echo", 1, id_="1"))
    is_a_poll(await poll, b'{"type":3,"invocationId":"1","result":1}\x1e')
    assert house.app_sessions() == 1


async def test_a_connection_keeps_its_transport(house: House) -> None:
    polling = await poller(house)
    events = house.bearer() | {"Accept": "text/event-stream"}
    assert (await polling.ask("GET", headers=events)).status == 400
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.socket(house.url + polling.path, headers=house.bearer())
    assert refused.value.status == 400
    token = (await negotiate(house)).token
    socket = await house.socket(f"{house.url}{HUB}?id={token}", headers=house.bearer())
    for headers in (house.bearer(), events):
        answer = await request(house, "GET", f"{HUB}?id={token}", headers=headers)
        assert (answer.status, answer.body) == (400, b"Cannot change transports mid-connection")
    await socket.send_bytes(HELLO)
    assert (await socket.receive()).data == "{}\x1e"
    await polling.send(call("Echo", 1, id_="1"))
    assert (await polling.messages(1))[0]["result"] == 1


async def test_somebody_elses_token_finds_nothing(house: House) -> None:
    client = await poller(house, "ann")
    fresh = (await negotiate(house, "ann")).token
    for user, clinic in (("bob", "c1"), ("ann", "c2")):
        headers = house.bearer(user, clinic=clinic)
        for method in ("GET", "POST", "DELETE"):
            for path in (client.path, f"{HUB}?id={fresh}"):
                answer = await request(house, method, path, headers=headers)
                assert (answer.status, answer.body) == (404, UNKNOWN)
    assert house.app_sessions() == 1
    await client.send(call("Echo", "mine", id_="1"))
    assert (await client.messages(1))[0]["result"] == "mine"


async def test_every_request_shows_its_token_and_only_a_get_may_do_so_in_the_query(house: House) -> None:
    client = await poller(house)
    await client.send(call("Echo", 1, id_="1"))
    query = f"{house.url}{client.path}&access_token={house.token()}"
    for method in ("POST", "DELETE"):
        async with house.http.request(method, query) as answer:
            assert answer.status == 401
    async with house.http.get(query) as answer:
        assert parsed(await answer.read())[0]["result"] == 1
    house.wall.now_s += 60
    stale = {"Authorization": "Bearer " + house.token(expires_in_s=-1)}
    for method in ("GET", "POST", "DELETE"):
        for headers in ({"X-Nothing": ""}, stale):
            assert (await client.ask(method, headers=headers)).status == 401
    assert house.app_sessions() == 1


async def test_a_handshake_that_does_not_come_is_an_end_with_a_word(house: House) -> None:
    client = Poller(house, await negotiate(house))
    await client.poll()
    poll = await waiting(client)
    house.monotonic.now_s += 15.1
    house.sweep()
    assert parsed((await poll).body) == [{"error": "Handshake was canceled."}]
    assert (await client.poll()).status == 204


async def test_a_drain_says_goodbye_with_leave_to_come_back(house: House) -> None:
    client, idle = await poller(house), await poller(house, "bob")
    poll = await waiting(client)
    draining = asyncio.create_task(drain(house.parts, house.parts.hubs[0].config))
    expected = [{"type": 7, "error": "The server is shutting down.", "allowReconnect": True}]
    assert parsed((await poll).body) == expected
    assert (await client.poll()).status == 204
    assert (await request(house, "POST", f"{HUB}/negotiate")).status == 503
    assert parsed((await idle.poll()).body) == expected
    assert (await idle.poll()).status == 204
    await draining


async def test_the_end_of_the_token_is_the_end_of_the_connection(house: House) -> None:
    client = await poller(house)
    poll = await waiting(client)
    house.wall.now_s += 3_600
    house.sweep()
    assert parsed((await poll).body) == [{"type": 7, "error": "The token has expired.", "allowReconnect": True}]
    # A poll shows its own token, and the old one is good for nothing any more.
    assert (await client.poll()).status == 401
    client.headers = house.bearer()
    assert (await client.poll()).status == 204
    assert house.app_sessions() == 0


async def test_a_reader_that_does_not_poll_is_dropped_and_memory_stays_bounded(open_house: OpenHouse) -> None:
    hub = Rehearsal()
    house = await open_house(hub=hub, max_send_queue_bytes=20_000)
    slow, loud = await poller(house, hub=hub.path), await poller(house, hub=hub.path)
    await slow.send(call("Join", "g"))
    most = 0
    for number in range(40):
        await loud.send(call("Shout", "g", "x" * 1_000, 1, id_=str(number)))
        await loud.messages(1)
        most = max(most, slow.transport.waiting_bytes)
    assert house.metric("auricle_bound_reached_total", bound="max_send_queue_bytes") == 1
    assert most < 22_000
    assert slow.transport.waiting_bytes == 0
    assert (await slow.poll()).status == 204
    await eventually(lambda: '"cause": "slow_consumer"' in house.log.getvalue())


async def test_a_poll_whose_answer_is_still_on_its_way_is_a_poll(house: House) -> None:
    client = await poller(house)
    await client.send(call("Blob", 30_000_000, id_="1"))
    await eventually(lambda: client.transport.waiting_bytes > 30_000_000)
    url = urlsplit(house.url)
    stalled = socket_module.create_connection((url.hostname, url.port))
    try:
        headers = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())
        stalled.sendall(f"GET {client.path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        await eventually(lambda: client.transport.waiting_bytes == 0)
        for _ in range(8):
            house.monotonic.now_s += 10
            house.sweep()
        assert house.app_sessions() == 1
        house.monotonic.now_s += 20
        house.sweep()
        house.monotonic.now_s += 15.1
        house.sweep()
        assert house.app_sessions() == 0
        assert house.metric("auricle_bound_reached_total", bound="disconnect_timeout_s") == 1
    finally:
        stalled.close()


async def test_questions_streams_and_errors_come_through_polls_too(house: House) -> None:
    client = await poller(house)
    await client.send(call("AskMe", "how", id_="1"))
    question = (await client.messages(1))[0]
    await client.send(done(question["invocationId"], result="so"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "1", "result": "so"}]
    await client.send(stream("Count", 3, 1, id_="2"))
    found = await client.messages(4)
    assert [message.get("item") for message in found] == [0, 1, 2, None]
    assert found[-1] == {"type": 3, "invocationId": "2"}
    await client.send(b"rubbish\x1e")
    assert (await client.messages(1))[0] == {
        "type": 7,
        "error": "Connection closed with an error.",
        "allowReconnect": True,
    }
    assert (await client.poll()).status == 204
