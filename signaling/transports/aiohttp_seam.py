"""The one file that touches aiohttp's internals: how it treats strangers, and leaving it after a WebSocket upgrade.

aiohttp's WebSocket reader takes frames that RFC 6455 forbids, wakes a task per message, and keeps a parsed request, a
parser and a task alive per connection. So after the 101, which is ours, the transport gets another protocol
(``set_protocol`` is public asyncio) and aiohttp's request handler is told that its connection is gone.

What aiohttp cannot understand it quotes, in its answer and in its log: a token could be in there. And it lets a
connection on which nothing was ever asked live for an hour. Its runner here does neither.
"""

import asyncio
from http import HTTPStatus
from typing import Any, NoReturn

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

__all__ = ["LeftAiohttp", "StrictRunner", "take_over"]


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


class StrictRunner(web.AppRunner):
    """Runs an application for strangers.

    ``request_timeout_s``: how long a new connection may take to send the head of its first request.
    """

    def __init__(self, app: web.Application, *, request_timeout_s: float, **options: Any) -> None:
        super().__init__(app, access_log=None, **options)
        self._request_timeout_s = request_timeout_s

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            plain.request_handler,
            request_factory=plain.request_factory,
            loop=asyncio.get_running_loop(),
            request_timeout_s=self._request_timeout_s,
            **plain._kwargs,
        )


class _Server(web.Server):
    def __init__(self, *arguments: Any, request_timeout_s: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.request_timeout_s = request_timeout_s

    def __call__(self) -> RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


class _Handler(RequestHandler):
    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As in aiohttp, but the first request has a deadline of its own."""
        super().connection_made(transport)
        if self._keepalive_handle is not None and isinstance(self._manager, _Server):
            self._keepalive_handle.cancel()
            self._next_keepalive_close_time = self._loop.time() + self._manager.request_timeout_s
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

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
