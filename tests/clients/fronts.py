"""What stands before a server, for tests: a TCP front that chooses a backend for each connection, perhaps with TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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
    now = datetime.now(UTC)
    authority, ours = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _signed("throw-away", "throw-away", authority, authority, now + timedelta(days=400), is_authority=True)
    leaf = _signed("localhost", "throw-away", ours, authority, now + good_for, is_authority=False)
    ca_file, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    ca_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(ours.private_bytes(*private))
    return Identity(ca_file, certificate, key)


def _signed(
    name: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    until: datetime,
    *,
    is_authority: bool,
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=500))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .sign(by, hashes.SHA256())
    )


def port_of(url: str) -> int:
    """The port of an address that names one."""
    port = urlsplit(url).port
    assert port is not None
    return port
