"""Carrying a request for a connection to the pod that has it, and its answer back, as if nobody stood between.

One hop only: what was forwarded is never forwarded again. Nothing here knows what is said. A client that leaves ends
what is carried for it, and so does a pod that is gone. Read ``Forwarder.forward`` first.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from protocol.errors import Unavailable
from signaling.bodies import Bodies
from signaling.health import Readiness
from signaling.pods.directory import PodDirectory
from signaling.pods.internal import MAX_SIGNED_BYTES, asked_of
from signaling.pods.internal_client import InternalAnswer, InternalClient, PodUnreached
from signaling.pods.metrics import PodMetrics

from .aiohttp_seam import LeftAiohttp, take_over
from .guard import UNKNOWN, Refuse, refuse, refused
from .posts import has_gone
from .tunnel import Tunnel, TunnelLimits
from .websocket import upgrade_answer

__all__ = ["CONNECTION", "Errand", "ForwardParts", "Forwarder", "Kind", "hub_route", "wait_of"]

CONNECTION: Final = "Auricle-Connection"
# How long a poll may wait, in seconds, when that is less than usual.
WAIT: Final = "Auricle-Wait"
# While this pod says goodbye: soon enough that nothing is on its way any more when it ends.
DRAINING_WAIT_S: Final = 0.5
# Of an answer: what belongs to one hop, and what the HTTP server adds by itself.
_OF_ONE_HOP: Final = frozenset(
    {"auricle-answer", "connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
)


def hub_route(hub: str) -> str:
    """Where a pod is asked for connections of a hub."""
    return f"/hubs/{hub}"


def wait_of(request: web.Request) -> float | None:
    """How long the poll of another pod may wait, if that says so."""
    return float(request.headers[WAIT]) if asked_of(request) is not None and WAIT in request.headers else None


class Kind(Enum):
    """What is carried; the values are words of metrics."""

    POLL = "poll"
    EVENTS = "events"
    SOCKET = "socket"
    POST = "post"
    DELETE = "delete"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Errand:
    """What to carry to which pod, where it answers at ``route``; ``form`` makes refusals of ours.

    ``token``: of the connection. ``headers`` go along; their names begin with ``Auricle-``, or are signed for anyway.
    """

    pod: str
    route: str
    token: str
    kind: Kind
    headers: Mapping[str, str]
    form: Refuse = refuse

    @property
    def path(self) -> str:
        """Where the pod is asked."""
        return f"{self.route}/refresh" if self.kind is Kind.REFRESH else self.route


@dataclass(frozen=True, slots=True)
class ForwardParts:
    """``timeout_s``: for an answer, beside the ``wait_s`` that a poll or a POST may have to wait.

    ``bodies`` are those of POSTs.
    """

    client: InternalClient
    directory: PodDirectory
    metrics: PodMetrics
    bodies: Bodies
    readiness: Readiness
    timeout_s: float
    wait_s: float
    max_forwards: int
    tunnels: TunnelLimits
    monotonic: Callable[[], float]


@dataclass(eq=False, slots=True)
class _Carried:
    """One that is on its way; ``ended_by`` says what has ended it early, ``begun`` is an answer that has begun.

    ``writing`` counts the pieces of it, and is 0 while the client waits for us; ``stuck`` tells which piece it has been
    looked at with, and since when.
    """

    request: web.Request
    errand: Errand
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    ended_by: str = ""
    begun: web.StreamResponse | None = None
    writing: int = 0
    stuck: tuple[int, float] = (0, 0.0)

    def end(self, why: str) -> None:
        """Wait no longer."""
        if not self.ended_by:
            self.ended_by = why
            self.scope.reschedule(asyncio.get_running_loop().time())


@dataclass(slots=True)
class _Body:
    """A body that is handed on as it comes; ``error`` is what was wrong with it."""

    pieces: AsyncIterator[bytes]
    error: web.HTTPException | None = field(default=None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self.pieces:
                yield piece
        except web.HTTPException as error:
            self.error = error
            raise


class Forwarder:
    """Carries requests of this pod's clients to other pods."""

    def __init__(self, parts: ForwardParts) -> None:
        self._parts = parts
        self._carried: set[_Carried] = set()
        # Each with the pod that it leads to.
        self._tunnels: dict[Tunnel, str] = {}
        self._landed = asyncio.Event()

    def __len__(self) -> int:
        """How many are on their way."""
        return len(self._carried) + len(self._tunnels)

    async def forward(self, request: web.Request, errand: Errand) -> web.StreamResponse:
        """The answer of the pod that has the connection: 404 when it is gone, 503 when it does not answer."""
        parts = self._parts
        refusal = upgrade_answer(request) if errand.kind is Kind.SOCKET else None
        if isinstance(refusal, web.Response):
            return refusal
        if len(self) >= parts.max_forwards:
            parts.metrics.reached("max_forwards")
            return self._outcome(errand, "full")
        carried = _Carried(request, errand)
        self._carried.add(carried)
        try:
            async with carried.scope:
                return await self._carry(carried)
        except TimeoutError:
            return carried.begun or self._outcome(errand, carried.ended_by or "silent")
        except web.HTTPException as error:
            return refused(error)
        finally:
            self._carried.discard(carried)
            self._landed.set()
            if carried.ended_by and carried.begun is not None and request.transport is not None:
                # What has come must not look as if it were all.
                request.transport.abort()

    def sweep(self) -> None:
        """End what nobody waits for any more, or nobody will answer."""
        now_s = self._parts.monotonic()
        for one in tuple(self._carried):
            if has_gone(one.request):
                one.end("left")
            elif self._parts.directory.address_of(one.errand.pod) is None:
                one.end("gone")
            elif one.writing != one.stuck[0]:
                one.stuck = one.writing, now_s
            elif one.writing and now_s - one.stuck[1] >= self._parts.wait_s:
                # Meanwhile nobody would notice that the owner has gone.
                self._parts.metrics.reached("forward_timeout_s")
                one.end("left")
        for tunnel, pod in tuple(self._tunnels.items()):
            if self._parts.directory.address_of(pod) is None:
                # A machine that was switched off says nothing, not even that it has gone.
                tunnel.abort()
            else:
                tunnel.tick(now_s)

    async def send_home(self) -> None:
        """This pod ends soon: have the polls answered that wait elsewhere for its clients."""
        waiting = {(one.errand.pod, one.errand.route) for one in self._carried if one.errand.kind is Kind.POLL}
        async with asyncio.TaskGroup() as asking:
            for pod, route in waiting:
                asking.create_task(self._send_home(pod, route))

    async def emptied(self) -> None:
        """Wait until no request is on its way: what an owner has handed over would be lost with this process."""
        while any(one.errand.kind is not Kind.EVENTS for one in self._carried):
            self._landed.clear()
            await self._landed.wait()

    async def _send_home(self, pod: str, route: str) -> None:
        parts, address = self._parts, self._parts.directory.address_of(pod)
        if address is None:
            return
        # One that does not answer: its polls end with this process.
        with contextlib.suppress(PodUnreached):
            async with parts.client.ask(address, "POST", f"{route}/send-home", to=pod, timeout_s=parts.timeout_s):
                pass

    def close(self) -> None:
        """End everything that is still on its way."""
        for tunnel in tuple(self._tunnels):
            tunnel.abort()

    async def _carry(self, carried: _Carried) -> web.StreamResponse:
        parts, request, errand = self._parts, carried.request, carried.errand
        try:
            address = parts.directory.address_of(errand.pod) or await parts.directory.look(errand.pod)
        except Unavailable:
            return self._outcome(errand, "unknown")
        if address is None:
            return self._outcome(errand, "gone")
        may_wait = errand.kind in (Kind.POLL, Kind.POST)
        body = await self._body(request) if errand.kind is Kind.POST else b""
        asking = parts.client.ask(
            address,
            request.method,
            errand.path,
            to=errand.pod,
            timeout_s=parts.timeout_s + parts.wait_s * may_wait,
            headers=self._headers(request, errand),
            body=body,
        )
        try:
            async with asking as answer:
                self._count(errand, "answered")
                if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
                    return self._tunnel(carried, answer)
                return await self._answer(carried, answer)
        except PodUnreached as error:
            if isinstance(body, _Body) and body.error is not None:
                return refused(body.error)
            return self._outcome(errand, error.outcome)

    async def _body(self, request: web.Request) -> "bytes | _Body":
        """A short one as a whole, so that it can be signed for; of one that nobody takes only how it is packed."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return b""
        pieces = self._parts.bodies.pieces(request)
        if request.content_length is not None and request.content_length <= MAX_SIGNED_BYTES:
            return b"".join([piece async for piece in pieces])
        return _Body(pieces)

    def _headers(self, request: web.Request, errand: Errand) -> dict[str, str]:
        headers = {**errand.headers, CONNECTION: errand.token}
        if "Content-Encoding" in request.headers:
            headers["Content-Encoding"] = request.headers["Content-Encoding"]
        if errand.kind is Kind.EVENTS:
            headers["Accept"] = "text/event-stream"
        elif errand.kind is Kind.POLL and self._parts.readiness.draining:
            headers[WAIT] = str(DRAINING_WAIT_S)
        elif errand.kind is Kind.SOCKET:
            headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}
            headers |= {name: request.headers[name] for name in ("Sec-WebSocket-Key", "Sec-WebSocket-Version")}
        return headers

    async def _answer(self, carried: _Carried, answer: InternalAnswer) -> web.StreamResponse:
        headers = CIMultiDict(
            (name, value) for name, value in answer.headers.items() if name.lower() not in _OF_ONE_HOP
        )
        response = web.StreamResponse(status=answer.status, headers=headers)
        if answer.body is not None:
            response = web.Response(status=answer.status, headers=headers, body=answer.body)
        if self._parts.readiness.draining:
            # The client's next request had better go to another pod.
            response.force_close()
        if answer.body is None:
            await self._stream(carried, answer, response)
        return response

    async def _stream(self, carried: _Carried, answer: InternalAnswer, response: web.StreamResponse) -> None:
        """Hand on what comes, as fast as the client takes it."""
        if "Content-Length" in answer.headers:
            response.content_length = int(answer.headers["Content-Length"])
        carried.begun, pieces = response, 0
        try:
            await response.prepare(carried.request)
            while piece := await answer.content.readany():
                carried.writing = pieces = pieces + 1
                await response.write(piece)
                carried.writing = 0
        except (aiohttp.ClientError, OSError):
            carried.ended_by = "left" if has_gone(carried.request) else "gone"

    def _tunnel(self, carried: _Carried, answer: InternalAnswer) -> web.StreamResponse:
        parts = self._parts
        tunnel = Tunnel(parts.tunnels, lambda: self._forget(tunnel))
        try:
            to_client = take_over(carried.request, tunnel.client)
        except ConnectionResetError:
            return LeftAiohttp()
        try:
            to_owner = answer.take_over(tunnel.owner)
        except ConnectionResetError:
            to_client[0].abort()
            return LeftAiohttp()
        self._tunnels[tunnel] = carried.errand.pod
        tunnel.join(to_client, to_owner)
        return LeftAiohttp()

    def _forget(self, tunnel: Tunnel) -> None:
        self._tunnels.pop(tunnel, None)

    def _outcome(self, errand: Errand, outcome: str) -> web.StreamResponse:
        """Our own answer in the place of the owner's."""
        self._count(errand, outcome)
        if outcome == "silent":
            self._parts.metrics.reached("forward_timeout_s")
        if outcome in ("full", "silent", "unknown"):
            return errand.form(HTTPStatus.SERVICE_UNAVAILABLE, "The connection cannot be reached", {"Retry-After": "1"})
        return errand.form(HTTPStatus.NOT_FOUND, UNKNOWN, None)

    def _count(self, errand: Errand, outcome: str) -> None:
        self._parts.metrics.forwarded.labels(errand.kind.value, outcome).inc()
