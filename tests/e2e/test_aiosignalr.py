"""aiosignalr's client against the conformance hub.

Left out, since aiosignalr 0.1.1 is itself wrong there:
- with MessagePack, everything in which the client sends a StreamItem, a Completion or a CancelInvocation: it writes the
  number 128 where the headers, a map, belong;
- the end of a long polling connection: it takes a 204, which is the end, for "poll again";
- answers over 32 KiB: the limit for what it receives cannot be set;
- ends that the server begins: its HTTP session stays open.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiosignalr.client import HubConnection  # type: ignore[import-untyped]  # it ships no types
from aiosignalr.errors import HubException, NegotiationError  # type: ignore[import-untyped]  # it ships no types

from tests.chaos.proxy import Proxy
from tests.e2e.client import HUB
from tests.eventually import eventually
from tests.running import Server

# With long polling it posts its handshake at once, whether a poll has come or not.
KINDS = [
    ("WebSockets", "json"),
    ("WebSockets", "messagepack"),
    ("ServerSentEvents", "json"),
    ("LongPolling", "json"),
    ("LongPolling", "messagepack"),
]
JSON = [kind for kind in KINDS if kind[1] == "json"]


@asynccontextmanager
async def connected(
    running: Server, kind: tuple[str, str], user: str = "ann", *, link: Proxy | None = None
) -> AsyncIterator[Any]:
    """A connection that is stopped with the block; through ``link`` it may resume."""
    transport, protocol = kind
    token = await running.token(user, "clinician")
    connection = HubConnection(protocol=protocol)
    if link is not None:
        connection.with_stateful_reconnect()
    url = (link or running).url + HUB
    await connection.start(url, access_token_factory=lambda: token, transports={transport})
    try:
        yield connection
    finally:
        await connection.stop()


async def counted(connection: Any, *args: Any) -> list[int]:
    return [item async for item in await connection.stream("Count", *args)]


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
async def test_calls_errors_pushes_and_streams(shared_server: Server, kind: tuple[str, str]) -> None:
    async with connected(shared_server, kind) as one, connected(shared_server, kind, "bob") as other:
        value = {"text": "ä", "list": [1, 2.5, None, True]}
        assert await one.invoke("Echo", value) == value
        assert await asyncio.gather(*(one.invoke("Add", i, 1) for i in range(50))) == list(range(1, 51))
        with pytest.raises(HubException, match=r"on the server. HubException: too loud$"):
            await one.invoke("Fail", "too loud")
        with pytest.raises(HubException, match=r"HubException: Method does not exist.$"):
            await one.invoke("Nope")
        assert await counted(one, 20, 1) == list(range(20))
        heard: list[tuple[Any, ...]] = []
        other.on("news", lambda *args: heard.append(args))
        await other.invoke("JoinGroup", "aio")
        for number in range(3):
            await one.invoke("ToGroup", "aio", "news", number, value)
        await eventually(lambda: len(heard) == 3)
        assert heard == [(number, value) for number in range(3)]


@pytest.mark.parametrize("kind", JSON, ids="-".join)
async def test_uploads_results_and_streams_that_are_left_early(shared_server: Server, kind: tuple[str, str]) -> None:
    async with connected(shared_server, kind) as connection:
        async with connection.client_stream("Sum") as upload:
            for number in range(20):
                await upload.send_item(number)
        assert upload.result == sum(range(20))
        connection.on("howLoud", lambda level: level + 1)
        assert await connection.invoke("AskMe", "howLoud", 41) == 42
        with pytest.raises(HubException, match=r"HubException: Unknown hub method 'nobody'$"):
            await connection.invoke("AskMe", "nobody")
        stream = await connection.stream("Count", 1_000_000, 1)
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        await stream.aclose()
        assert await counted(connection, 5, 0) == [0, 1, 2, 3, 4]
        # It cancels a stream that has failed, too.
        with pytest.raises(HubException, match=r"streaming results. HubException: n must not be negative$"):
            await counted(connection, -1, 0)
        assert await connection.invoke("Echo", "still here") == "still here"


@pytest.mark.parametrize("protocol", ["json", "messagepack"])
async def test_a_stream_survives_its_socket(far_server: Server, link: Proxy, protocol: str) -> None:
    async with connected(far_server, ("WebSockets", protocol), link=link) as connection:
        before = await connection.invoke("Whoami")
        stream = await connection.stream("Count", 60, 3)
        assert [await anext(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
        link.reset()
        assert [item async for item in stream] == list(range(5, 60))
        assert await connection.invoke("Whoami") == before


async def test_a_bad_token_is_refused(shared_server: Server) -> None:
    with pytest.raises(NegotiationError, match="401"):
        await HubConnection().start(shared_server.url + HUB, access_token_factory=lambda: "garbage")
