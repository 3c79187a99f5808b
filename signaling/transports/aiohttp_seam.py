"""The one file that touches aiohttp's internals: how it treats strangers, and leaving it after a WebSocket upgrade.

aiohttp's WebSocket reader takes frames that RFC 6455 forbids, wakes a task per message, and keeps a parsed request, a
parser and a task alive per connection. So after the 101, which is ours, the transport gets another protocol
(``set_protocol`` is public asyncio) and aiohttp's request handler is told that its connection is gone.

What aiohttp cannot understand it quotes, in its answer and in its log: a token could be in there. And it lets a
connection on which nothing is asked, or only half of something, live for an hour. Its runner here does neither.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from typing import Any, Final, NoReturn, cast

from aiohttp import ClientResponse, StreamReader, web
from aiohttp.web_protocol import RequestHandler

from protocol.websocket.masking import Unmask
from protocol.websocket.masking import unmask as unmask_in_python
from signaling.config import Config

_C_MASK: Final = "aiohttp._websocket.mask"

__all__ = [
    "Deadlines",
    "LeftAiohttp",
    "StrictRunner",
    "StrictSite",
    "find_unmask",
    "put_back",
    "stop_reading",
    "take_over",
    "take_over_client",
    "unmask",
]


def find_unmask() -> Unmask:
    """aiohttp's own unmasking if it has it in C, else the one in Python."""
    try:
        mask_in_place = import_module(_C_MASK)._websocket_mask_cython
    except (ImportError, AttributeError):
        return unmask_in_python

    def unmask_in_c(payload: bytes, mask: bytes) -> bytes:
        plain = bytearray(payload)
        mask_in_place(mask, plain)
        return bytes(plain)

    return unmask_in_c


# Less than half the time of the one in Python for small frames, a fiftieth for large ones.
unmask: Final = find_unmask()


class LeftAiohttp(web.StreamResponse):
    """What a handler returns whose connection aiohttp no longer has."""

    async def prepare(self, request: web.BaseRequest) -> NoReturn:
        """aiohttp takes this for a client that went away, and lets go."""
        raise ConnectionResetError("the connection has left the HTTP server")


def take_over(request: web.Request, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
    """Hand the request's connection to ``protocol``: its transport, and bytes that came behind the request.

    Raises:
        ConnectionResetError: the client has gone already.
    """
    handler: RequestHandler = request.protocol
    transport = handler.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    behind = handler._message_tail
    handler._message_tail = b""
    transport.set_protocol(protocol)
    # The handler would close the transport that it still knew.
    handler.transport = None
    handler.connection_lost(None)
    return transport, behind


def take_over_client(response: ClientResponse, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
    """The same for a connection of ours, behind the 101 of the other end.

    Raises:
        ConnectionResetError: the other end has gone already.
    """
    connection = response.connection
    handler = connection.protocol if connection is not None else None
    transport = handler.transport if handler is not None else None
    if handler is None or transport is None or transport.is_closing():
        raise ConnectionResetError("the other end has gone")
    behind, handler._tail = handler._tail, b""
    transport.set_protocol(protocol)
    handler.transport = None
    handler.connection_lost(None)
    # It reads no more once enough has come behind the answer.
    transport.resume_reading()
    return transport, behind


def stop_reading(request: web.Request) -> None:
    """Take nothing more of a request's body: the connection ends behind its answer, not after a while of waiting."""
    if request.transport is not None and not request.transport.is_closing():
        request.transport.pause_reading()
    # What is not at its end would be waited for.
    request.content.feed_eof()


def put_back(request: web.Request, body: bytes) -> None:
    """Let a body that was read to its end be read once more."""
    content = StreamReader(request.protocol, len(body) + 1, loop=asyncio.get_running_loop())
    content.feed_data(body)
    content.feed_eof()
    request._payload = content


@dataclass(frozen=True, slots=True)
class Deadlines:
    """``request_s``: for the head of a request, from the connection's first moment or from the head's first byte.

    ``body_s``: how long the rest of a body that nobody asked for may take. ``idle_s``: how long a connection is kept
    between two requests. ``reached`` is told the configuration field.
    """

    request_s: float
    body_s: float
    idle_s: float
    reached: Callable[[str], None]

    @classmethod
    def of(cls, config: Config, reached: Callable[[str], None]) -> "Deadlines":
        """As they are configured."""
        return cls(
            request_s=config.request_timeout_s,
            body_s=config.body_timeout_s,
            idle_s=config.idle_timeout_s,
            reached=reached,
        )


class StrictRunner(web.AppRunner):
    """Runs an application for strangers."""

    def __init__(self, app: web.Application, deadlines: Deadlines, **options: Any) -> None:
        # A body that nobody asked for is read to its end all the same: unpacked, a little of it would be a lot of work.
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=deadlines.idle_s,
            lingering_time=deadlines.body_s,
            auto_decompress=False,
            **options,
        )
        self._deadlines = deadlines

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            plain.request_handler,
            request_factory=plain.request_factory,
            loop=asyncio.get_running_loop(),
            deadlines=self._deadlines,
            **plain._kwargs,
        )


class StrictSite(web.TCPSite):
    """Where it listens. ``handshake_s``: how long a client may take for its part of TLS; aiohttp gives it a minute."""

    def __init__(
        self,
        runner: StrictRunner,
        host: str,
        port: int,
        *,
        backlog: int,
        tls: ssl.SSLContext | None,
        handshake_s: float,
    ) -> None:
        super().__init__(runner, host, port, backlog=backlog, ssl_context=tls)
        self._handshake_s = handshake_s

    async def start(self) -> None:
        """Listen. Raises OSError."""
        if self._ssl_context is None:
            await super().start()
            return
        await web.BaseSite.start(self)
        self._server = await asyncio.get_running_loop().create_server(
            cast(web.Server, self._runner.server),
            self._host,
            self._port,
            backlog=self._backlog,
            ssl=self._ssl_context,
            ssl_handshake_timeout=self._handshake_s,
            ssl_shutdown_timeout=self._handshake_s,
        )


class _Server(web.Server):
    def __init__(self, *arguments: Any, deadlines: Deadlines, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.deadlines = deadlines

    def __call__(self) -> RequestHandler:
        return _Handler(self, self.deadlines, loop=self._loop, **self._kwargs)


class _Handler(RequestHandler):
    __slots__ = ("_deadlines", "_in_head")

    def __init__(self, manager: web.Server, deadlines: Deadlines, **options: Any) -> None:
        super().__init__(manager, **options)
        self._deadlines = deadlines
        # Whether the head of a request is being sent, or should be: that of the first one from the beginning.
        self._in_head = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As in aiohttp, but the first request has a deadline of its own."""
        super().connection_made(transport)
        self._head_is_due()

    def data_received(self, data: bytes) -> None:
        """As in aiohttp, but whoever begins a request has a deadline for the rest of its head."""
        super().data_received(data)
        if self._messages:
            self._in_head = False
        elif self._waiter is not None and not self._waiter.done() and not self._in_head:
            self._in_head = True
            self._head_is_due()

    def _head_is_due(self) -> None:
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._next_keepalive_close_time = self._loop.time() + self._deadlines.request_s
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def _process_keepalive(self) -> None:
        was_open = not self._force_close
        super()._process_keepalive()
        if was_open and self._force_close:
            self._deadlines.reached("request_timeout_s" if self._in_head else "idle_timeout_s")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request; errors of handlers never come here, the application answers them."""
        if request.writer.output_size > 0:
            raise ConnectionError("An answer has begun already")
        answer = web.Response(status=status, text=HTTPStatus(status).phrase)
        answer.force_close()
        return answer
