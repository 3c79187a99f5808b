"""One connection to a server of the bus: commands out, replies in, and one error when it is gone.

All that is used of the client library is here. It connects once and never by itself, waits for nothing that it was not
told to, and says who we are and nothing more. Read ``Link`` first.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from .address import BusAddress, Login, Node

__all__ = ["Connect", "Link", "LinkLost", "Refusal", "connector"]

Connect = Callable[[Node, Login], Awaitable["Link"]]


class LinkLost(Exception):
    """There is no connection, or none any more. ``cause``: one of a few words, or the code of a refusal."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Refusal:
    """A command was refused; ``code`` is the word that the server gave, such as ``MOVED`` or ``NOPERM``."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code


class Link:
    """An open connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def send(self, commands: Sequence[tuple[bytes, ...]]) -> None:
        """Write commands, in one piece; waits only while the socket takes no more. Raises LinkLost."""
        if not self._connection.is_connected:
            # The library would connect anew, to a server that knows of no subscription.
            raise LinkLost("closed")
        try:
            await self._connection.send_packed_command(_packed(commands), check_health=False)
        except (RedisError, OSError, RuntimeError) as error:
            raise LinkLost(_code_of(error)) from error

    async def read(self) -> Any:
        """The next thing that the server says, however long that takes; a refusal is a value. Raises LinkLost."""
        try:
            return await self._connection.read_response(disable_decoding=True, timeout=math.inf)
        except ResponseError as error:
            return Refusal(_code_of(error))
        except (RedisError, OSError, RuntimeError) as error:
            raise LinkLost(_code_of(error)) from error

    async def ask(self, *command: bytes) -> Any:
        """One command and its reply. Raises LinkLost, also when it is refused."""
        await self.send((command,))
        reply = await self.read()
        if isinstance(reply, Refusal):
            raise LinkLost(reply.code)
        return reply

    async def aclose(self) -> None:
        """End it without a goodbye."""
        await self._connection.disconnect(nowait=True)


def connector(address: BusAddress, *, ca_file: str, timeout_s: float) -> Connect:
    """How connections to the servers of an address are opened, each within ``timeout_s``; LinkLost when it fails."""

    async def connect(node: Node, login: Login) -> Link:
        connection = _connection(address, node, login, ca_file)
        try:
            async with asyncio.timeout(timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        except (RedisError, OSError, RuntimeError) as error:
            await connection.disconnect(nowait=True)
            raise LinkLost(_code_of(error)) from error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return Link(connection)

    return connect


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


def _packed(commands: Sequence[tuple[bytes, ...]]) -> bytes:
    """Commands as they travel (RESP): the library's own way looks at each word for what it might be besides bytes."""
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in command]
    return b"".join(parts)


def _code_of(error: RedisError | OSError | RuntimeError) -> str:
    """The word that a server gave for its refusal, or the class of the error: texts may quote what was sent."""
    if isinstance(error, TimeoutError):
        return "timeout"
    # While it connects the library wraps what the server has refused.
    code = getattr(error, "status_code", None) or getattr(error.__cause__, "status_code", None)
    return code if isinstance(code, str) and code.isalpha() else type(error).__name__
