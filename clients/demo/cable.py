"""A cable between the phone and the server that can be pulled, or be a bad one.

A TCP relay of its own: pulling it resets both sides, as a lost radio link or a dying proxy does, and a delay makes it
the link of a train in the hills, so phone and server are tried from outside and no client offers a way to break itself.
It must not know what the bytes mean. Read ``Cable.pull`` first.
"""

import asyncio
import socket
import struct
from types import TracebackType
from typing import Final, Self

__all__ = ["Cable"]

_CHUNK: Final = 65_536
_NO_LINGER: Final = struct.pack("ii", 1, 0)
# Chunks that are on their way in one direction; what comes then waits at its sender.
_MOST_IN_FLIGHT: Final = 64


class Cable:
    """Listens on a free port of 127.0.0.1 and relays every connection to ``port``.

    ``delay_s`` is how long whatever is sent from now on takes each way; nothing overtakes what was sent before it.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._carriers: set[asyncio.Task[object]] = set()
        self._plugged = True
        self.pulls = 0
        self.delay_s = 0.0

    @property
    def port(self) -> int:
        """The port that the phone uses instead of the server's own."""
        if self._server is None:
            raise RuntimeError("the cable is not open")
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._cut()
            await self._server.wait_closed()
            # Until Python 3.12 the server does not wait for those who carry.
            if self._carriers:
                await asyncio.wait(self._carriers)

    def pull(self) -> None:
        """Reset every connection now; new ones are refused until ``plug_in``."""
        self.pulls += 1
        self._plugged = False
        self._cut()

    def plug_in(self) -> None:
        """Let new connections through again."""
        self._plugged = True

    def _cut(self) -> None:
        for end in self._ends:
            _reset(end)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = asyncio.current_task()
        assert carrier is not None  # noqa: S101  # start_server runs this in a task
        self._carriers.add(carrier)
        try:
            if self._plugged:
                await self._join(reader, writer)
        except ConnectionError:
            pass  # one side is gone; the other learns it from the abort below
        finally:
            _reset(writer)
            self._carriers.discard(carrier)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._relay(reader, far_writer))
                tasks.create_task(self._relay(far_reader, writer))
        finally:
            self._ends -= ends
            far_writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_IN_FLIGHT)
        loop, due_s, data = asyncio.get_running_loop(), 0.0, b"-"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_arrive(flying, writer))
                while data:
                    data = await reader.read(_CHUNK)
                    due_s = max(due_s, loop.time() + self.delay_s)
                    await flying.put((due_s, data))
        except* ConnectionError:
            writer.transport.abort()


def _reset(end: asyncio.StreamWriter) -> None:
    """End a connection by RST: with no time to linger, closing sends no orderly FIN."""
    if not end.transport.is_closing():
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    end.transport.abort()


async def _arrive(flying: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
    """Write each chunk when its time has come; an empty one is the end."""
    loop = asyncio.get_running_loop()
    while True:
        due_s, data = await flying.get()
        if (wait_s := due_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        if not data:
            writer.close()
            return
        writer.write(data)
        await writer.drain()
