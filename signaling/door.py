"""Who comes in: connections are taken from the kernel a few at a time, so that those who are here have their turns.

However many come at once, only as many are let in as there is time for; the others wait where waiting costs nothing, in
the queue of the kernel. Must not know what is spoken over a connection. Read ``Door.open`` first.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from .log import LogBook
from .paced import Paced, Way
from .tasks import TaskSet

__all__ = ["Door"]

_PAUSE_S: Final = 1.0


class Door:
    """Listens, and makes a protocol with ``factory`` for each connection, at the pace of ``paced``.

    ``reached`` is told of ``max_accepts`` when one has to wait.
    """

    def __init__(
        self, factory: Callable[[], asyncio.BaseProtocol], *, paced: Paced, reached: Callable[[str], None], log: LogBook
    ) -> None:
        self._factory = factory
        self._paced = paced
        self._reached = reached
        self._log = log
        self._opening = TaskSet("door", log)
        self._listeners: list[socket.socket] = []

    @property
    def addresses(self) -> list[tuple[Any, ...]]:
        """Where it listens, as ``getsockname`` says it."""
        return [listener.getsockname() for listener in self._listeners]

    async def open(self, host: str, port: int, *, backlog: int, reuse_port: bool = False) -> None:
        """Listen on every address of a host. Raises OSError, UnicodeError for what is no name."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                listener = socket.socket(family, kind, protocol)
                self._listeners.append(listener)
                listener.setblocking(False)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if reuse_port:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    # The address of the other family has a socket of its own.
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
            for listener in self._listeners:
                listener.listen(backlog)
                loop.add_reader(listener, self._knocked, listener)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Take nobody any more; who was taken is being looked after when this returns."""
        loop = asyncio.get_running_loop()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            loop.remove_reader(listener)
            listener.close()
        await self._opening.finish(_PAUSE_S)

    def _knocked(self, listener: socket.socket) -> None:
        # One of them is taken in its turn, and it is not asked again and again until then.
        asyncio.get_running_loop().remove_reader(listener)
        self._next(listener)

    def _next(self, listener: socket.socket) -> None:
        if not self._paced.do(Way.IN, lambda: self._take(listener)):
            self._reached("max_accepts")

    def _take(self, listener: socket.socket) -> None:
        if listener not in self._listeners:
            return
        try:
            connection, _address = listener.accept()
        except (InterruptedError, ConnectionAbortedError):
            self._next(listener)
        except BlockingIOError:
            self._listen_again(listener)
        except OSError as error:
            # No more files, no memory, or what the network has to say of who came: it may pass, and the door must not
            # stay shut.
            self._log.task_failed(owner="door", error=error)
            asyncio.get_running_loop().call_later(_PAUSE_S, self._listen_again, listener)
        else:
            connection.setblocking(False)
            self._opening.spawn(self._let_in(connection))
            self._next(listener)

    def _listen_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._knocked, listener)

    async def _let_in(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._factory, connection)
        except OSError:
            # It has gone already.
            connection.close()
