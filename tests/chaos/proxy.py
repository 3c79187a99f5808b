"""A TCP proxy on loopback that breaks connections the ways that networks do; it knows only where frames end.

Bounded: at most ``MAX_LINKS`` connections unless it is told otherwise, and a few ``CHUNK_BYTES`` of each direction in
its hands. Read ``Proxy`` first.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.chaos.frame_count import FrameCount

__all__ = ["MAX_LINKS", "Proxy", "Route", "proxy"]

Route = Callable[[], Sequence[str]]
"""Where a new connection may go, the best first: ``http://host:port`` or ``unix:///path``."""

MAX_LINKS = 32
CHUNK_BYTES = 65_536
PIECES_PER_S = 10
_SOCKETIO = b"GET /socket.io/"
NO_LINGER = struct.pack("ii", 1, 0)


class Link:
    """One client connection and its connection to the server."""

    def __init__(self, target: str, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter) -> None:
        self.target = target
        self.to_client = to_client
        self.to_server = to_server
        self.mirror: asyncio.StreamWriter | None = None
        # What is read of the client, or of the server, is thrown away: a cable that nobody pulled.
        self.swallows_client = self.swallows_server = False
        # The server's side stays open when the client's has gone.
        self.is_half_open = False
        # By the request that it began with last.
        self.is_socketio = False
        self.from_server, self.from_client = FrameCount(), FrameCount()

    def frame_ends(self, chunk: bytes, *, is_from_client: bool) -> list[int]:
        """The places in ``chunk`` at which frames end, in either direction."""
        counter = self.from_client if is_from_client else self.from_server
        if counter.upgraded:
            return counter.feed(chunk)
        if is_from_client:
            self.is_socketio = chunk.startswith(_SOCKETIO)
        start = None if is_from_client else counter.feed_head(chunk)
        if start is None:
            return []
        self.from_client.upgraded = True
        return [start + end for end in counter.feed(chunk[start:])]


class Proxy:
    """Passes bytes to the server of ``target`` until it is told otherwise; see its verbs.

    ``url`` is where clients connect. ``delay_s``: each chunk waits so long, in either direction. ``rate_bytes_s``: so
    much is read of the server on each connection, 0 for all that comes. ``cuts`` counts the connections that
    ``cut_after_bytes`` and ``cut_after_frames`` have cut. ``on_link`` is told where each new connection has gone.
    ``spoken`` is what the newest WebSocket speaks, ``signalr`` or ``socketio``; "" before the first.
    """

    def __init__(self, target: str, *, max_links: int = MAX_LINKS) -> None:
        self.url = self.spoken = ""
        self.delay_s = 0.0
        self.rate_bytes_s = 0
        self.mirrors = False
        self.on_link: Callable[[str], None] = lambda _: None
        self._max_links = max_links
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

    @property
    def targets(self) -> list[str]:
        """Where the connections have gone."""
        return [link.target for link in self._links]

    def aim(self, target: str) -> None:
        """New connections go to another server."""
        self.follow(lambda: (target,))

    def follow(self, route: Route) -> None:
        """Each new connection goes where ``route`` says then, to the next place if the first does not take it."""
        self._route = route

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

    def black_hole(self, *, of_client: bool = True, of_server: bool = True) -> None:
        """Swallow what one side or both say on all connections, and let no new one through."""
        self.hold()
        for link in self._links:
            link.swallows_client, link.swallows_server = of_client, of_server

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

    def cut_no_more(self) -> None:
        """What was to be cut and has not been is not."""
        self._bytes_left = self._frames_left = None

    def heal(self) -> None:
        """Pass everything from now on. Connections that were broken stay so, and are reset."""
        self.delay_s, self.rate_bytes_s, self.mirrors = 0.0, 0, False
        self.cut_no_more()
        for link in tuple(self._links):
            if link.swallows_client or link.swallows_server or link.is_half_open:
                _cut(link)
        self.let_pass()

    def accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """A client has connected."""
        self.accepted += 1
        if len(self._tasks) >= self._max_links:
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
            target, (from_server, to_server) = await self._open()
            link = Link(target, to_client, to_server)
            self._links.add(link)
            self.on_link(target)
            try:
                async with asyncio.TaskGroup() as group:
                    if self.mirrors:
                        from_mirror, link.mirror = await _opened(target)
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

    async def _open(self) -> tuple[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        for target in self._route():
            with contextlib.suppress(OSError):  # then perhaps the next one is there
                return target, await _opened(target)
        raise ConnectionRefusedError("nobody is there")

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_from_client = writer is link.to_server
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES if is_from_client else self._piece_bytes()):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.rate_bytes_s and not is_from_client:
                    # Not for longer, so that nobody waits long for it after it is healed.
                    await asyncio.sleep(min(1.0, len(chunk) / self.rate_bytes_s))
                if link.swallows_client if is_from_client else link.swallows_server or link.is_half_open:
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

    def _piece_bytes(self) -> int:
        return max(1, self.rate_bytes_s // PIECES_PER_S) if self.rate_bytes_s else CHUNK_BYTES

    def _last_byte(self, link: Link, chunk: bytes, *, is_from_client: bool) -> int | None:
        """After how many bytes of ``chunk`` the link is to be cut; None for not now."""
        ends = link.frame_ends(chunk, is_from_client=is_from_client)
        if ends:
            self.spoken = "socketio" if link.is_socketio else "signalr"
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


async def _opened(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(target)
    if address.scheme == "unix":
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.hostname, address.port)


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
async def proxy(target: str, *, max_links: int = MAX_LINKS) -> AsyncIterator[Proxy]:
    """A proxy before the server at the URL ``target``, closed with the block."""
    running = Proxy(target, max_links=max_links)
    listener = await asyncio.start_server(running.accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
    port = listener.sockets[0].getsockname()[1]
    running.url = f"http://127.0.0.1:{port}"
    try:
        yield running
    finally:
        listener.close()
        await running.close()
        await listener.wait_closed()
