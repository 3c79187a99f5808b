"""A server process whose memory stays flat, whatever one client sends that it has let in."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import psutil  # type: ignore[import-untyped]  # the library ships no types
import pytest

from tests.running import Server, server

LIMIT_BYTES = 5 * 1_048_576
SOCKET = "/socket.io/?EIO=4&transport=websocket"
ATTACHMENT = bytes(900_000)
EVENT = '["Hello",{"_placeholder":true,"num":0}]'

Send = Callable[[aiohttp.ClientWebSocketResponse], Awaitable[None]]


async def enter(http: aiohttp.ClientSession, running: Server) -> aiohttp.ClientWebSocketResponse:
    socket = await http.ws_connect(running.url + SOCKET)
    await socket.receive_str(timeout=10)
    await socket.send_str("40/hub," + json.dumps({"token": await running.token("ann")}))
    assert (await socket.receive_str(timeout=10)).startswith("40/hub,")
    return socket


async def large_attachments(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str(f"4510000-/hub,{EVENT}")
    for _ in range(300):
        await socket.send_bytes(ATTACHMENT)


async def large_ones_of_a_few(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str(f"454-/hub,{EVENT}")
    for _ in range(300):
        await socket.send_bytes(ATTACHMENT)


async def empty_frames(socket: aiohttp.ClientWebSocketResponse) -> None:
    for _ in range(20_000):
        await socket.send_bytes(b"")


async def events_without_end(socket: aiohttp.ClientWebSocketResponse) -> None:
    for _ in range(5_000):
        await socket.send_str('42/hub,["GetHistory",{"device":"' + "x" * 1_000 + '"}]')


@pytest.mark.parametrize("send", [large_attachments, large_ones_of_a_few, empty_frames, events_without_end])
async def test_memory_stays_flat(tmp_path: Path, send: Send) -> None:
    async with server(tmp_path) as running, aiohttp.ClientSession() as http:
        process = psutil.Process(running.process.pid)
        for _ in range(5):
            # What the first clients make it load is no leak.
            warm = await enter(http, running)
            await warm.send_str('42/hub,1["WhoAmI"]')
            await warm.receive_str(timeout=10)
            await warm.close()
        before = process.memory_info().rss
        for _ in range(3):
            socket = await enter(http, running)
            # Refused in the middle of it, as it should be.
            with suppress(aiohttp.ClientError, ConnectionError):
                await send(socket)
            assert process.memory_info().rss - before < LIMIT_BYTES
            await socket.close()
        still = await enter(http, running)
        assert process.memory_info().rss - before < LIMIT_BYTES
        await still.close()
