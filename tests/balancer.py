"""A load balancer for tests that keeps no client on a server: each TCP connection goes to the next one that is up.

Of HTTP it knows only this: a request that is no upgrade is told to be the last one of its connection, so that the next
one goes elsewhere. Read ``Balancer.serve`` first.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["Balancer", "balancer"]

MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 10.0


@dataclass
class Balancer:
    """``targets`` are URLs of servers, and may change; ``went`` counts the connections of each."""

    targets: list[str]
    url: str = ""
    went: dict[str, int] = field(default_factory=dict)
    _next: int = 0
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def reset(self) -> None:
        """Cut everything that goes through it."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client has connected."""
        task = asyncio.get_running_loop().create_task(self.serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to whoever is next."""
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(HEAD_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    from_server, to_server = await self._connect()
                self._writers.add(to_server)
                try:
                    to_server.write(_last_of_its_connection(head))
                    async with asyncio.TaskGroup() as both:
                        both.create_task(_copy(reader, to_server))
                        both.create_task(_copy(from_server, writer))
                finally:
                    self._writers.discard(to_server)
                    to_server.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def close(self) -> None:
        """End everything."""
        self.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(len(self.targets)):
            target = self.targets[self._next % len(self.targets)]
            self._next += 1
            address = urlsplit(target)
            try:
                connection = await asyncio.open_connection(address.hostname, address.port)
            except OSError:
                continue
            self.went[target] = self.went.get(target, 0) + 1
            return connection
        raise ConnectionRefusedError("no server is up")


def _last_of_its_connection(head: bytes) -> bytes:
    first, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    names = [line.partition(b":")[0].strip().lower() for line in fields]
    if b"upgrade" in names:
        return head
    kept = [line for name, line in zip(names, fields, strict=True) if name not in (b"connection", b"keep-alive")]
    return b"\r\n".join((first, *kept, b"Connection: close", b"", b""))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the end; a side that breaks off breaks the other one off too."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


@asynccontextmanager
async def balancer(*targets: str) -> AsyncIterator[Balancer]:
    """One in front of these servers."""
    running = Balancer(list(targets))
    server = await asyncio.start_server(running.accept, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.close()
        await running.close()
