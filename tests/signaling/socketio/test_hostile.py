"""What strangers and broken clients send over Socket.IO: refused, and nothing of it is kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from signaling.transports.socketio import SocketIoRoutes
from signaling.transports.socketio_seam import BoundedServer
from tests.eventually import eventually
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import open_wire
from tests.signaling.socketio.by_hand import PATIENCE_S, POLLING, WEBSOCKET, PollingByHand, SocketByHand

EVENT = '["Hello",{"contract":1}]'
PLACEHOLDER = '{"_placeholder":true,"num":0}'

PACKETS: list[tuple[str, tuple[str | bytes, ...]]] = [
    ("of an unknown type", ("9",)),
    ("of no type", ("x",)),
    ("that only servers send", ('4/hub,{"message":"x"}',)),
    ("of a namespace that it is not in", (f"2{EVENT}",)),
    ("of another namespace", (f"2/admin,{EVENT}",)),
    ("that connects again", ('0/hub,{"token":"x"}',)),
    ("with a reserved name", ('2/hub,["disconnect"]',)),
    ("with another one", ('2/hub,["connect",{}]',)),
    ("without a name", ("2/hub,[]",)),
    ("that is no array", ("2/hub,{}",)),
    ("with an endless ack id", (f"2/hub,{'9' * 100}{EVENT}",)),
    ("that acknowledges nothing", ("3/hub,[1]",)),
    ("with a key twice", ('2/hub,["Hello",{"contract":1,"contract":1}]',)),
    ("that is deep", ('2/hub,["Hello",' + "[" * 1_000 + "]" * 1_000 + "]",)),
    ("with a number that is none", ('2/hub,["Hello",{"contract":NaN}]',)),
    ("that is too large", ('2/hub,["Hello","' + "x" * 32_768 + '"]',)),
    ("with attachments and none", ('50-/hub,["Hello"]',)),
    ("with too many attachments", ('55-/hub,["Hello"]',)),
    ("with endless attachments", ('59999999999-/hub,["Hello"]',)),
    ("with half a header", ('5-/hub,["Hello"]',)),
    ("binary without a header", ('5/hub,["Hello"]',)),
    ("unannounced and binary", (b"\x00",)),
    ("text in place of an attachment", (f'51-/hub,["Hello",{PLACEHOLDER}]', f"2/hub,{EVENT}")),
    (
        "with attachments that are too large together",
        (f'52-/hub,["Hello",{PLACEHOLDER}]', bytes(40_000), bytes(40_000)),
    ),
    ("with a placeholder below", ('51-/hub,["Hello",{"_placeholder":true,"num":-1}]', b"x")),
    ("with a placeholder above", ('51-/hub,["Hello",{"_placeholder":true,"num":1000000000}]', b"x")),
]


def seam(house: House) -> BoundedServer:
    """What keeps packets of the house."""
    (routes,) = (one for one in house.parts.routes if isinstance(one, SocketIoRoutes))
    return routes._sio


def kept(house: House) -> int:
    """Everything that is kept of clients, by count."""
    server = seam(house)
    tables = (server._attachments, server._inbox, server._joined, server.environ, server.front.sockets)
    manager = server.manager
    return sum(map(len, tables)) + sum(map(len, (manager.rooms, manager.pending_connect, manager.callbacks)))


@pytest.fixture
async def clean(house: House) -> AsyncIterator[House]:
    """A house in which nothing is left in the end."""
    yield house
    for socket in house.sockets:
        await socket.close()
    for _ in range(2):
        # Who polls says no goodbye: a ping, and no answer.
        house.monotonic.now_s += 16
        house.sweep()
    await eventually(lambda: kept(house) == 0)
    await eventually(lambda: house.app_sessions() == 0)


@pytest.mark.parametrize(("what", "packets"), PACKETS, ids=[what for what, _ in PACKETS])
async def test_a_packet_that_breaks_the_protocol_ends_the_session(
    clean: House, what: str, packets: tuple[str | bytes, ...]
) -> None:
    socket = await SocketByHand.enter(clean)
    await socket.say(*packets)
    said = "".join(await socket.closed())
    assert "Traceback" not in said
    assert "9999" not in said
    await eventually(lambda: kept(clean) == 0)
    # Everybody else goes on.
    assert (await (await SocketByHand.enter(clean)).call(1, "WhoAmI"))["ok"] is True


@pytest.mark.parametrize("packet", [f"2/hub,{EVENT}", "3/hub,1[]", "1/hub,", '51-/hub,["a"]', f"2{EVENT}", "x", ""])
async def test_before_it_is_let_in_nobody_says_anything(clean: House, packet: str) -> None:
    socket = await SocketByHand.dial(clean)
    await socket.say(packet)
    await socket.closed()


@pytest.mark.parametrize("frame", ["", "0{}", "2", "2probe", "5", "7", "b", "\x1e", "\x1e" * 1_000])
async def test_a_frame_that_is_no_packet_of_a_client_ends_the_session(clean: House, frame: str) -> None:
    socket = await SocketByHand.enter(clean)
    await socket.frames.send_str(frame)
    await socket.closed()
    await eventually(lambda: kept(clean) == 0)


async def test_a_good_call_may_have_attachments_and_they_come_as_base64(clean: House) -> None:
    socket = await SocketByHand.enter(clean)
    name = clean.token("abe")
    await socket.say('51-/hub,7["Reauthenticate",{"token":' + PLACEHOLDER + "}]", name.encode())
    answer = await socket.ack(7)
    assert answer["error"]["code"] == "invalid_token"
    await socket.say('51-/hub,8["Hello",{"contract":1,"app":' + PLACEHOLDER + "}]")
    # A ping of the server does not come between.
    await socket.say(b"app")
    assert (await socket.ack(8))["ok"] is True


async def test_attachments_that_never_come_are_waited_for_15_seconds(clean: House) -> None:
    socket = await SocketByHand.enter(clean)
    await socket.say('51-/hub,["Hello",' + PLACEHOLDER + "]")
    await eventually(lambda: seam(clean)._attachments)
    clean.monotonic.now_s += 14
    clean.sweep()
    await asyncio.sleep(0)  # the ping of this sweep is written, and nothing else
    assert seam(clean)._attachments
    clean.monotonic.now_s += 2
    clean.sweep()
    await socket.closed()
    assert clean.metric("auricle_bound_reached_total", bound="handshake_timeout_s") == 1


@pytest.mark.parametrize(
    ("packets", "bound"),
    [
        (('55-/hub,["Hello"]',), {"bound": "max_packet_attachments"}),
        ((f'52-/hub,["Hello",{PLACEHOLDER}]', bytes(40_000), bytes(40_000)), {"bound": "max_attachment_bytes"}),
        (('51-/hub,["Hello"]', bytes(70_000)), {"bound": "max_attachment_bytes"}),
        (('2/hub,["Hello","' + "x" * 32_768 + '"]',), {"bound": "max_message_bytes"}),
    ],
)
async def test_each_bound_is_counted(clean: House, packets: tuple[str | bytes, ...], bound: dict[str, str]) -> None:
    socket = await SocketByHand.enter(clean)
    await socket.say(*packets)
    await socket.closed()
    assert clean.metric("auricle_bound_reached_total", **bound) == 1


# Polling

BODIES: list[tuple[str, str | bytes, int, dict[str, str]]] = [
    ("nothing", "", 400, {}),
    ("empty packets", "\x1e" * 10, 400, {}),
    ("a flood of them", "\x1e" * 60_000, 400, {"bound": "max_poll_packets"}),
    ("too many packets", "\x1e".join(["4x"] * 65), 400, {"bound": "max_poll_packets"}),
    ("an unknown type", "9", 400, {}),
    ("rubbish for base64", "b!!!", 400, {}),
    ("no UTF-8", b"4\xff", 400, {}),
    ("too much", "4" + "x" * 65_536, 413, {"bound": "max_poll_bytes"}),
]


@pytest.mark.parametrize(("what", "body", "status", "bound"), BODIES, ids=[case[0] for case in BODIES])
async def test_a_post_that_breaks_the_protocol_ends_the_session(
    clean: House, what: str, body: str | bytes, status: int, bound: dict[str, str]
) -> None:
    polling = await PollingByHand.enter(clean)
    assert await polling.post(body) == status
    assert (await polling.poll())[0] == 400
    assert await polling.post("42/hub,[]") == 400
    if bound:
        assert clean.metric("auricle_bound_reached_total", **bound) == 1
    await eventually(lambda: kept(clean) == 0)


async def test_a_binary_post_is_answered_and_ends_the_session(clean: House) -> None:
    polling = await PollingByHand.enter(clean)
    assert await polling.post(b"4\x00", **{"Content-Type": "application/octet-stream"}) == 400
    assert (await polling.poll())[0] == 400


async def test_two_polls_at_once_end_the_session(clean: House) -> None:
    polling = await PollingByHand.enter(clean)
    first = asyncio.create_task(polling.poll())
    socket = seam(clean).front.sockets[polling.sid]
    await eventually(lambda: socket._poll is not None)
    assert (await polling.poll())[0] == 400
    assert await first == (200, "1")
    assert (await polling.poll())[0] == 400


REQUESTS: list[tuple[str, str, int]] = [
    ("GET", "?EIO=4", 400),
    ("GET", "?EIO=4&transport=abc", 400),
    ("GET", "?transport=polling", 400),
    ("GET", "?EIO=3&transport=polling", 400),
    ("GET", "?EIO=4&transport=websocket", 400),
    ("GET", "?EIO=4&transport=polling&sid=x", 400),
    ("GET", "?EIO=4&transport=polling&sid=", 400),
    ("POST", "?EIO=4&transport=polling", 400),
    ("PUT", "?EIO=4&transport=polling", 400),
    ("DELETE", "?EIO=4&transport=polling", 400),
]


@pytest.mark.parametrize(("method", "query", "status"), REQUESTS)
async def test_what_opens_nothing(clean: House, method: str, query: str, status: int) -> None:
    async with clean.http.request(method, f"{clean.url}/socket.io/{query}") as answer:
        assert answer.status == status
    assert kept(clean) == 0


@pytest.mark.parametrize("path", [POLLING, WEBSOCKET])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://good.example.evil.example"])
async def test_pages_of_other_sites_open_nothing(open_house: OpenHouse, path: str, origin: str) -> None:
    house = await open_house(allowed_origins="https://good.example")
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"} if path == WEBSOCKET else {}
    async with house.http.get(house.url + path, headers={"Origin": origin} | upgrade) as answer:
        assert answer.status == 403
        assert origin not in await answer.text()
    async with house.http.get(house.url + POLLING, headers={"Origin": "https://good.example"}) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://good.example"
    assert kept(house) == 1


async def test_sessions_that_are_nobodys_count_as_connections_and_do_not_last(open_house: OpenHouse) -> None:
    house = await open_house(max_connections=3)
    sockets = [await SocketByHand.dial(house) for _ in range(2)]
    await SocketByHand.enter(house)
    async with house.http.get(house.url + POLLING) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    house.monotonic.now_s += 15
    house.sweep()
    for socket in sockets:
        await socket.closed()
    assert house.app_sessions() == 1
    await SocketByHand.enter(house)


async def test_a_client_that_does_not_answer_pings_is_gone(clean: House) -> None:
    socket, polling = await SocketByHand.enter(clean), await PollingByHand.enter(clean)
    clean.monotonic.now_s += 15
    clean.sweep()
    assert (await polling.poll()) == (200, "2")
    clean.monotonic.now_s += 15
    clean.sweep()
    await socket.closed()
    assert (await polling.poll())[0] == 400
    assert clean.metric("auricle_bound_reached_total", bound="client_timeout_s") == 2


async def test_a_client_that_does_not_read_loses_its_connection(open_house: OpenHouse) -> None:
    house = await open_house(max_send_queue_bytes=10_000)
    polling = await PollingByHand.enter(house)
    for _ in range(20):
        # Not polled for: what is answered piles up.
        await polling.post("\x1e".join(['42/hub,1["Hello",{"contract":1}]'] * 32))
    assert (await polling.poll())[0] == 400
    assert house.metric("auricle_bound_reached_total", bound="max_send_queue_bytes") == 1
    await eventually(lambda: kept(house) == 0)


async def test_who_asks_for_namespaces_and_does_not_read_is_ended_too(open_house: OpenHouse) -> None:
    house = await open_house(max_send_queue_bytes=10_000)
    polling = await PollingByHand.dial(house)
    for _ in range(20):
        await polling.post("\x1e".join(["40/nowhere,"] * 64))
    await eventually(lambda: kept(house) == 0)
    assert house.metric("auricle_bound_reached_total", bound="max_send_queue_bytes") == 1


async def test_an_upgrade_is_made_once_by_one_and_a_probe_that_fails_changes_nothing(clean: House) -> None:
    polling = await PollingByHand.enter(clean)
    address = clean.url.replace("http", "ws") + f"{WEBSOCKET}&sid={polling.sid}"
    failed = await clean.socket(address)
    await failed.send_str("4no probe")
    assert (await failed.receive(PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE
    await failed.close()
    assert await polling.post('42/hub,1["WhoAmI"]') == 200
    assert json.loads((await polling.poll())[1][len("43/hub,1") :])[0]["ok"] is True
    first = await clean.socket(address)
    second = await clean.socket(address)
    assert (await second.receive(PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE
    await first.send_str("2probe")
    assert (await first.receive(PATIENCE_S)).data == "3probe"
    assert await polling.poll() == (200, "6")
    # What is posted and written meanwhile waits for the WebSocket.
    assert await polling.post('42/hub,2["WhoAmI"]') == 200
    await first.send_str("5")
    assert str((await first.receive(PATIENCE_S)).data).startswith("43/hub,2")
    await eventually(lambda: not seam(clean).front.sockets[polling.sid].polls)
    assert (await polling.poll())[0] == 400
    late = await clean.socket(address)
    assert (await late.receive(PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE


async def test_an_upgrade_that_is_not_finished_ends(clean: House) -> None:
    polling = await PollingByHand.enter(clean)
    probe = await clean.socket(clean.url.replace("http", "ws") + f"{WEBSOCKET}&sid={polling.sid}")
    await probe.send_str("2probe")
    assert (await probe.receive(PATIENCE_S)).data == "3probe"
    clean.monotonic.now_s += 14.9
    clean.sweep()
    clean.monotonic.now_s += 0.2
    clean.sweep()
    assert (await probe.receive(PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE
    await probe.close()
    await eventually(seam(clean).front.sockets[polling.sid].may_upgrade)
    assert await polling.poll() == (200, "2")


async def test_a_frame_that_is_not_masked_ends_the_session(house: House) -> None:
    wire = await open_wire(house, WEBSOCKET)
    wire.send(b"\x81\x05" + b"40/hu")
    assert await wire.close_code() == 1002


async def test_more_than_16_packets_come_in_several_polls(clean: House) -> None:
    polling = await PollingByHand.enter(clean)
    assert await polling.post("\x1e".join(f'42/hub,{n}["Hello",{{"contract":1}}]' for n in range(40))) == 200
    bodies: list[Any] = [(await polling.poll())[1].split("\x1e") for _ in range(3)]
    assert [len(body) for body in bodies] == [16, 16, 8]
    assert [int(packet[len("43/hub,") :].partition("[")[0]) for body in bodies for packet in body] == list(range(40))
