"""Hubs over Socket.IO: the same connections, groups, policy and calls as over SignalR, spoken as events.

A client shows its token in the payload with which it enters the namespace, which is the hub's path; from then on it is
a ``HubSession`` like any other. What Socket.IO itself needs is in ``socketio_seam`` and ``engineio_server``. Read
``SocketIoRoutes``, then ``_HubTap``.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused

from protocol.errors import Unauthenticated
from protocol.signalr.messages import Invocation, StreamInvocation
from protocol.socketio.codec import SocketIoCodec
from protocol.socketio.connection import SocketIoConnection
from protocol.socketio.packets import PacketLimits
from signaling.auth import Principal, TokenVerifier
from signaling.call_errors import CallError
from signaling.config import Config
from signaling.connection import HubSession
from signaling.health import Readiness
from signaling.hub_server import HubServer
from signaling.origins import Origins
from signaling.pods.internal import InternalServer
from signaling.tasks import TaskSet

from .engineio_elsewhere import ROUTE, EngineElsewhere
from .engineio_socket import EngineLimits, EngineSocket
from .guard import full, refuse
from .socketio_seam import BoundedServer

__all__ = ["PATH", "SocketIoRoutes"]

PATH: Final = "/socket.io"
_FULL: Final = {
    "max_connections": "the server takes no more connections",
    "max_user_connections": "too many connections of one user",
}


class SocketIoRoutes:
    """Serves hubs below ``/socket.io/``, each as the namespace of its path."""

    def __init__(
        self, servers: Sequence[HubServer], verifier: TokenVerifier, readiness: Readiness, tasks: TaskSet
    ) -> None:
        server = servers[0]
        config = server.config
        self._max_connections = config.max_connections
        self._reached = server.metrics.reached
        self._readiness = readiness
        self._origins = Origins(config.origins)
        self._sio = BoundedServer(
            packet_limits(config),
            engine_limits(config),
            tasks=tasks,
            no_room=self._no_room,
            monotonic=server.monotonic,
            reached=server.metrics.reached,
            on_broken=server.metrics.broken,
            namespaces=tuple(one.hub.path for one in servers),
        )
        self._hubs = tuple(_HubTap(one, verifier, readiness) for one in servers)
        for tap in self._hubs:
            self._sio.on("connect", tap.enter, namespace=tap.namespace)
            self._sio.on("disconnect", tap.forget, namespace=tap.namespace)
            self._sio.taps[tap.namespace] = tap

    def register(self, app: web.Application) -> None:
        """Any method: what is wrong with a request is said as Socket.IO clients expect it."""
        for path in (PATH, f"{PATH}/"):
            app.router.add_route("*", path, self._handle)

    def register_inside(self, internal: InternalServer, others: EngineElsewhere) -> None:
        """Reach the sessions of other pods, and add what those bring for the sessions of this one."""
        front = self._sio.front
        front.others = others
        for method in ("GET", "POST"):
            internal.register(method, ROUTE, front.handle_inside)
        internal.register("POST", f"{ROUTE}/send-home", front.send_home)

    def sweep(self) -> None:
        """Look at the timers of all sessions, those included that are connected to nothing yet."""
        self._sio.sweep()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._origins.refuses(request):
            answer: web.StreamResponse = refuse(HTTPStatus.FORBIDDEN, "Origin not allowed")
        else:
            answer = await self._sio.front.handle(request)
        if "Upgrade" in request.headers:
            # What follows a request to upgrade is not HTTP for sure, so nothing may follow one that was refused.
            answer.force_close()
        return answer

    def _no_room(self) -> web.Response | None:
        """Sessions that are in no hub yet take room too: they could all be going to the fullest."""
        if not self._readiness.draining:
            strangers = len(self._sio.front.sockets) - len(set().union(*(tap.sessions for tap in self._hubs)))
            if strangers + max(tap.members for tap in self._hubs) < self._max_connections:
                return None
            self._reached("max_connections")
        return full()


class _HubTap:
    """One hub as a namespace: who may enter, and the sessions of those who have."""

    def __init__(self, server: HubServer, verifier: TokenVerifier, readiness: Readiness) -> None:
        self.namespace = server.hub.path
        self.sessions: dict[str, SocketIoSession] = {}
        self._server = server
        self._verifier = verifier
        self._readiness = readiness
        self._codec = SocketIoCodec(self.namespace, packet_limits(server.config))
        self._principals: dict[str, Principal] = {}

    @property
    def members(self) -> int:
        """All connections of the hub, whatever they speak."""
        return len(self._server.sessions)

    def enter(self, sid: str, _: object, auth: Any) -> None:
        """Who is it? Raises Refused, which Socket.IO clients are told."""
        token = auth.get("token") if isinstance(auth, dict) else None
        if self._readiness.draining:
            raise Refused("the server is shutting down", {"code": "unavailable", "retryable": True})
        try:
            if not isinstance(token, str):
                raise Unauthenticated("a valid token is required")
            principal = self._verifier.verify(token)
        except Unauthenticated:
            self._server.metrics.unauthenticated.inc()
            raise Refused("a valid token is required", {"code": "unauthenticated", "retryable": False}) from None
        if met := self._server.bound_met(principal):
            raise Refused(_FULL[met], {"code": "overloaded", "retryable": True})
        self._principals[sid] = principal

    def forget(self, sid: str, _: object) -> None:
        """It has gone, perhaps between being let in and joining."""
        self._principals.pop(sid, None)

    def joined(self, socket: EngineSocket, sid: str) -> None:
        """See ``Tap``."""
        transport = SocketIoTransport(socket)
        session = SocketIoSession(self._server, transport, sid, self._principals.pop(sid), self._codec)
        self.sessions[socket.sid] = session
        session.receive(self._codec.connected)

    def receive(self, socket: EngineSocket, packet: bytes) -> None:
        """See ``Tap``."""
        self.sessions[socket.sid].receive(packet)

    def drained(self, socket: EngineSocket) -> None:
        """See ``Tap``."""
        self.sessions[socket.sid].drained()

    def left(self, socket: EngineSocket) -> None:
        """See ``Tap``."""
        session = self.sessions.pop(socket.sid)
        session.lost(session.transport, graceful=True)


class SocketIoTransport:
    """A ``SessionTransport``: one Engine.IO session, however it is carried; it keeps itself alive."""

    name: Final = "socket_io"
    inherent_keep_alive: Final = False
    is_quiet: Final = True

    def __init__(self, socket: EngineSocket) -> None:
        self._socket = socket
        self.pause_reading: Callable[[], None] = socket.pause_reading
        self.resume_reading: Callable[[], None] = socket.resume_reading
        self.close: Callable[[], None] = socket.close
        self.abort: Callable[[], None] = socket.abort

    @property
    def waiting_bytes(self) -> int:
        """See ``SessionTransport``."""
        return self._socket.waiting_bytes

    def use_binary(self) -> None:
        """Never: no value needs it."""

    def write(self, payload: bytes) -> None:
        """See ``SessionTransport``."""
        if payload:
            self._socket.write(payload)

    def tick(self, now: float) -> None:
        """Its deadlines are Engine.IO's."""


class SocketIoSession(HubSession):
    """A hub connection whose frames are Socket.IO packets."""

    __slots__ = ("_packets", "_streams_begun")

    def __init__(
        self,
        server: HubServer,
        transport: SocketIoTransport,
        connection_id: str,
        principal: Principal,
        codec: SocketIoCodec,
    ) -> None:
        core = SocketIoConnection(codec, now=server.monotonic())
        super().__init__(server, transport, connection_id, principal, core=core)
        self._packets = codec
        self._streams_begun = 0

    def fail(self, invocation_id: str, error: CallError) -> None:
        """An error is an acknowledgement too."""
        if not self._cause:
            self._outbox.put(
                self._packets.encode_failure(invocation_id, error.code, error.message, retryable=error.retryable)
            )

    def stream_of(self, message: Invocation) -> StreamInvocation | None:
        """The acknowledgement names the stream; its items and its end are events."""
        if message.invocation_id is None:
            return None
        self._streams_begun += 1
        stream = f"s{self._streams_begun}"
        self._outbox.put(self._packets.begun(message.invocation_id, stream))
        return StreamInvocation(invocation_id=stream, target=message.target, arguments=message.arguments)


def packet_limits(config: Config) -> PacketLimits:
    """The bounds of one packet."""
    return PacketLimits(
        max_bytes=config.max_message_bytes,
        max_attachments=config.max_packet_attachments,
        max_attachment_bytes=config.max_attachment_bytes,
        scan=config.hub_limits.scan,
    )


def engine_limits(config: Config) -> EngineLimits:
    """The bounds of one session. A client that is silent is gone as soon as one over SignalR is."""
    return EngineLimits(
        ping_interval_s=config.keep_alive_s,
        ping_timeout_s=max(config.client_timeout_s - config.keep_alive_s, config.client_timeout_s / 2),
        connect_timeout_s=config.handshake_timeout_s,
        close_timeout_s=config.close_timeout_s,
        body_timeout_s=config.body_timeout_s,
        max_packet_bytes=max(config.max_message_bytes, config.max_attachment_bytes) + 1,
        max_body_bytes=config.max_poll_bytes,
        max_packets=config.max_poll_packets,
        max_queue_bytes=config.max_send_queue_bytes,
    )
