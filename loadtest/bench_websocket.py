"""A WebSocket client (RFC 6455) that costs so little that the server stays the one that is measured.

It joins what one turn of the loop sends into one write, masks with a key of zeros (the payload stays as it is; the
key protects proxies, and there is none on loopback) and takes whole data frames only: whatever else comes ends the
run. It must not know what the payloads mean. Read ``connect`` first.
"""

import asyncio
import base64
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, cast
from urllib.parse import urlsplit

__all__ = ["BenchFailed", "Opcode", "WebSocket", "client_frame", "connect", "upgrade_request"]

_FINAL: Final = 0x80
_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)
_MAX_HEAD_BYTES: Final = 16_384
_KEY: Final = base64.b64encode(bytes(16)).decode()

Receiver = Callable[[bytes], None]


class BenchFailed(Exception):
    """A server did not do what it should, so its figures would mean nothing."""


class Opcode(IntEnum):
    """The kinds of a data frame (RFC 6455, section 5.2)."""

    TEXT = 1
    BINARY = 2


def client_frame(opcode: Opcode, payload: bytes) -> bytes:
    """One whole frame from a client."""
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 65_536:
        head = struct.pack("!BBH", _FINAL | opcode, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | 127, size)
    return head + _NO_MASK + payload


class WebSocket(asyncio.Protocol):
    """One connection. ``on_payload`` is given every data frame's payload, ``on_lost`` the reason of an end."""

    def __init__(self, request: bytes, *, speaks_first: bool = False) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._held = b""
        self._upgraded = False
        self._queued: list[bytes] = []
        self._waiting: asyncio.Future[bytes] | None = self._loop.create_future() if speaks_first else None
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.on_payload: Receiver = self._answer
        self.on_lost: Callable[[str], None] = self._lost

    def send(self, frame: bytes) -> None:
        """Queue a whole frame for the end of this turn of the loop."""
        if not self._queued:
            self._loop.call_soon(self._flush)
        self._queued.append(frame)

    async def exchange(self, frame: bytes) -> bytes:
        """Send a frame and wait for the next payload."""
        self.send(frame)
        return await self.receive()

    async def welcome(self) -> bytes:
        """The first payload of a server that ``speaks_first``. Raises BenchFailed when there is none."""
        assert self._waiting is not None
        return await self._waiting

    async def receive(self) -> bytes:
        """The next payload, while nobody has taken ``on_payload`` over. Raises BenchFailed when there is none."""
        if self.closed.done():
            raise BenchFailed("the server ended the connection")
        self._waiting = self._loop.create_future()
        return await self._waiting

    async def close(self) -> None:
        """Drop the connection; what comes late is ignored."""
        self.on_payload, self.on_lost = _ignore, _ignore
        if self._transport is not None and not self.closed.done():
            self._transport.abort()
            await self.closed

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._held:
            data = self._held + data
            self._held = b""
        if not self._upgraded:
            data = self._read_head(data)
        start = 0
        while (end := self._read_frame(data, start)) > start:
            start = end
        if start < len(data):
            self._held = data[start:]

    def connection_lost(self, _: Exception | None, /) -> None:
        """See ``asyncio.Protocol``."""
        if not self.closed.done():
            self.closed.set_result(None)
        self._fail("the server ended the connection")

    def _read_head(self, data: bytes) -> bytes:
        head, blank_line, rest = data.partition(b"\r\n\r\n")
        if not blank_line and len(data) < _MAX_HEAD_BYTES:
            self._held = data
            return b""
        status = head.split(b"\r\n", 1)[0].split(b" ")
        if status[1:2] == [b"101"]:
            self._upgraded = True
            if not self.opened.done():
                self.opened.set_result(None)
            return rest
        self._fail(f"no WebSocket upgrade: {head[:80]!r}")
        return b""

    def _read_frame(self, data: bytes, start: int) -> int:
        """The index behind the frame at ``start``, or ``start`` while it is not whole."""
        if len(data) < start + 2:
            return start
        first, size = data[start], data[start + 1]
        body = start + 2
        if size == 126:
            body += 2
            size = int.from_bytes(data[body - 2 : body], "big")
        elif size == 127:
            body += 8
            size = int.from_bytes(data[body - 8 : body], "big")
        end = body + size
        if first not in (_FINAL | Opcode.TEXT, _FINAL | Opcode.BINARY):
            self._fail(f"an unexpected frame: {first:#04x}")
            return len(data)
        # A length that is cut off reads as a smaller number, so the header is looked at again.
        if len(data) < body or len(data) < end:
            return start
        self.on_payload(data[body:end])
        return end

    def _answer(self, payload: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self._fail("a message that nobody asked for")
        else:
            self._waiting.set_result(payload)

    def _flush(self) -> None:
        if self._transport is not None and not self.closed.done():
            self._transport.write(b"".join(self._queued))
        self._queued.clear()

    def _fail(self, reason: str) -> None:
        self.on_lost(reason)
        if self._transport is not None:
            self._transport.abort()

    def _lost(self, reason: str) -> None:
        for waiting in (self.opened, self._waiting):
            if waiting is not None and not waiting.done():
                waiting.set_exception(BenchFailed(reason))


def _ignore(_: object) -> None:
    """What nobody wants to know any more."""


def upgrade_request(url: str, headers: dict[str, str]) -> tuple[str, int, bytes]:
    """Host, port, and the bytes that ask there for a WebSocket at ``url`` (http, on loopback)."""
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path}{'?' * bool(parts.query)}{parts.query} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {_KEY}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return parts.hostname or "", parts.port or 80, "\r\n".join((*lines, "", "")).encode()


async def connect(url: str, headers: dict[str, str], *, speaks_first: bool = False) -> WebSocket:
    """An open connection to ``url`` (http, on loopback). Raises BenchFailed when the server refuses."""
    host, port, request = upgrade_request(url, headers)
    loop = asyncio.get_running_loop()
    try:
        _, socket = await loop.create_connection(lambda: WebSocket(request, speaks_first=speaks_first), host, port)
    except OSError as error:
        raise BenchFailed(f"cannot connect: {error.strerror}") from None
    try:
        await socket.opened
    except BaseException:
        await socket.close()
        raise
    return socket
