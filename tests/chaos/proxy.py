"""A TCP proxy on loopback that breaks connections the ways that networks do; it knows only where frames end.

Bounded: at most ``MAX_LINKS`` connections, and a few ``CHUNK_BYTES`` of each direction in its hands. Read ``Proxy``
first.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.chaos.frame_count import FrameCount

__all__ = ["Proxy", "proxy"]

MAX_LINKS = 32
CHUNK_BYTES = 65_536
NO_LINGER = struct.pack("ii", 1, 0)


class Link:
    """One client connection and its connection to the server."""

    def __init__(self, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter) -> None:
        self.to_client = to_client
        self.to_server = to_server
        self.mirror: asyncio.StreamWriter | None = None
        # What is read is thrown away, and neither end hears anything: a cable that nobody pulled.
        self.is_black_hole = False
        # The server's side stays open when the client's has gone.
        self.is_half_open = False
        self.from_server, self.from_client = FrameCount(), FrameCount()

    def frame_ends(self, chunk: bytes, *, is_from_client: bool) -> list[int]:
        """The places in ``chunk`` at which frames end, in either direction."""
        counter = self.from_client if is_from_client else self.from_server
        if counter.upgraded:
            return counter.feed(chunk)
        start = None if is_from_client else counter.feed_head(chunk)
        if start is None:
            return []
        self.from_client.upgraded = True
        return [start + end for end in counter.feed(chunk[start:])]


class Proxy:
    """Passes bytes to the server of ``target`` until it is told otherwise; see its verbs.

    ``url`` is where clients connect. ``delay_s``: each chunk waits so long, in either direction. ``cuts`` counts the
    connections that ``cut_after_bytes`` and ``cut_after_frames`` have cut.
    """

    def __init__(self, target: str) -> None:
        self.url = ""
        self.delay_s = 0.0
        self.mirrors = False
        self.accepted = self.cuts = 0
        self._links: set[Link] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes_left: int | None = None
        self._frames_left: int | None = None
        self.aim(target)

    @property
    def connected(self) -> int:
        """How many connections pass through."""
        return len(self._links)

    def aim(self, target: str) -> None:
        """New connections go to another server."""
        address = urlsplit(target)
        self._host, self._port = address.hostname, address.port

    def reset(self) -> None:
        """Cut all connections with a TCP reset on both sides."""
        for link in tuple(self._links):
            _cut(link)

    def finish(self) -> None:
        """End all connections with a TCP FIN on both sides."""
        for link in tuple(self._links):
            link.to_client.close()
            link.to_server.close()

    def half_open(self) -> None:
        """Reset the clients' side; the server goes on believing in a connection that is gone."""
        for link in tuple(self._links):
            link.is_half_open = True
            _reset(link.to_client)

    def black_hole(self) -> None:
        """Swallow everything on all connections, and let no new one through."""
        self.hold()
        for link in self._links:
            link.is_black_hole = True

    def hold(self) -> None:
        """New connections are accepted and get no answer, until ``let_pass``."""
        self._passes.clear()

    def let_pass(self) -> None:
        """New connections reach the server again."""
        self._passes.set()

    def cut_after_bytes(self, count: int) -> None:
        """Reset the connection on which byte number ``count`` from now on passes, in either direction, after it."""
        self._bytes_left = count

    def cut_after_frames(self, count: int) -> None:
        """Reset the connection on which frame number ``count`` from now on passes, in either direction, after it."""
        self._frames_left = count

    def heal(self) -> None:
        """Pass everything from now on. Connections that were broken stay so, and are reset."""
        self.delay_s, self.mirrors = 0.0, False
        self._bytes_left = self._frames_left = None
        for link in tuple(self._links):
            if link.is_black_hole or link.is_half_open:
                _cut(link)
        self.let_pass()

    def accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """A client has connected."""
        self.accepted += 1
        if len(self._tasks) >= MAX_LINKS:
            to_client.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(from_client, to_client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End everything."""
        self.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            await self._passes.wait()
            from_server, to_server = await asyncio.open_connection(self._host, self._port)
            link = Link(to_client, to_server)
            self._links.add(link)
            try:
                async with asyncio.TaskGroup() as group:
                    if self.mirrors:
                        from_mirror, link.mirror = await asyncio.open_connection(self._host, self._port)
                        group.create_task(_swallow(from_mirror))
                    group.create_task(self._pump(link, from_client, to_server))
                    group.create_task(self._pump(link, from_server, to_client))
            finally:
                self._links.discard(link)
                to_server.close()
                if link.mirror is not None:
                    link.mirror.close()
        except OSError:
            # The server is not there, which is what a client then sees too.
            _reset(to_client)
        finally:
            to_client.close()

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_from_client = writer is link.to_server
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if link.is_black_hole or (link.is_half_open and not is_from_client):
                    continue
                last = self._last_byte(link, chunk, is_from_client=is_from_client)
                writer.write(chunk[:last])
                if is_from_client and link.mirror is not None and not link.mirror.is_closing():
                    link.mirror.write(chunk[:last])
                await writer.drain()
                if last is not None:
                    self.cuts += 1
                    _cut(link)
        if not (link.is_half_open and is_from_client):
            writer.close()
            if link.mirror is not None:
                link.mirror.close()  # its reader ends, and with it the link

    def _last_byte(self, link: Link, chunk: bytes, *, is_from_client: bool) -> int | None:
        """After how many bytes of ``chunk`` the link is to be cut; None for not now."""
        ends = link.frame_ends(chunk, is_from_client=is_from_client)
        if self._bytes_left is not None:
            if self._bytes_left <= len(chunk):
                last, self._bytes_left = self._bytes_left, None
                return last
            self._bytes_left -= len(chunk)
        if self._frames_left is not None:
            if self._frames_left <= len(ends):
                last, self._frames_left = ends[self._frames_left - 1], None
                return last
            self._frames_left -= len(ends)
        return None


async def _swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(CHUNK_BYTES):
            pass


def _cut(link: Link) -> None:
    for writer in (link.to_client, link.to_server):
        _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Proxy]:
    """A proxy before the server at the URL ``target``, closed with the block."""
    running = Proxy(target)
    listener = await asyncio.start_server(running.accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
    port = listener.sockets[0].getsockname()[1]
    running.url = f"http://127.0.0.1:{port}"
    try:
        yield running
    finally:
        listener.close()
        await running.close()
        await listener.wait_closed()
