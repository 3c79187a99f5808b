"""Engine.IO over HTTP: opens sessions, polls and posts, and WebSockets that begin one or take one over.

Ours, and not python-engineio's: that one leaves the body of a POST, the bytes that wait and the packets of a session
without a bound, closes nothing that breaks the protocol, and starts two tasks per message. Statuses and texts are those
of Node's engine.io, which clients know. It must not know Socket.IO. Read ``EngineServer.handle`` first.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import web

from protocol.errors import RemoteProtocolError
from protocol.socketio.engine import SEPARATOR, open_packet, packets_of_body
from protocol.websocket.upgrade import UpgradeRefused, accept_upgrade
from signaling.bodies import Bodies
from signaling.outbox import congestion_bytes
from signaling.pods.internal import asked_of, upgrade_head

from .aiohttp_seam import LeftAiohttp, take_over
from .engineio_elsewhere import CONTENT_TYPE, EngineElsewhere
from .engineio_socket import EngineLimits, EngineOwner, EngineSocket
from .engineio_websocket import EngineWebSocket
from .forward import CONNECTION, wait_of
from .guard import refuse

__all__ = ["EngineServer"]

VERSION: Final = "4"
_TEXT: Final = "text/plain; charset=UTF-8"


class _Refusal(NamedTuple):
    code: int
    message: str


_TRANSPORT_UNKNOWN: Final = _Refusal(0, "Transport unknown")
_SESSION_UNKNOWN: Final = _Refusal(1, "Session ID unknown")
_BAD_METHOD: Final = _Refusal(2, "Bad handshake method")
_BAD_REQUEST: Final = _Refusal(3, "Bad request")
_BAD_VERSION: Final = _Refusal(5, "Unsupported protocol version")


def _refuse(refusal: _Refusal) -> web.Response:
    return web.json_response({"code": refusal.code, "message": refusal.message}, status=HTTPStatus.BAD_REQUEST)


def _unknown(status: HTTPStatus, text: str, headers: dict[str, str] | None) -> web.Response:
    """A pod that is gone has taken its sessions along; one that is only silent may answer the next time."""
    return _refuse(_SESSION_UNKNOWN) if status is HTTPStatus.NOT_FOUND else refuse(status, text, headers)


class EngineServer:
    """``new_sid`` makes ids of sessions, which are secrets. ``no_room`` answers whoever cannot be taken.

    ``others``: sessions of other pods, None: there are none. ``sockets`` are the open sessions by id. ``reached`` is
    told the name of a bound.
    """

    def __init__(
        self,
        limits: EngineLimits,
        *,
        new_sid: Callable[[], str],
        no_room: Callable[[], web.Response | None],
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
    ) -> None:
        self.limits = limits
        self.sockets: dict[str, EngineSocket] = {}
        self.owner: EngineOwner
        self.others: EngineElsewhere | None = None
        self._new_sid = new_sid
        self._no_room = no_room
        self._monotonic = monotonic
        self._reached = reached
        self._bodies = Bodies(limits.max_body_bytes, "max_poll_bytes", limits.body_timeout_s, reached)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request at the path of the server."""
        transport, sid = request.query.get("transport"), request.query.get("sid")
        if transport not in ("polling", "websocket"):
            return _refuse(_TRANSPORT_UNKNOWN)
        if sid is None:
            return self._open(request, is_websocket=transport == "websocket")
        return await self._of_session(request, sid, is_websocket=transport == "websocket")

    async def handle_inside(self, request: web.Request) -> web.StreamResponse:
        """A request for a session of this pod that has come to another one."""
        sid = request.headers.get(CONNECTION, "")
        return await self._of_session(request, sid, is_websocket="Upgrade" in request.headers)

    async def send_home(self, request: web.Request) -> web.StreamResponse:
        """The pod that asks ends soon: the polls that it has brought are answered now, and nothing gets lost."""
        asked = asked_of(request)
        for socket in tuple(self.sockets.values()):
            if asked is not None:
                socket.send_home(asked.sender)
        return web.Response()

    async def _of_session(self, request: web.Request, sid: str, *, is_websocket: bool) -> web.StreamResponse:
        socket = self.sockets.get(sid)
        if socket is None or socket.closed:
            answer = None
            if self.others is not None:
                answer = await self.others.answer(request, sid, is_websocket=is_websocket, unknown=_unknown)
            return _refuse(_SESSION_UNKNOWN) if answer is None else answer
        if is_websocket:
            return self._upgrade(request, socket)
        if request.method == "GET" and socket.polls:
            return await self._poll(request, socket)
        if request.method == "POST" and socket.polls:
            return await self._post(request, socket)
        return _refuse(_BAD_REQUEST)

    def sweep(self) -> None:
        """Look at the timers of all sessions."""
        now = self._monotonic()
        for socket in tuple(self.sockets.values()):
            socket.tick(now)

    def forget(self, socket: EngineSocket) -> None:
        """It has ended."""
        self.sockets.pop(socket.sid, None)

    def _open(self, request: web.Request, *, is_websocket: bool) -> web.StreamResponse:
        if request.method != "GET":
            return _refuse(_BAD_METHOD)
        if request.query.get("EIO") != VERSION:
            return _refuse(_BAD_VERSION)
        no_room = self._no_room()
        if no_room is not None:
            return no_room
        if not is_websocket:
            return _polled(self._opened(("websocket",))[1])
        answer = _switch(request)
        if isinstance(answer, web.Response):
            return answer
        socket, opened = self._opened(())
        carrier = self._carrier(socket)
        socket.begin(carrier)
        try:
            return self._take_over(request, carrier, answer, opened + SEPARATOR)
        except ConnectionResetError:
            socket.end("transport error")
            return LeftAiohttp()

    def _opened(self, upgrades: tuple[str, ...]) -> tuple[EngineSocket, bytes]:
        limits, sid = self.limits, (self._new_sid if self.others is None else self.others.new_sid)()
        socket = EngineSocket(sid, self.owner, limits, monotonic=self._monotonic, reached=self._reached)
        self.sockets[sid] = socket
        return socket, open_packet(
            sid,
            upgrades=upgrades,
            ping_interval_s=limits.ping_interval_s,
            ping_timeout_s=limits.ping_timeout_s,
            max_payload_bytes=limits.max_body_bytes,
        )

    def _upgrade(self, request: web.Request, socket: EngineSocket) -> web.StreamResponse:
        answer = _switch(request)
        if isinstance(answer, web.Response):
            return answer
        if not socket.may_upgrade():
            # Closed behind the upgrade, as Node's does: before it, client libraries take it for a broken server.
            stranger = self._carrier(None)
            try:
                left = self._take_over(request, stranger, answer)
            except ConnectionResetError:
                return LeftAiohttp()
            stranger.drop()
            return left
        carrier = self._carrier(socket)
        try:
            left = self._take_over(request, carrier, answer)
        except ConnectionResetError:
            return LeftAiohttp()
        socket.try_out(carrier)
        return left

    def _carrier(self, socket: EngineSocket | None) -> EngineWebSocket:
        return EngineWebSocket(
            socket,
            max_packet_bytes=self.limits.max_packet_bytes,
            congestion_bytes=congestion_bytes(self.limits.max_queue_bytes),
            reached=self._reached,
        )

    def _take_over(
        self, request: web.Request, carrier: EngineWebSocket, answer: bytes, first: bytes = b""
    ) -> LeftAiohttp:
        """Raises ConnectionResetError: the client has gone already."""
        raw, behind = take_over(request, carrier)
        raw.write(upgrade_head(request) + answer)
        carrier.start(raw)
        if first:
            carrier.write(first)
        if behind:
            asyncio.get_running_loop().call_soon(carrier.data_received, behind)
        return LeftAiohttp()

    async def _poll(self, request: web.Request, socket: EngineSocket) -> web.Response:
        asked = asked_of(request)
        try:
            return _polled(await socket.poll(wait_s=wait_of(request), by="" if asked is None else asked.sender))
        except RemoteProtocolError:
            return _refuse(_BAD_REQUEST)

    async def _post(self, request: web.Request, socket: EngineSocket) -> web.Response:
        is_inside = asked_of(request) is not None
        content_type = request.headers.get(CONTENT_TYPE) if is_inside else request.content_type
        if socket.is_posting or content_type == "application/octet-stream":
            socket.fail(RemoteProtocolError("Two posts at once, or a binary one."))
            return _refuse(_BAD_REQUEST)
        socket.is_posting = True
        try:
            for packet in packets_of_body(await self._bodies.read(request), self.limits.max_packets):
                await socket.readable()
                socket.take(packet)
        except RemoteProtocolError as error:
            socket.fail(error)
            return _refuse(_BAD_REQUEST)
        except web.HTTPException as refused:
            socket.fail(RemoteProtocolError("The body was refused."))
            answer = web.Response(status=refused.status, text=refused.text)
            answer.force_close()
            return answer
        finally:
            socket.is_posting = False
        return web.Response(text="ok", content_type="text/html")


def _switch(request: web.Request) -> bytes | web.Response:
    """The answer to an upgrade, or to what is none."""
    if not request.raw_path.startswith("/"):
        return _refuse(_BAD_REQUEST)
    answer = accept_upgrade(request.method, (request.version.major, request.version.minor), request.headers)
    if isinstance(answer, UpgradeRefused):
        refused = web.Response(status=answer.status, text=answer.reason, headers=dict(answer.headers))
        refused.force_close()
        return refused
    return answer


def _polled(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": _TEXT, "Cache-Control": "no-store"})
