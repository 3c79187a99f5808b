"""The traffic checks itself: honest servers pass, and each kind of lie fails the run with its own words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.bare import bare_app
from loadtest.bench_websocket import BenchFailed
from loadtest.dialects import BareText
from loadtest.traffic import Crowd, Load, Target, open_crowd

Lie = Callable[[web.WebSocketResponse, int, str], Awaitable[None]]
LOADS = [
    Load("echo", 4, 1, 30),
    Load("echo", 2, 8, 30),
    Load("relay", 4, 1, 30),
    Load("relay", 2, 8, 30),
    Load("fanout", 5, 1, 30),
    Load("fanout", 3, 4, 30),
]


@asynccontextmanager
async def crowd_at(app: web.Application, load: Load) -> AsyncIterator[Crowd]:
    async with (
        TestServer(app) as server,
        open_crowd(Target(BareText(), str(server.make_url("")).rstrip("/")), load) as crowd,
    ):
        yield crowd


def lying_app(lie: Lie) -> web.Application:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        number = 0
        async for message in socket:
            number += 1
            await lie(socket, number, message.data)
        return socket

    app = web.Application()
    app.add_routes([web.get("/echo", echo)])
    return app


async def honest(socket: web.WebSocketResponse, _: int, text: str) -> None:
    await socket.send_str(text)


async def alters_the_tenth(socket: web.WebSocketResponse, number: int, text: str) -> None:
    await socket.send_str(text if number != 10 else text.replace("x", "y"))


async def doubles_the_tenth(socket: web.WebSocketResponse, number: int, text: str) -> None:
    for _ in range(2 if number == 10 else 1):
        await socket.send_str(text)


async def ends_at_the_tenth(socket: web.WebSocketResponse, number: int, text: str) -> None:
    await (socket.send_str(text) if number < 10 else socket.close())


async def loses_the_tenth(socket: web.WebSocketResponse, number: int, text: str) -> None:
    if number != 10:
        await socket.send_str(text)


async def speaks_unasked(socket: web.WebSocketResponse, number: int, text: str) -> None:
    await socket.send_str(text)
    if number == 10:
        await socket.send_str("by the way")


@pytest.mark.parametrize("load", LOADS, ids=lambda load: f"{load.workload}-{load.connections}x{load.in_flight}")
async def test_with_an_honest_server_every_message_arrives_and_is_counted(load: Load) -> None:
    async with crowd_at(bare_app(), load) as crowd:
        crowd.start()
        await crowd.tally.hold(0.05)
        await crowd.tally.drain()
        senders = 1 if load.workload == "fanout" else load.connections
        receivers = load.connections if load.workload == "fanout" else 1
        assert crowd.tally.delivered == crowd.tally.sent >= senders * receivers * load.in_flight
        assert crowd.tally.sent % receivers == 0


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (alters_the_tenth, "expected .* and got"),
        (doubles_the_tenth, "expected .* and got|nobody sent it"),
        (speaks_unasked, "expected .* and got|nobody sent it"),
        (ends_at_the_tenth, "unexpected frame|ended the connection"),
    ],
    ids=["altered", "doubled", "unasked", "ended"],
)
async def test_what_a_server_gets_wrong_fails_the_run(lie: Lie, words: str) -> None:
    async with crowd_at(lying_app(lie), Load("echo", 2, 1, 30)) as crowd:
        crowd.start()
        with pytest.raises(BenchFailed, match=words):
            await crowd.tally.hold(20)


async def test_a_lost_message_fails_the_run_when_the_wait_for_it_ends() -> None:
    lost = asyncio.Event()

    async def tell(socket: web.WebSocketResponse, number: int, text: str) -> None:
        await loses_the_tenth(socket, number, text)
        if number == 10:
            lost.set()

    async with crowd_at(lying_app(tell), Load("echo", 1, 1, 30)) as crowd:
        crowd.start()
        await asyncio.wait_for(lost.wait(), 20)
        with pytest.raises(BenchFailed, match="1 of 10 messages were lost"):
            await crowd.tally.drain(limit_s=0.1)


async def test_a_lost_message_is_noticed_by_the_one_behind_it() -> None:
    async with crowd_at(lying_app(loses_the_tenth), Load("echo", 1, 4, 30)) as crowd:
        crowd.start()
        with pytest.raises(BenchFailed, match=r"expected .*0:10:.* and got .*0:11:"):
            await crowd.tally.hold(20)


async def test_a_message_on_the_wrong_connection_fails_the_run() -> None:
    sockets: list[web.WebSocketResponse] = []

    async def crossed(socket: web.WebSocketResponse, number: int, text: str) -> None:
        if number == 1:
            sockets.append(socket)
        other = next((one for one in sockets if one is not socket), socket)
        await other.send_str(text)

    async with crowd_at(lying_app(crossed), Load("echo", 2, 1, 30)) as crowd:
        crowd.start()
        with pytest.raises(BenchFailed, match=r"expected .* and got|nobody sent it"):
            await crowd.tally.hold(20)


async def test_nothing_is_sent_any_more_once_draining_has_begun() -> None:
    async with crowd_at(lying_app(honest), Load("echo", 2, 1, 30)) as crowd:
        crowd.start()
        await crowd.tally.hold(0.02)
        await crowd.tally.drain()
        sent = crowd.tally.sent
        for _ in range(50):
            await asyncio.sleep(0)  # a turn of the loop, not a wait
        assert crowd.tally.sent == sent
