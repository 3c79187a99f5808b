"""pysignalr against the conformance hub: negotiation of version 0, WebSockets, both formats.

Left out, since pysignalr 1.3.3 does not offer it: the other transports, cancelling a stream, resuming, and the result
of an upload, whose call it sends without an id. Its token factory is asked only after the request that needed the
token, so the token is given as a header.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pysignalr.client import SignalRClient
from pysignalr.exceptions import AuthorizationError, ServerError
from pysignalr.messages import CompletionMessage
from pysignalr.protocol.abstract import Protocol
from pysignalr.protocol.json import JSONProtocol
from pysignalr.protocol.messagepack import MessagepackProtocol

from tests.e2e.client import HUB
from tests.eventually import eventually
from tests.running import Server

PROTOCOLS: dict[str, Callable[[], Protocol]] = {"json": JSONProtocol, "messagepack": MessagepackProtocol}


class Connection:
    """A client with calls that can be awaited; ``pushes`` are what its method ``news`` was called with."""

    def __init__(self, running: Server, token: str, protocol: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self.client = SignalRClient(running.url + HUB, protocol=PROTOCOLS[protocol](), headers=headers)
        self.opened = asyncio.Event()
        self.pushes: list[Any] = []
        self.client.on_open(self._opened)
        self.client.on("news", self._pushed)
        self.client.on_error(self._failed)

    async def invoke(self, target: str, *args: Any) -> Any:
        """The result of a call; raises what the server tells of a failure."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def completed(message: Any) -> None:
            answer.set_result(message)

        await self.client.send(target, list(args), completed)
        return _value(await asyncio.wait_for(answer, 45))

    async def stream(self, target: str, *args: Any) -> list[Any]:
        """The items of a stream."""
        items: list[Any] = []
        end: asyncio.Future[CompletionMessage] = asyncio.get_running_loop().create_future()

        async def received(item: Any) -> None:
            items.append(item)

        async def completed(message: Any) -> None:
            end.set_result(message)

        await self.client.stream(target, list(args), received, completed, completed)
        _value(await asyncio.wait_for(end, 45))
        return items

    async def _opened(self) -> None:
        self.opened.set()

    async def _pushed(self, arguments: Any) -> None:
        self.pushes.append(arguments)

    async def _failed(self, message: CompletionMessage) -> None:
        """Required by the client; the call's own callback is told as well."""


def _value(message: CompletionMessage) -> Any:
    if message.error is not None:
        raise ServerError(message.error)
    return message.result


@asynccontextmanager
async def connected(running: Server, protocol: str, user: str = "ann") -> AsyncIterator[Connection]:
    """A connection that ends with the block."""
    connection = Connection(running, await running.token(user, "clinician"), protocol)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(connection.client.run())
        await asyncio.wait_for(connection.opened.wait(), 45)
        yield connection
        task.cancel()


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_calls_and_errors(shared_server: Server, protocol: str) -> None:
    async with connected(shared_server, protocol) as connection:
        value = {"text": "ä", "list": [1, 2.5, None, True]}
        assert await connection.invoke("Echo", value) == value
        assert await asyncio.gather(*(connection.invoke("Add", i, 1) for i in range(50))) == list(range(1, 51))
        assert await connection.invoke("Blob", 500_000) == "x" * 500_000
        for call, text in (
            (("Fail", "loud"), "An unexpected error occurred invoking 'Fail' on the server. HubException: loud"),
            (("Crash",), "An unexpected error occurred invoking 'Crash' on the server."),
            (("Nope",), "Failed to invoke 'Nope' due to an error on the server. HubException: Method does not exist."),
        ):
            with pytest.raises(ServerError) as failed:
                await connection.invoke(*call)
            assert failed.value.message == text


async def test_pushes_and_client_results(shared_server: Server, protocol: str) -> None:
    async with connected(shared_server, protocol) as one, connected(shared_server, protocol, "bob") as other:
        await other.invoke("JoinGroup", "py")
        for number in range(3):
            await one.invoke("ToGroup", "py", "news", number, {"ä": None})
        await one.invoke("ToUser", "bob", "news", "you")
        await eventually(lambda: len(other.pushes) == 4)
        assert other.pushes == [*([number, {"ä": None}] for number in range(3)), ["you"]]

        async def how_loud(arguments: Any) -> Any:
            return arguments[0] + 1

        one.client.on("howLoud", how_loud)
        assert await one.invoke("AskMe", "howLoud", 41) == 42


async def test_streams(shared_server: Server, protocol: str) -> None:
    async with connected(shared_server, protocol) as connection:
        assert await connection.stream("Count", 30, 1) == list(range(30))
        assert await asyncio.gather(*(connection.stream("Count", n, 1) for n in (5, 6))) == [
            list(range(5)),
            list(range(6)),
        ]
        with pytest.raises(ServerError) as failed:
            await connection.stream("Count", -1, 0)
        assert "negative" in str(failed.value.message)
        async with connection.client.client_stream("Sum") as upload:
            await upload.send(1)
        assert await connection.invoke("Echo", "still here") == "still here"


async def test_a_bad_token_is_refused(shared_server: Server, protocol: str) -> None:
    client = SignalRClient(
        shared_server.url + HUB, protocol=PROTOCOLS[protocol](), headers={"Authorization": "Bearer garbage"}
    )
    with pytest.raises(AuthorizationError):
        await client.run()
