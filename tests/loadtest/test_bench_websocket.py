"""The generator's WebSocket client against aiohttp's server, and against frames that no server should send."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from loadtest.bare import bare_app
from loadtest.bench_websocket import BenchFailed, Opcode, WebSocket, client_frame, connect

TEXTS = ["", "a", "b" * 125, "c" * 126, "d" * 65_535, "e" * 65_536, "f" * 200_000]
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture
async def bare() -> AsyncIterator[TestServer]:
    server = TestServer(bare_app())
    async with server:
        yield server


@pytest.mark.parametrize("text", TEXTS, ids=[str(len(text)) for text in TEXTS])
async def test_texts_of_every_length_class_come_back_from_a_real_server(bare: TestServer, text: str) -> None:
    socket = await connect(str(bare.make_url("/echo")), {})
    assert await socket.exchange(client_frame(Opcode.TEXT, text.encode())) == text.encode()
    await socket.close()


async def test_what_one_turn_sends_arrives_as_separate_messages_in_order(bare: TestServer) -> None:
    socket = await connect(str(bare.make_url("/echo")), {})
    got: list[bytes] = []
    done = asyncio.Event()

    def collect(payload: bytes) -> None:
        got.append(payload)
        if len(got) == 100:
            done.set()

    socket.on_payload = collect
    for number in range(100):
        socket.send(client_frame(Opcode.TEXT, b"%d" % number))
    await asyncio.wait_for(done.wait(), 10)
    assert got == [b"%d" % number for number in range(100)]
    await socket.close()


async def test_binary_frames_and_headers_arrive_as_they_were_given() -> None:
    seen: list[object] = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        message = await socket.receive()
        seen.extend((request.headers["Authorization"], message.type, message.data))
        await socket.send_bytes(b"\x00\xff")
        return socket

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    async with TestServer(app) as server:
        socket = await connect(str(server.make_url("/")), {"Authorization": "Bearer t"})
        assert await socket.exchange(client_frame(Opcode.BINARY, b"\x01\x80")) == b"\x00\xff"
        await socket.close()
    assert seen == ["Bearer t", WSMsgType.BINARY, b"\x01\x80"]


async def test_a_refused_upgrade_is_a_failure_that_shows_the_status(bare: TestServer) -> None:
    with pytest.raises(BenchFailed, match="404"):
        await connect(str(bare.make_url("/nowhere")), {})


async def test_a_connection_that_the_server_ended_fails_whoever_asks_next() -> None:
    async def leave(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return socket

    app = web.Application()
    app.add_routes([web.get("/", leave)])
    async with TestServer(app) as server:
        socket = await connect(str(server.make_url("/")), {})
        await asyncio.wait_for(socket.closed, 10)
        with pytest.raises(BenchFailed, match="ended the connection"):
            await socket.exchange(client_frame(Opcode.TEXT, b"anybody there?"))


async def test_a_port_where_nobody_listens_is_a_failure() -> None:
    async with TestServer(web.Application()) as server:
        url = str(server.make_url("/echo"))
    with pytest.raises(BenchFailed, match="cannot connect"):
        await connect(url, {})


def unmasked(first: int, payload: bytes) -> bytes:
    size = len(payload)
    head = bytes((first, size)) if size < 126 else bytes((first, 126)) + size.to_bytes(2, "big")
    return head + payload


async def test_any_division_of_the_bytes_gives_the_same_payloads() -> None:
    payloads = [b"a", b"", b"b" * 125, b"c" * 300]
    stream = ACCEPTED + b"".join(unmasked(0x81, payload) for payload in payloads)
    for size in (1, 2, 3, 7, 64, len(stream)):
        socket = WebSocket(b"")
        got: list[bytes] = []
        socket.on_payload = got.append
        for start in range(0, len(stream), size):
            socket.data_received(stream[start : start + size])
        assert got == payloads


@pytest.mark.parametrize("first", [0x01, 0x80, 0x88, 0x89, 0xC1], ids=["part", "continued", "close", "ping", "packed"])
async def test_frames_other_than_whole_plain_data_end_the_connection_with_a_reason(first: int) -> None:
    socket = WebSocket(b"")
    reasons: list[str] = []
    socket.on_lost = reasons.append
    socket.data_received(ACCEPTED + unmasked(first, b"x"))
    assert reasons == [f"an unexpected frame: {first:#04x}"]


async def test_a_response_head_without_end_is_not_kept_for_ever() -> None:
    socket = WebSocket(b"")
    reasons: list[str] = []
    socket.on_lost = reasons.append
    for _ in range(20):
        socket.data_received(b"x" * 1_000)
    assert "no WebSocket upgrade" in reasons[0]
