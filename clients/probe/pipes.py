"""The three transports of SignalR as a client uses them, each request on a TCP connection of its own.

A pipe moves bytes of the hub protocol and knows nothing else of it: a WebSocket, an event stream with posts, or polls
with posts. Read ``Pipe`` first.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Literal, Protocol

import aiohttp

from clients.probe.target import Target
from clients.probe.verdicts import Trouble
from clients.probe.web import Answer, browser_of, fetch, in_plain_words

__all__ = ["EventStreamPipe", "Pipe", "PollPipe", "WebSocketPipe", "event_stream", "polls", "websocket"]

_MAX_FRAME_BYTES: Final = 1_048_576
_DATA: Final = b"data:"


class Pipe(Protocol):
    """One connection of a hub, by the token that its negotiation gave."""

    async def send(self, data: bytes) -> None:
        """Raises Trouble."""
        ...

    async def receive(self) -> bytes:
        """What comes next, possibly nothing at all. Raises Trouble when nothing will come any more."""
        ...


class WebSocketPipe:
    """A WebSocket; ``cut`` ends its TCP connection without a word of goodbye."""

    def __init__(
        self,
        browser: aiohttp.ClientSession,
        socket: aiohttp.ClientWebSocketResponse[Literal[False]],
        *,
        binary: bool,
    ) -> None:
        self._browser, self._socket = browser, socket
        self._kind = aiohttp.WSMsgType.BINARY if binary else aiohttp.WSMsgType.TEXT

    async def send(self, data: bytes) -> None:
        """See ``Pipe``."""
        async with in_plain_words():
            await self._socket.send_frame(data, self._kind)

    async def receive(self) -> bytes:
        """See ``Pipe``."""
        async with in_plain_words():
            frame = await self._socket.receive()
        if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise Trouble("the WebSocket was ended")
        data: bytes = frame.data
        return data

    async def cut(self) -> None:
        """The connection is gone, as in a tunnel."""
        if self._browser.connector is not None:
            await self._browser.connector.close()


class _Posts:
    """The client's half of what is no WebSocket."""

    def __init__(self, browser: aiohttp.ClientSession, target: Target, token: str) -> None:
        self._browser, self._target = browser, target
        self._query = {"id": token}

    async def send(self, data: bytes) -> None:
        """See ``Pipe``."""
        answer = await self._ask("POST", data)
        if answer.status != 200:
            raise Trouble(f"a POST was answered with {answer.status}{_hint(answer.status)}")

    async def _ask(self, method: str, data: bytes | None = None) -> Answer:
        headers = self._target.authorization
        return await fetch(self._browser, method, self._target.hub, headers=headers, params=self._query, data=data)


class EventStreamPipe(_Posts):
    """Server-Sent Events (HTML Standard, "Interpreting an event stream"); text only."""

    def __init__(
        self, browser: aiohttp.ClientSession, target: Target, token: str, stream: aiohttp.ClientResponse
    ) -> None:
        super().__init__(browser, target, token)
        self._stream = stream

    async def receive(self) -> bytes:
        """See ``Pipe``."""
        lines: list[bytes] = []
        while True:
            async with in_plain_words():
                try:
                    line = await self._stream.content.readline()
                except ValueError:
                    raise Trouble("a line of the event stream is too long") from None
            if not line:
                raise Trouble("the event stream was ended")
            line = line.rstrip(b"\r\n")
            if line.startswith(_DATA):
                lines.append(line[len(_DATA) :].removeprefix(b" "))
            elif not line and lines:
                return b"\n".join(lines)


class PollPipe(_Posts):
    """Long polling; ``requests`` counts what was asked, each on a TCP connection of its own."""

    requests = 0

    async def receive(self) -> bytes:
        """See ``Pipe``."""
        answer = await self._ask("GET")
        if answer.status == 204:
            raise Trouble("the server has ended the connection")
        if answer.status != 200:
            raise Trouble(f"a poll was answered with {answer.status}{_hint(answer.status)}")
        return answer.body

    async def end(self) -> None:
        """Say goodbye. Raises Trouble when it is not heard."""
        answer = await self._ask("DELETE")
        if answer.status not in (200, 202):
            raise Trouble(f"the goodbye was answered with {answer.status}{_hint(answer.status)}")

    async def _ask(self, method: str, data: bytes | None = None) -> Answer:
        self.requests += 1
        return await super()._ask(method, data)


@asynccontextmanager
async def websocket(target: Target, token: str, *, binary: bool) -> AsyncIterator[WebSocketPipe]:
    """An open WebSocket on a TCP connection that is nobody else's. Raises Trouble."""
    async with browser_of(target) as browser:
        async with in_plain_words():
            socket = await browser.ws_connect(
                target.hub,
                params={"id": token},
                headers=target.authorization,
                max_msg_size=_MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                decode_text=False,
            )
        try:
            yield WebSocketPipe(browser, socket, binary=binary)
        finally:
            await socket.close()


@asynccontextmanager
async def event_stream(target: Target, token: str) -> AsyncIterator[EventStreamPipe]:
    """An open event stream. Raises Trouble."""
    headers: Mapping[str, str] = {**target.authorization, "Accept": "text/event-stream"}
    async with browser_of(target) as browser:
        async with in_plain_words():
            stream = await browser.get(target.hub, params={"id": token}, headers=headers, allow_redirects=False)
        try:
            if stream.status != 200 or stream.content_type != "text/event-stream":
                raise Trouble(f"the event stream was answered with {stream.status}{_hint(stream.status)}")
            yield EventStreamPipe(browser, target, token, stream)
        finally:
            stream.close()


@asynccontextmanager
async def polls(target: Target, token: str, browser: aiohttp.ClientSession | None = None) -> AsyncIterator[PollPipe]:
    """Long polling, once its first poll was answered; over ``browser`` if one is given. Raises Trouble."""
    if browser is None:
        async with browser_of(target) as own, polls(target, token, own) as pipe:
            yield pipe
        return
    pipe = PollPipe(browser, target, token)
    await pipe.receive()
    yield pipe
    await pipe.end()


def _hint(status: int) -> str:
    """What a status means for whoever runs the deployment."""
    return ": it did not reach the pod that holds the connection, or that one was restarted" if status == 404 else ""
