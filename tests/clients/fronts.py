"""What stands before a server, for tests: a TCP front that chooses a backend for each connection, perhaps with TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from tests.authority import Authority

__all__ = ["Choose", "Identity", "front", "identity", "port_of", "stranger"]

MOST_HEAD_BYTES = 65_536
Choose = Callable[[bytes], int]
Reword = Callable[[bytes], bytes]


@asynccontextmanager
async def front(
    choose: Choose, *, reword: Reword = lambda data: data, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A port. ``choose`` gives the backend's port for the first bytes; ``reword`` changes the first of an answer."""
    ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Reword) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(MOST_HEAD_BYTES):
                writer.write(change(data))
                await writer.drain()
                change = _same
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        head = await reader.read(MOST_HEAD_BYTES)
        if not head:
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", choose(head))
        ends.append(to_server)
        to_server.write(head)
        await asyncio.gather(pump(reader, to_server, _same), pump(from_server, writer, reword))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for end in ends:
            end.transport.abort()


def _same(data: bytes) -> bytes:
    return data


@asynccontextmanager
async def stranger(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[int]:
    """The port of a web server that is no Auricle and answers everything so."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Identity:
    """A certificate of this machine by an authority that nobody knows: ``ca_file`` trusts it, ``context`` shows it."""

    def __init__(self, ca_file: Path, certificate: Path, key: Path) -> None:
        self.ca_file = ca_file
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)


def identity(folder: Path, *, good_for: timedelta) -> Identity:
    """A throw-away authority, and its certificate for ``localhost``, which ends after that time."""
    authority = Authority(folder)
    return Identity(authority.ca_file, *authority.certificate("server", "localhost", good_for=good_for))


def port_of(url: str) -> int:
    """The port of an address that names one."""
    port = urlsplit(url).port
    assert port is not None
    return port
