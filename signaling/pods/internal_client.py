"""Asking another process of the deployment over its internal address, and knowing that it was that one who answered.

Read ``InternalClient.ask`` first. What is asked again, and what an outcome means, is the caller's to know.
"""

import asyncio
import errno
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Final, TypeVar

import aiohttp

from signaling.config_pods import UNIX
from signaling.config_workers import MAX_WORKERS
from signaling.transports.aiohttp_seam import take_over_client

from .internal import ANSWER, OVERVIEW
from .signature import ANY_POD, SIGNATURE, STREAM, Signer, digest_of
from .tls import PodTls

__all__ = [
    "InternalAnswer",
    "InternalClient",
    "PodGone",
    "PodRefused",
    "PodSilent",
    "PodUnasked",
    "PodUnreached",
]

# Less than the other side keeps them, so that none is used that has just been closed.
KEPT_S: Final = 15.0
# Sockets of this machine that connections are kept to: whatever is asked over one that is let go is lost.
MAX_PATHS: Final = MAX_WORKERS
READ_BYTES: Final = 65_536
Found = TypeVar("Found")
# What is the matter with us, or with the way there: nothing of it says that nobody is there. ENOTCONN is how asyncio
# finds that the queue of a socket of this machine was full.
_NOT_ITS_FAULT: Final = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EAGAIN,
        errno.EHOSTUNREACH,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
    }
)
_SKIPPED: Final = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})


class PodUnreached(Exception):
    """The pod has not answered; ``outcome`` is a word for metrics."""

    outcome: ClassVar = ""


class PodGone(PodUnreached):
    """Nobody listens there, or the connection was lost before an answer."""

    outcome = "gone"


class PodUnasked(PodUnreached):
    """It could not be asked: whether it is there is not known."""

    outcome = "unknown"


class PodSilent(PodUnreached):
    """It did not answer in time."""

    outcome = "silent"


class PodRefused(PodUnreached):
    """Whoever is there does not know us, or does not show that it is the one that was asked."""

    outcome = "refused"


@dataclass(frozen=True, slots=True)
class InternalAnswer:
    """``body`` is there unless the answer is a stream, which ``content`` brings."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    content: aiohttp.StreamReader
    response: aiohttp.ClientResponse

    def take_over(self, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
        """The connection behind an answer of 101, with what has come over it already. Raises ConnectionResetError."""
        return take_over_client(self.response, protocol)


class InternalClient:
    """Asks others. ``timeout_s``: for a connection.

    ``tls``: whoever is not reached by a socket of this machine is asked over it, or not at all; None: in the clear.
    """

    def __init__(self, signer: Signer, *, timeout_s: float, tls: PodTls | None = None) -> None:
        self._signer = signer
        self._timeout_s = timeout_s
        self._tls = tls
        self._sessions: OrderedDict[str, aiohttp.ClientSession] = OrderedDict()

    async def fetch(self, address: str, path: str, *, to: str = ANY_POD, timeout_s: float) -> bytes:
        """The body of ``GET /internal{path}``. Raises PodUnreached, also for anything but 200."""
        async with self.ask(address, "GET", path, to=to, timeout_s=timeout_s) as answer:
            if answer.status != HTTPStatus.OK or answer.body is None:
                raise PodRefused
            return answer.body

    @asynccontextmanager
    async def ask(
        self,
        address: str,
        method: str,
        path: str,
        *,
        to: str,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] = b"",
    ) -> AsyncIterator[InternalAnswer]:
        """The answer of the pod ``to`` to ``method /internal{path}``; its beginning comes within ``timeout_s``.

        Raises:
            PodUnreached: there is none; also while a stream of an answer is read, as ClientError of aiohttp.
        """
        digest = digest_of(body) if isinstance(body, bytes) else STREAM
        target = OVERVIEW + path
        fields = self._signer.sign(method, target, dict(headers or {}), to=to, digest=digest)
        session, url = await self._session(address)
        asking = session.request(
            method,
            url + target,
            headers=fields,
            data=body or None,
            allow_redirects=False,
            ssl=True if self._tls is None else self._tls.client,
            server_hostname=self._tls.name or None if self._tls is not None else None,
        )
        response = await _within(timeout_s, asking)
        try:
            yield await self._checked(response, fields[SIGNATURE], timeout_s)
        finally:
            # Half read, the connection is of no use any more.
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def close(self) -> None:
        """End all connections."""
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def _checked(self, response: aiohttp.ClientResponse, signature: str, timeout_s: float) -> InternalAnswer:
        digest, _, tag = response.headers.get(ANSWER, "").partition(".")
        if not self._signer.is_answer(tag, signature, response.status, digest):
            raise PodRefused
        if digest == STREAM:
            return InternalAnswer(response.status, response.headers, None, response.content, response)
        body = await _within(timeout_s, response.read())
        if digest_of(body) != digest:
            raise PodRefused
        return InternalAnswer(response.status, response.headers, body, response.content, response)

    async def _session(self, address: str) -> tuple[aiohttp.ClientSession, str]:
        """Connections to sockets of this machine are kept per path, all others together."""
        path = address.removeprefix(UNIX) if address.startswith(UNIX) else ""
        if not path and address.startswith("https:") != (self._tls is not None):
            raise PodRefused
        session = self._sessions.get(path)
        if session is None:
            session = self._sessions[path] = self._new_session(path)
        self._sessions.move_to_end(path)
        if len(self._sessions) > MAX_PATHS:
            await self._sessions.popitem(last=False)[1].close()
        return session, "http://internal" if path else address

    def _new_session(self, path: str) -> aiohttp.ClientSession:
        # How many there may be is for those to say who ask.
        connector: aiohttp.BaseConnector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S)
        if path:
            connector = aiohttp.UnixConnector(path, limit=0, keepalive_timeout=KEPT_S)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s),
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            skip_auto_headers=_SKIPPED,
        )


async def _within(timeout_s: float, asking: Awaitable[Found]) -> Found:
    try:
        async with asyncio.timeout(timeout_s):
            return await asking
    except TimeoutError:
        raise PodSilent from None
    except aiohttp.ClientSSLError:
        raise PodRefused from None
    except (aiohttp.ClientError, OSError) as error:
        is_its_fault = getattr(error, "errno", None) not in _NOT_ITS_FAULT
        raise (PodGone if is_its_fault else PodUnasked) from None
