"""The proxy breaks what it is told to break, where it is told to: between two bytes, between two frames, or twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import ClientSession, WSMsgType, web

from tests.chaos import faults_bus, faults_network
from tests.chaos.frame_count import FrameCount
from tests.chaos.nemesis import FAULTS
from tests.chaos.profile import Fault
from tests.chaos.proxy import Proxy, proxy
from tests.chaos.stage import Stage
from tests.eventually import eventually
from tests.protocol.websocket.client import frame


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A TCP server that sends back what it gets, and all that it got, per connection."""
    got: list[bytes] = []
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(got)
        got.append(b"")
        open_writers.add(writer)
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                got[place] += chunk
                writer.write(chunk)
        writer.close()
        open_writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", got
    finally:
        server.close()
        await eventually(lambda: not open_writers)


async def connect(link: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(link.url.rsplit(":", 1)[1]))


@pytest.mark.parametrize("split", [1, 2, 3, 7, 100_000])
def test_frames_are_counted_however_the_bytes_are_cut(split: int) -> None:
    sizes = (0, 1, 125, 126, 65_535, 65_536, 3)
    stream = b"".join(frame(2, b"x" * size) for size in sizes)
    counter, ends, place = FrameCount(), [], 0
    for start in range(0, len(stream), split):
        ends += [start + end for end in counter.feed(stream[start : start + split])]
    for size in sizes:
        place += len(frame(2, b"x" * size))
        assert ends.pop(0) == place
    assert not ends


async def test_a_connection_is_cut_after_the_byte_that_was_named() -> None:
    async with echo() as (url, got), proxy(url) as link:
        reader, writer = await connect(link)
        writer.write(b"12345")
        assert await reader.readexactly(5) == b"12345"
        link.cut_after_bytes(7)
        writer.write(b"abcdefghij")
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        await eventually(lambda: link.cuts == 1)
        assert got[0] == b"12345abcdefg"
        writer.close()


@pytest.mark.parametrize(("kind", "value"), [("fitter_cut_byte", "7"), ("edge_cut_byte", "bus:7")])
async def test_a_cut_that_has_missed_its_moment_does_not_come_when_nobody_expects_it(
    kind: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (faults_bus, faults_network):
        monkeypatch.setattr(module, "LANDS_S", 0.05)
    async with echo() as (url, got), proxy(url) as link:
        edges = SimpleNamespace(bus=link)
        stage = cast(
            "Stage", SimpleNamespace(proxies={"a": link}, phones={}, fleet=SimpleNamespace(edges={"a": edges}))
        )
        assert not await FAULTS[kind](stage, Fault(kind, "a", 0.0, value))
        reader, writer = await connect(link)
        writer.write(b"abcdefghij")
        assert await reader.readexactly(10) == b"abcdefghij"
        assert (link.cuts, got) == (0, [b"abcdefghij"])
        writer.close()


async def test_a_websocket_is_cut_between_two_frames() -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with proxy(url) as link, ClientSession() as session:
        link.cut_after_frames(5)
        async with session.ws_connect(link.url) as socket:
            for number in range(2):
                await socket.send_str(f"{number}")
                assert (await socket.receive()).data == f"{number}"
            await socket.send_str("the fifth frame goes through and its echo does not")
            assert (await socket.receive()).type in {WSMsgType.CLOSED, WSMsgType.ERROR, WSMsgType.CLOSE}
        assert link.cuts == 1
    await runner.cleanup()


async def test_a_mirrored_connection_reaches_the_server_twice() -> None:
    async with echo() as (url, got), proxy(url) as link:
        link.mirrors = True
        reader, writer = await connect(link)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        await eventually(lambda: got == [b"hello", b"hello"])
        writer.close()


async def test_a_server_that_is_gone_resets_its_clients_and_another_one_can_take_its_place() -> None:
    async with echo() as (url, _), proxy("http://127.0.0.1:1") as link:
        reader, writer = await connect(link)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        link.aim(url)
        reader, writer = await connect(link)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_healing_cuts_what_was_swallowed_and_lets_the_next_one_pass() -> None:
    async with echo() as (url, got), proxy(url) as link:
        reader, writer = await connect(link)
        writer.write(b"1")
        assert await reader.readexactly(1) == b"1"
        link.black_hole()
        writer.write(b"lost")
        link.heal()
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        writer.close()
        reader, writer = await connect(link)
        writer.write(b"2")
        assert await reader.readexactly(1) == b"2"
        assert got == [b"1", b"2"]
        writer.close()


async def test_a_connection_goes_to_the_first_place_that_takes_it() -> None:
    async with echo() as (url, got), proxy("") as link:
        went: list[str] = []
        link.on_link = went.append
        link.follow(lambda: ("http://127.0.0.1:1", url))
        _, writer = await connect(link)
        writer.write(b"hello")
        await eventually(lambda: got == [b"hello"])
        assert went == link.targets == [url]
        writer.close()


@pytest.mark.parametrize(("of_client", "of_server", "heard"), [(True, False, [b"1"]), (False, True, [b"1lost"])])
async def test_one_side_alone_can_be_swallowed(of_client: bool, of_server: bool, heard: list[bytes]) -> None:
    async with echo() as (url, got), proxy(url) as link:
        reader, writer = await connect(link)
        writer.write(b"1")
        assert await reader.readexactly(1) == b"1"
        link.black_hole(of_client=of_client, of_server=of_server)
        writer.write(b"lost")
        if of_server:
            await eventually(lambda: got == heard)
        link.heal()
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        assert got == heard
        writer.close()


async def test_a_slow_reader_gets_what_was_sent_all_the_same() -> None:
    async with echo() as (url, _), proxy(url) as link:
        link.rate_bytes_s = 10_000
        reader, writer = await connect(link)
        writer.write(b"x" * 5_000)
        assert await reader.readexactly(5_000) == b"x" * 5_000
        writer.close()
