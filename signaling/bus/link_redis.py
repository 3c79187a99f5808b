"""One connection to a server of the bus: commands out, replies in, and one error when it is gone.

All that is used of the client library is here: it connects, once, with what TLS and logging in take. Then the
connection is ours, for the library wakes a task for each reply, which costs several times what a message does. Read
``Link`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .address import BusAddress, Login, Node
from .replies import NOTHING, LinkLost, Refusal, new_parser, numbers_in

__all__ = ["Connect", "Link", "LinkLost", "Refusal", "connector", "packed"]

Connect = Callable[[Node, Login], Awaitable["Link"]]
# What is at hand is handed on without a pause, up to so much: the rest of the process comes in between.
IN_A_ROW: Final = 64
# A parser moves whatever is left of what it was fed for each reply that it takes out: what has come at once, hundreds
# of messages perhaps, is fed in pieces.
PIECE_BYTES: Final = 8_192


class Link(asyncio.Protocol):
    """An open connection, from when the library has made it."""

    __slots__ = (
        "_connection",
        "_count",
        "_fed",
        "_is_paused",
        "_loop",
        "_lost",
        "_parser",
        "_rest",
        "_take",
        "_transport",
        "_waiter",
    )

    def __init__(self, connection: AbstractConnection) -> None:
        """Take it over. Raises LinkLost when the server has ended it already."""
        reader, writer = connection._reader, connection._writer
        if reader is None or writer is None or reader.at_eof() or writer.transport.is_closing():
            raise LinkLost("closed")
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._parser = new_parser()
        self._take: Callable[[Any], object] | None = None
        self._count: Callable[[int], None] | None = None
        self._waiter: asyncio.Future[Any] | None = None
        self._lost: Exception | None = None
        self._is_paused = False
        # What has come and was fed up to there only.
        self._rest, self._fed = b"", 0
        # Of every kind that the library opens; it types them as what can be written to.
        self._transport = cast("asyncio.Transport", writer.transport)
        self._transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        """Send packed commands; waits for nothing, so whoever asks bounds what is not answered. Raises LinkLost."""
        if self._lost is not None or self._transport.is_closing():
            raise LinkLost("closed")
        self._transport.write(data)

    async def follow(self, take: Callable[[Any], object], count: Callable[[int], None] | None = None) -> None:
        """Hand all that the server says to ``take``, at once; a refusal is a value. Never returns.

        With ``count``, numbers that come together may be counted only. Raises LinkLost, or what is raised by these two:
        then nothing more is taken.
        """
        waiter = self._waits(take)
        self._count = count
        self._hand_on()
        await waiter

    async def ask(self, *command: bytes) -> Any:
        """One command and its reply. Raises LinkLost, also when it is refused."""
        waiter = self._waits(lambda said: None if waiter.done() else waiter.set_result(said))
        self.write(packed((command,)))
        reply = await waiter
        if isinstance(reply, Refusal):
            raise LinkLost(reply.code)
        return reply

    async def aclose(self) -> None:
        """End it without a goodbye."""
        await self._connection.disconnect(nowait=True)

    def _waits(self, take: Callable[[Any], object]) -> "asyncio.Future[Any]":
        if self._lost is not None:
            raise self._lost
        self._take = take
        self._waiter = self._loop.create_future()
        return self._waiter

    # asyncio tells

    def data_received(self, data: bytes) -> None:
        """Bytes of the server."""
        if self._count is not None and not self._holds_some() and (numbers := numbers_in(data)):
            try:
                self._count(numbers)
            except Exception as error:  # noqa: BLE001  # whoever follows is told
                self._end(error)
            return
        self._rest, self._fed = self._rest[self._fed :] + data if self._rest else data, 0
        if not self._is_paused:
            self._hand_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._end(LinkLost("ConnectionError" if exc is None else type(exc).__name__))

    def _hand_on(self) -> None:
        take, gets = self._take, self._parser.gets
        if take is None:
            return
        try:
            for _ in range(IN_A_ROW):
                said = gets()
                while said is NOTHING and self._rest:
                    self._feed()
                    said = gets()
                if said is NOTHING:
                    break
                take(said)
            else:
                self._pause()
                return
        except Exception as error:  # noqa: BLE001  # whoever follows is told
            self._end(error)
            return
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _holds_some(self) -> bool:
        return bool(self._rest) or self._parser.has_data()

    def _feed(self) -> None:
        begin, rest = self._fed, self._rest
        size = min(PIECE_BYTES, len(rest) - begin)
        self._parser.feed(rest, begin, size)
        self._fed += size
        if self._fed == len(rest):
            self._rest, self._fed = b"", 0

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._loop.call_soon(self._hand_on)

    def _end(self, error: Exception) -> None:
        self._take = self._count = None
        if self._lost is None:
            self._lost = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._lost)


def connector(address: BusAddress, *, ca_file: str, timeout_s: float) -> Connect:
    """How connections to the servers of an address are opened, each within ``timeout_s``; LinkLost when it fails."""

    async def connect(node: Node, login: Login) -> Link:
        connection = _connection(address, node, login, ca_file)
        try:
            async with asyncio.timeout(timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # the library leaves it untyped
            return Link(connection)
        except (RedisError, OSError, RuntimeError) as error:
            await connection.disconnect(nowait=True)
            raise LinkLost(_code_of(error)) from error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    return connect


def packed(commands: Sequence[tuple[bytes, ...]]) -> bytes:
    """Commands as they travel (RESP)."""
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in command]
    return b"".join(parts)


def _connection(address: BusAddress, node: Node, login: Login, ca_file: str) -> AbstractConnection:
    options: dict[str, Any] = {
        "username": login.user or None,
        "password": login.password or None,
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
    }
    if node.port == 0:
        return UnixDomainSocketConnection(path=node.host, **options)
    options |= {"host": node.host, "port": node.port}
    if address.tls:
        return SSLConnection(ssl_ca_certs=ca_file or None, ssl_cert_reqs="required", ssl_check_hostname=True, **options)
    return Connection(socket_keepalive=True, **options)


def _code_of(error: RedisError | OSError | RuntimeError) -> str:
    """The word that a server gave for its refusal, or the class of the error: texts may quote what was sent."""
    if isinstance(error, TimeoutError):
        return "timeout"
    # While it connects the library wraps what the server has refused.
    code = getattr(error, "status_code", None) or getattr(error.__cause__, "status_code", None)
    return code if isinstance(code, str) and code.isalpha() else type(error).__name__
