"""A hub connection over a WebSocket: text frames for JSON, binary frames for MessagePack, bytes in between."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

from .aiohttp_seam import FrameWriter

__all__ = ["WebSocketTransport"]


class WebSocketTransport:
    """A ``SessionTransport`` over an upgraded request, whose socket must not answer closes by itself.

    ``close_timeout_s``: how long a close of ours waits for the client's close frame.
    """

    name = "web_sockets"
    binary_ok = True

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, close_timeout_s: float) -> None:
        self._socket = socket
        self._close_timeout_s = close_timeout_s
        self._writer = FrameWriter(request)
        self._ended: asyncio.Event | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the client sends: a byte stream, whatever frames it was cut into."""
        try:
            async for message in self._socket:
                if message.type is WSMsgType.BINARY or message.type is WSMsgType.TEXT:
                    yield message.data
        finally:
            self._writer.write_close()
            self._writer.end()
            if self._ended is not None:
                self._ended.set()

    def use_binary(self) -> None:
        """See ``SessionTransport``."""
        self._writer.use_binary()

    @property
    def waiting_bytes(self) -> int:
        """See ``SessionTransport``."""
        return self._writer.waiting_bytes

    def write(self, payload: bytes) -> None:
        """One frame: the JavaScript client parses frame by frame, so a message is never split."""
        self._writer.write(payload)

    def abort(self) -> None:
        """See ``SessionTransport``."""
        self._writer.abort()

    async def close(self) -> None:
        """A close frame, then wait for the client's, but not for ever: an early end could lose our last words."""
        if self._ended is not None:
            return
        self._ended = asyncio.Event()
        self._writer.write_close()
        try:
            async with asyncio.timeout(self._close_timeout_s):
                await self._ended.wait()
        except TimeoutError:
            pass
        finally:
            self._writer.abort()
