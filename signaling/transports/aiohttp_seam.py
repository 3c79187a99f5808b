"""The one file that goes past aiohttp: writing WebSocket frames without its writer, and the closing handshake.

aiohttp's ``send_bytes`` is a coroutine per frame and takes one message per frame. The 101 is ours, no extension is
negotiated and a server's frames are not masked, so a whole frame (RFC 6455, section 5.2) is a header of at most
ten bytes and the payload, and ``transport.write`` is public asyncio.
"""

import asyncio
import struct

from aiohttp import web

__all__ = ["FrameWriter"]

FINAL_TEXT = 0x81
FINAL_BINARY = 0x82
CLOSE_NORMAL = b"\x88\x02" + struct.pack("!H", 1_000)


class FrameWriter:
    """Writes whole frames to an upgraded connection, without waiting. A transport that is closing ignores them."""

    __slots__ = ("_close_sent", "_opcode", "_transport")

    def __init__(self, request: web.Request) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the connection is gone")
        self._transport: asyncio.Transport = transport
        self._opcode = FINAL_TEXT
        self._close_sent = False

    def use_binary(self) -> None:
        """From now on payloads go out in binary frames."""
        self._opcode = FINAL_BINARY

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def write(self, payload: bytes) -> None:
        """One data frame; nothing may follow a close frame (RFC 6455, section 5.5.1)."""
        if self._close_sent or self._transport.is_closing():
            return
        size = len(payload)
        if size < 126:
            header = bytes((self._opcode, size))
        elif size < 65_536:
            header = struct.pack("!BBH", self._opcode, 126, size)
        else:
            header = struct.pack("!BBQ", self._opcode, 127, size)
        self._transport.write(header + payload)

    def write_close(self) -> None:
        """The close frame, once."""
        if not self._close_sent and not self._transport.is_closing():
            self._close_sent = True
            self._transport.write(CLOSE_NORMAL)

    def end(self) -> None:
        """Send what waits, then end the TCP connection; aiohttp finds it closing and adds nothing."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection and what waits for it."""
        self._transport.abort()
