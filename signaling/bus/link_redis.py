"""One connection to a server of the bus: commands out, replies in, and one error when it is gone.

It connects once and never by itself, waits for nothing that it was not told to, and says who we are and nothing more.
Whoever takes every reply takes it as it comes, without a task in between. Read ``Link`` first.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from .address import BusAddress, Login, Node
from .resp import NOTHING, BrokenReplies, Refusal, new_replies, pack

__all__ = ["Connect", "Link", "LinkLost", "Refusal", "connector"]

Connect = Callable[[Node, Login], Awaitable["Link"]]
Take = Callable[[Any], None]
# What is at hand is handed on without a pause, up to so much: the rest of the process comes in between.
_IN_A_ROW: Final = 64
# While nobody takes what comes, no more than this is read.
_HELD_BYTES: Final = 262_144


class LinkLost(Exception):
    """There is no connection, or none any more. ``cause``: one of a few words, or the code of a refusal."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Wire(asyncio.Protocol):
    """The socket's end: what comes is parsed, and handed on or held."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._replies = new_replies()
        self._held_bytes = 0
        self._take: Take | None = None
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._is_paused = False
        self.transport: asyncio.Transport | None = None
        self.lost: Exception | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        self._held_bytes += len(data)
        if self._take is not None:
            self._hand_on()
            return
        self._tell(self._news)
        if self._held_bytes > _HELD_BYTES:
            self._pause()

    def connection_lost(self, error: Exception | None, /) -> None:
        self._end(LinkLost("closed" if error is None else _code_of(error)))

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        self._tell(room)

    # Of the link

    async def write(self, data: bytes) -> None:
        if self.transport is None or self.lost is not None or self.transport.is_closing():
            raise LinkLost("closed")
        self.transport.write(data)
        if self._room is not None:
            await self._room
            if self.lost is not None:
                raise self.lost

    async def next(self) -> Any:
        while (said := self._gets()) is NOTHING:
            self._resume()
            if self.lost is not None:
                raise self.lost
            self._news = self._loop.create_future()
            await self._news
        return said

    async def each(self, take: Take) -> None:
        self._take, self._news = take, self._loop.create_future()
        ended = self._news
        try:
            self._hand_on()
            if self.lost is None:
                await ended
        finally:
            self._take = None
        if self.lost is not None:
            raise self.lost

    def _gets(self) -> Any:
        try:
            said = self._replies.gets()
        except BrokenReplies:
            self._end(LinkLost("broken"))
            return NOTHING
        if said is NOTHING:
            self._held_bytes = 0
        return said

    def _hand_on(self) -> None:
        take = self._take
        if take is None:
            return
        try:
            for _ in range(_IN_A_ROW):
                said = self._gets()
                if said is NOTHING:
                    self._resume()
                    return
                take(said)
        except Exception as error:  # noqa: BLE001  # whoever waits for the end of this connection is told
            self._end(error)
            return
        self._pause()
        self._loop.call_soon(self._hand_on)

    def _end(self, error: Exception) -> None:
        self.lost = self.lost or error
        if self.transport is not None:
            self.transport.abort()
        self._tell(self._news)
        self.resume_writing()

    def _pause(self) -> None:
        if not self._is_paused and self.transport is not None and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and self.transport is not None and not self.transport.is_closing():
            self._is_paused = False
            self.transport.resume_reading()

    @staticmethod
    def _tell(waiting: "asyncio.Future[None] | None") -> None:
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


class Link:
    """An open connection."""

    __slots__ = ("_wire",)

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    async def send(self, commands: Sequence[tuple[bytes, ...]]) -> None:
        """Write commands, in one piece; waits only while the socket takes no more. Raises LinkLost."""
        await self._wire.write(pack(commands))

    async def read(self) -> Any:
        """The next thing that the server says, however long that takes; a refusal is a value. Raises LinkLost."""
        return await self._wire.next()

    async def each(self, take: Take) -> None:
        """Have ``take`` called with all that the server says as it comes. Raises LinkLost, and what ``take`` raises."""
        await self._wire.each(take)

    async def ask(self, *command: bytes) -> Any:
        """One command and its reply. Raises LinkLost, also when it is refused."""
        await self.send((command,))
        reply = await self.read()
        if isinstance(reply, Refusal):
            raise LinkLost(reply.code)
        return reply

    async def aclose(self) -> None:
        """End it without a goodbye."""
        if self._wire.transport is not None:
            self._wire.transport.abort()


def connector(address: BusAddress, *, ca_file: str, timeout_s: float) -> Connect:
    """How connections to the servers of an address are opened, each within ``timeout_s``; LinkLost when it fails."""

    async def connect(node: Node, login: Login) -> Link:
        link: Link | None = None
        try:
            async with asyncio.timeout(timeout_s):
                link = Link(await _wire(node, _trust(ca_file) if address.tls else None))
                await _log_in(link, login)
        except BaseException as error:
            if link is not None:
                await link.aclose()
            if isinstance(error, OSError):
                raise LinkLost(_code_of(error)) from error
            raise
        return link

    return connect


async def _wire(node: Node, trust: ssl.SSLContext | None) -> _Wire:
    loop = asyncio.get_running_loop()
    if node.port == 0:
        return (await loop.create_unix_connection(_Wire, node.host))[1]
    transport, wire = await loop.create_connection(
        _Wire, node.host, node.port, ssl=trust, server_hostname=None if trust is None else node.host
    )
    plain = transport.get_extra_info("socket")
    if plain is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return wire


def _trust(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


async def _log_in(link: Link, login: Login) -> None:
    words = [word.encode() for word in (login.user, login.password) if word]
    if words:
        await link.ask(b"AUTH", *words)


def _code_of(error: BaseException) -> str:
    """The class of the error: texts may quote what was sent."""
    return "timeout" if isinstance(error, TimeoutError) else type(error).__name__
