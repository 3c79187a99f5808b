"""The one file that touches aiohttp's internals: leaving it after a WebSocket upgrade.

aiohttp's WebSocket reader takes frames that RFC 6455 forbids, wakes a task per message, and keeps a parsed request, a
parser and a task alive per connection. So after the 101, which is ours, the transport gets another protocol
(``set_protocol`` is public asyncio) and aiohttp's request handler is told that its connection is gone.
"""

import asyncio
from typing import NoReturn

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

__all__ = ["LeftAiohttp", "take_over"]


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
