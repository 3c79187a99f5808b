"""A WebSocket client of bytes: it sends what no library would, and reads only when it is told to."""

import asyncio
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.protocol.websocket.client import BINARY, CLOSE, TEXT, frame
from tests.signaling.by_hand import HELLO, HUB, PATIENCE_S, Client, parsed
from tests.signaling.conftest import House

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
NARROW_BYTES = 4_096


@dataclass
class Wire:
    """A TCP connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server, which never masks: its opcode and its payload."""
        async with asyncio.timeout(PATIENCE_S):
            first, length = await self.reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(length)

    async def close_code(self) -> int:
        """What the server's close frame says; data frames before it are skipped."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    async def ended(self) -> bytes:
        """What comes until the server ends the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def drop(self) -> None:
        """End the TCP connection without a word: the server sees it end, but no close frame."""
        self.writer.transport.abort()


async def dial(house: House, *, narrow: bool = False) -> Wire:
    """Connect until the test ends; ``narrow`` lets the server send only a few kilobytes ahead of the reader."""
    # Named as TCP, or asyncio would leave Nagle's algorithm on.
    end = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if narrow:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    end.setblocking(False)
    await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", urlsplit(house.url).port))
    wire = Wire(*await asyncio.open_connection(sock=end, limit=NARROW_BYTES if narrow else 2**20))
    house.drops.append(wire.drop)
    return wire


def upgrade(house: House, path: str = HUB, *who: str) -> bytes:
    """A request as RFC 6455 section 4.1 asks for it."""
    authorization = house.bearer(*who)["Authorization"]
    return (
        f"GET {path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nAuthorization: {authorization}\r\n\r\n"
    ).encode()


async def open_wire(house: House, path: str = HUB, *who: str, narrow: bool = False) -> Wire:
    """A connection behind its upgrade."""
    wire = await dial(house, narrow=narrow)
    wire.send(upgrade(house, path, *who))
    async with asyncio.timeout(PATIENCE_S):
        head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return wire


class RawSocket(Client):
    """A hub connection over such a wire."""

    wire: Wire

    async def open(self, *, narrow: bool = False) -> None:
        self.wire = await open_wire(self.house, self.path, *self.who, narrow=narrow)

    async def shake(self) -> None:
        await self.send(HELLO)
        assert await self.messages(1) == [{}]

    async def send(self, *frames: bytes) -> None:
        self.wire.send(frame(TEXT, b"".join(frames)))

    async def more(self) -> None:
        opcode, payload = await self.wire.frame()
        assert opcode in (TEXT, BINARY), (opcode, payload)
        self.inbox += parsed(payload)
