"""What this process answers to its own kind: an HTTP server beside the public one, for those who have the key only.

Who cannot sign gets 401 and nothing else; every other answer is signed, so that whoever asks knows who answered. Parts
of the server register what they answer. Knows no hub and no transport. Read ``InternalServer`` first.
"""

import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from signaling.config_error import ConfigError
from signaling.config_pods import UNIX, host_and_port
from signaling.log import HttpLog, LogBook
from signaling.transports.aiohttp_seam import Deadlines, StrictRunner, StrictSite, put_back

from .metrics import PodMetrics
from .signature import ANY_POD, STREAM, Asked, Verifier, digest_of
from .tls import PodTls

__all__ = ["ANSWER", "MAX_SIGNED_BYTES", "OVERVIEW", "InternalParts", "InternalServer", "asked_of", "upgrade_head"]

OVERVIEW: Final = "/internal"
ANSWER: Final = "Auricle-Answer"
# A longer body is signed for with its head only.
MAX_SIGNED_BYTES: Final = 65_536
ASKED: Final = web.RequestKey("asked", Asked)
VERIFIER: Final = web.AppKey("verifier", Verifier)

# Which pod it is does not matter to who looks after this process.
_OF_ANYONE: Final = frozenset(f"{OVERVIEW}/{name}" for name in ("healthz", "metrics", "readyz"))

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class InternalParts:
    """``listen``, ``address`` and ``backlog`` as in the configuration; ``pod`` is this process; ``tls`` None: none."""

    pod: str
    listen: str
    address: str
    backlog: int
    verifier: Verifier
    deadlines: Deadlines
    metrics: PodMetrics
    log: LogBook
    tls: PodTls | None = None


class InternalServer:
    """Answers other pods. ``address`` is where, once it is open; empty: nowhere."""

    def __init__(self, parts: InternalParts) -> None:
        self._parts = parts
        self._runner: StrictRunner | None = None
        self.address = ""
        self.app = web.Application(middlewares=[self._authenticated], client_max_size=MAX_SIGNED_BYTES + 1)
        self.app[VERIFIER] = parts.verifier
        self.app.on_response_prepare.append(_sign)

    def register(self, method: str, path: str, handler: Answering) -> None:
        """Answer ``method`` at ``/internal{path}``; before ``open``."""
        self.app.router.add_route(method, OVERVIEW + path, handler)

    async def open(self) -> None:
        """Listen, if that is wanted. Raises ConfigError."""
        parts = self._parts
        if not parts.listen:
            return
        runner = StrictRunner(
            self.app,
            parts.deadlines,
            handle_signals=False,
            shutdown_timeout=1.0,
            logger=HttpLog(parts.log).as_logger(),
        )
        await runner.setup()
        self._runner = runner
        try:
            listens_on = await _listen(runner, parts)
        except (OSError, UnicodeError) as error:
            await self.close()
            reason = error.strerror if isinstance(error, OSError) else "no such host"
            raise ConfigError(f"internal_listen: cannot listen on {parts.listen}: {reason}") from None
        self.address = parts.address or listens_on

    async def close(self) -> None:
        """Answer no more."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            if self._parts.listen.startswith(UNIX):
                _remove(self._parts.listen.removeprefix(UNIX))

    @web.middleware
    async def _authenticated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = self._parts.verifier.verify(request.method, request.raw_path, request.headers.items())
        if isinstance(asked, str):
            return self._refuse(asked)
        if asked.to == ANY_POD and request.path not in _OF_ANYONE:
            return self._refuse("misdirected")
        request[ASKED] = asked
        if asked.digest != STREAM:
            body = await request.read()
            if digest_of(body) != asked.digest:
                return self._refuse("forged")
            put_back(request, body)
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001  # the boundary of a request: nothing of an error leaks
            self._parts.log.request_crashed(route="internal", error=error)
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def _refuse(self, reason: str) -> web.StreamResponse:
        self._parts.metrics.refused.labels(reason).inc()
        answer = web.Response(status=HTTPStatus.UNAUTHORIZED)
        # Its body, if it has one, is nobody's.
        answer.force_close()
        return answer


def asked_of(request: web.Request) -> Asked | None:
    """Who asks internally; None for a request from outside."""
    return request.get(ASKED)


def upgrade_head(request: web.Request) -> bytes:
    """What an upgraded connection says before all else to the pod that asked for it; nothing to one from outside."""
    asked = asked_of(request)
    if asked is None:
        return b""
    tag = request.config_dict[VERIFIER].sign(asked.signature, HTTPStatus.SWITCHING_PROTOCOLS, STREAM)
    lines = (
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"{ANSWER}: {STREAM}.{tag}",
    )
    return "\r\n".join((*lines, "", "")).encode()


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    asked = asked_of(request)
    if asked is None or ANSWER in response.headers:
        return
    digest = STREAM
    if isinstance(response, web.Response) and isinstance(response.body, bytes | bytearray | None):
        body = bytes(response.body or b"")
        # A long one is handed on while it comes.
        digest = digest_of(body) if len(body) <= MAX_SIGNED_BYTES else STREAM
    tag = request.config_dict[VERIFIER].sign(asked.signature, response.status, digest)
    response.headers[ANSWER] = f"{digest}.{tag}"


async def _listen(runner: StrictRunner, parts: InternalParts) -> str:
    if parts.listen.startswith(UNIX):
        path = parts.listen.removeprefix(UNIX)
        await web.UnixSite(runner, path, backlog=parts.backlog).start()
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)  # one system call, which waits for nothing
        return parts.listen
    host, port = host_and_port(parts.listen)
    tls = None if parts.tls is None else parts.tls.server
    site = StrictSite(runner, host, port, backlog=parts.backlog, tls=tls, handshake_s=parts.deadlines.request_s)
    await site.start()
    scheme, port = "http" if tls is None else "https", runner.addresses[0][1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        Path(path).unlink()
