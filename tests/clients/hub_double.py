"""A hub to try the client against: the real codecs and the real state machine, and methods that misbehave.

The real server is used wherever a test is about fitting; here the client's own promises are tested, so
this hub can drop, hang and flood on demand.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from msgspec import Raw

from protocol.signalr.codec import codec_for
from protocol.signalr.connection import HubConnection
from protocol.signalr.endpoint import HubLimits
from protocol.signalr.events import Opened
from protocol.signalr.handshake import encode_response
from protocol.signalr.messages import (
    CancelInvocation,
    Close,
    Completion,
    Invocation,
    Message,
    StreamInvocation,
    StreamItem,
)
from protocol.signalr.prescan import ScanLimits

SOON_S = 30.0
PINGS = (b'{"type":6}\x1e', b"\x02\x91\x06")
LIMITS = HubLimits(max_message_bytes=8_388_608, scan=ScanLimits(keys=1_000_000))


class HubDouble:
    """Counts connects, keeps every call, answers ``method_*``."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []
        self.calls: list[str] = []
        self.answers: list[Completion] = []
        self.cancelled: list[str] = []
        self.links: list[Link] = []
        self.refuse_with = 0
        self.negotiate_error: str | None = None
        self.hangs = False
        self.handshake_error: str | None = None
        self.greeting: Message | None = None
        self.ignores_handshakes = False
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["HubDouble"]:
        app = web.Application()
        app.router.add_post("/hub/negotiate", self._negotiate)
        app.router.add_get("/hub", self._accept)
        server = TestServer(app)
        await server.start_server()
        self.url = str(server.make_url("/hub"))
        try:
            yield self
        finally:
            for link in self.links:
                link.drop()
            await server.close()

    async def _negotiate(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuse_with:
            return web.Response(status=self.refuse_with)
        if self.negotiate_error is not None:
            return web.json_response({"error": self.negotiate_error})
        number = len(self.tokens)
        return web.json_response(
            {
                "negotiateVersion": 1,
                "connectionId": f"id-{number}",
                "connectionToken": f"token-{number}",
                "availableTransports": [],
            }
        )

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        assert request.query["id"].startswith("token-")
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        link = Link(self, request, socket)
        self.links.append(link)
        await link.serve()
        return socket


class Link:
    """One connection of the double."""

    def __init__(self, hub: HubDouble, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.hub = hub
        self.connection = HubConnection(LIMITS, now=0.0)
        self._request, self._socket = request, socket
        self.pings = 0

    @property
    def closed(self) -> bool:
        """Whether the client has gone."""
        return self._socket.closed

    async def serve(self) -> None:
        async for frame in self._socket:
            data = frame.data if frame.type is WSMsgType.BINARY else frame.data.encode()
            self.pings += data in PINGS
            for event in self.connection.receive_data(data, 0.0):
                if isinstance(event, Opened) and self.hub.ignores_handshakes:
                    continue
                if isinstance(event, Opened) and self.hub.handshake_error is not None:
                    await self.write(encode_response(self.hub.handshake_error), binary=False)
                elif isinstance(event, Opened):
                    greeting = self.hub.greeting
                    first = b"" if greeting is None else self.connection.codec.encode(greeting)
                    await self.write(event.reply + first, event.protocol == "messagepack")
                elif isinstance(event, Invocation):
                    self.hub.calls.append(event.target)
                    await self._call(event)
                elif isinstance(event, StreamInvocation):
                    await self._stream(event)
                elif isinstance(event, CancelInvocation):
                    self.hub.cancelled.append(event.invocation_id)
                elif isinstance(event, Completion):
                    self.hub.answers.append(event)

    def drop(self) -> None:
        """Kill the TCP connection without a word."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def send(self, message: Message) -> None:
        codec = codec_for(self.connection.codec.name, LIMITS.scan)
        await self.write(codec.encode(message), codec.binary)

    async def send_many(self, *messages: Message) -> None:
        """Several messages in one frame, which a client must take apart."""
        codec = self.connection.codec
        await self.write(b"".join(codec.encode(message) for message in messages), codec.binary)

    async def write(self, data: bytes, binary: bool) -> None:
        if binary:
            await self._socket.send_bytes(data)
        else:
            await self._socket.send_str(data.decode())

    async def _call(self, call: Invocation) -> None:
        await getattr(self, f"method_{call.target.lower()}")(call)

    async def _stream(self, call: StreamInvocation) -> None:
        """``Count`` items and an end, ``CountAndFail`` items and an error, ``Endless``: one item and no end."""
        count = self._argument(call)
        assert isinstance(count, int)
        error = "HubException: no more" if call.target == "CountAndFail" else None
        items = range(1 if call.target == "Endless" else count)
        await self.send_many(*(StreamItem(invocation_id=call.invocation_id, item=item) for item in items))
        if call.target != "Endless":
            await self.send(Completion(invocation_id=call.invocation_id, error=error))

    async def send_item(self, stream_id: str, item: object) -> None:
        """An item that nobody may have asked for."""
        await self.send(StreamItem(invocation_id=stream_id, item=item))

    async def _answer(self, call: Invocation, result: object) -> None:
        assert call.invocation_id is not None
        await self.send(Completion(invocation_id=call.invocation_id, result=result))

    def _argument(self, call: Invocation | StreamInvocation, index: int = 0) -> object:
        raw = call.arguments[index]
        assert isinstance(raw, Raw)
        return self.connection.codec.free(raw)

    async def method_echo(self, call: Invocation) -> None:
        await self._answer(call, call.arguments[0])

    async def method_void(self, call: Invocation) -> None:
        assert call.invocation_id is not None
        await self.send(Completion(invocation_id=call.invocation_id))

    async def method_fail(self, call: Invocation) -> None:
        assert call.invocation_id is not None
        await self.send(Completion(invocation_id=call.invocation_id, error=str(self._argument(call))))

    async def method_blob(self, call: Invocation) -> None:
        size = self._argument(call)
        assert isinstance(size, int)
        await self._answer(call, "x" * size)

    async def method_hang(self, call: Invocation) -> None:
        """Never answer."""

    async def method_drop(self, call: Invocation) -> None:
        self.drop()

    async def method_note(self, call: Invocation) -> None:
        """Take a call that asks for no answer."""

    async def method_goodbye(self, call: Invocation) -> None:
        allow = self._argument(call) is True
        await self.send(Close("going away", allow_reconnect=allow))
        await self._socket.close()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until ``condition`` holds; fails after ``SOON_S``."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  # the far side of a real socket has no event to wait for
            await asyncio.sleep(0.001)  # sleep: as above
