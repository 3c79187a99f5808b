"""The one file that touches python-socketio's internals: its server, with bounds, over an Engine.IO of ours.

python-socketio keeps as many attachments as a client announces, decodes JSON without a limit of depth, hands each event
to a task of its own, so that they overtake each other, and goes on after whatever a client sends. Here packets are
taken apart by ``protocol.socketio`` and handled one at a time per client; what breaks the protocol ends the session.
Namespaces, the way into them, acknowledgements and handlers stay python-socketio's. A namespace may have a ``Tap``,
which gets its packets as they came and in no task: that is how a hub listens. Read ``BoundedServer`` first.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import engineio
import msgspec
import socketio
from aiohttp import web

from protocol.errors import RemoteProtocolError
from protocol.socketio.engine import SEPARATOR
from protocol.socketio.packets import Attachments, Kind, Packet, PacketLimits, parse, value_of
from signaling.tasks import TaskSet

from .engineio_server import EngineServer
from .engineio_socket import EngineLimits, EngineSocket

__all__ = ["BoundedServer", "Tap"]

_QUIET: Final = logging.Logger("auricle.socketio", logging.CRITICAL + 1)
_INVALID_NAMESPACE: Final = b'{"message":"Invalid namespace"}'


class Tap(Protocol):
    """Whoever listens to one namespace in place of handlers; nothing of it may raise or wait."""

    def joined(self, socket: EngineSocket, sid: str) -> None:
        """A client has been let in, and knows it; ``sid`` is its public id."""
        ...

    def receive(self, socket: EngineSocket, packet: bytes) -> None:
        """An event or an acknowledgement, with its attachments in their places as base64."""
        ...

    def drained(self, socket: EngineSocket) -> None:
        """There is room again for what is written."""
        ...

    def left(self, socket: EngineSocket) -> None:
        """The client has left the namespace, or is gone."""
        ...


class _Engine(engineio.AsyncServer):  # type: ignore[misc]  # the library ships no types
    """What python-socketio sees of the sessions below it."""

    front: EngineServer

    async def send_packet(self, sid: str, pkt: Any) -> None:
        socket = self.front.sockets.get(sid)
        if socket is None:
            return
        packet = pkt.encode()
        if isinstance(packet, str):
            socket.write(packet.encode() + SEPARATOR)
        else:
            socket.write_binary(bytes(packet))
        if socket.waiting_bytes > self.front.limits.max_queue_bytes:
            socket.abort()

    async def disconnect(self, sid: str | None = None) -> None:
        for socket in tuple(self.front.sockets.values()) if sid is None else [self.front.sockets.get(sid)]:
            if socket is not None:
                socket.close()

    async def handle_request(self, *args: Any, **kwargs: Any) -> Any:
        return await self.front.handle(*args, **kwargs)


class BoundedServer(socketio.AsyncServer):  # type: ignore[misc]  # the library ships no types
    """An ``EngineOwner``. Handlers are registered as with any ``socketio.AsyncServer``; ``taps`` are by namespace.

    ``late_s``: how long attachments that were announced may take. ``on_broken`` is told the stable code of what a
    client did. ``tasks`` own what has to wait.
    """

    def __init__(
        self,
        limits: PacketLimits,
        engine_limits: EngineLimits,
        *,
        tasks: TaskSet,
        no_room: Callable[[], web.Response | None],
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
        on_broken: Callable[[str], None],
        namespaces: tuple[str, ...],
        always_connect: bool = False,
    ) -> None:
        super().__init__(
            async_mode="aiohttp",
            logger=_QUIET,
            engineio_logger=_QUIET,
            namespaces=list(namespaces),
            async_handlers=False,
            always_connect=always_connect,
            cors_allowed_origins=[],
        )
        self.taps: dict[str, Tap] = {}
        self._names = frozenset(namespaces)
        self.front = EngineServer(
            engine_limits, new_sid=self.eio.generate_id, no_room=no_room, monotonic=monotonic, reached=reached
        )
        self.front.owner = self
        self.eio.front = self.front
        self._limits = limits
        self._late_s = engine_limits.connect_timeout_s
        self._tasks = tasks
        self._monotonic = monotonic
        self._reached = reached
        self._on_broken = on_broken
        self._joined: dict[str, dict[str, _Joined]] = {}
        self._attachments: dict[str, Attachments] = {}
        self._inbox: dict[str, deque[tuple[bytes, bool]]] = {}

    def _engineio_server_class(self) -> type[_Engine]:
        return _Engine

    def sweep(self) -> None:
        """Look at all timers."""
        self.front.sweep()
        now = self._monotonic()
        for sid in [sid for sid, waiting in self._attachments.items() if now >= waiting.due_at]:
            self._reached("handshake_timeout_s")
            self.front.sockets[sid].fail(RemoteProtocolError("Attachments were announced and did not come."))

    # An Engine.IO session tells

    def received(self, socket: EngineSocket, data: bytes, *, binary: bool) -> None:
        """See ``EngineOwner``: at once, if nothing waits before it and a tap takes it."""
        sid = socket.sid
        waiting = self._inbox.get(sid)
        if waiting is not None:
            waiting.append((data, binary))
            if len(waiting) >= self.front.limits.max_packets:
                socket.pause_reading()
            return
        if not binary and sid not in self._attachments:
            for joined in self._joined.get(sid, _NOWHERE).values():
                if data.startswith(joined.prefixes):
                    joined.tap.receive(socket, data)
                    return
        self._inbox[sid] = deque(((data, binary),))
        self._tasks.spawn(self._work(socket))

    def drained(self, socket: EngineSocket) -> None:
        """See ``EngineOwner``."""
        for joined in tuple(self._joined.get(socket.sid, _NOWHERE).values()):
            joined.tap.drained(socket)

    def broken(self, socket: EngineSocket, error: RemoteProtocolError) -> None:
        """See ``EngineOwner``."""
        self._on_broken(error.code)

    def gone(self, socket: EngineSocket, reason: str) -> None:
        """See ``EngineOwner``: what was kept of it is free at once."""
        sid = socket.sid
        self.front.forget(socket)
        self._attachments.pop(sid, None)
        waiting = self._inbox.get(sid)
        if waiting is not None:
            waiting.clear()
        for joined in self._joined.pop(sid, _NOWHERE).values():
            joined.tap.left(socket)
        if sid in self.environ and waiting is None:
            self._tasks.spawn(self._handle_eio_disconnect(sid, reason))

    # One client's packets, one at a time

    async def _work(self, socket: EngineSocket) -> None:
        waiting = self._inbox[socket.sid]
        try:
            while waiting:
                data, binary = waiting.popleft()
                await self._handle(socket, data, binary)
        except RemoteProtocolError as error:
            socket.fail(error)
        except Exception:
            # A handler of a namespace without a tap: what waits behind it must not be lost in silence.
            socket.end("server error")
            raise
        finally:
            del self._inbox[socket.sid]
            socket.resume_reading()
            if socket.closed and socket.sid in self.environ:
                # It went while its packets were handled: whatever those have made goes too.
                await self._handle_eio_disconnect(socket.sid, self.reason.TRANSPORT_CLOSE)

    async def _handle(self, socket: EngineSocket, data: bytes, binary: bool) -> None:
        waiting = self._attachments.get(socket.sid)
        if binary != (waiting is not None):
            raise RemoteProtocolError("An attachment was not announced, or an announced one did not come.")
        if waiting is not None:
            if waiting.add(data):
                del self._attachments[socket.sid]
                await self._complete(socket, waiting)
            return
        packet = parse(data, self._limits)
        if packet.kind is Kind.CONNECT:
            await self._connect(socket, packet)
        elif not self._is_connected(socket.sid, packet.namespace):
            raise RemoteProtocolError("The client is not in that namespace.")
        elif packet.kind is Kind.DISCONNECT:
            await self._disconnect(socket, packet.namespace)
        elif packet.attachments:
            due_at = self._monotonic() + self._late_s
            self._attachments[socket.sid] = Attachments(packet, self._limits, due_at)
        elif (joined := self._joined.get(socket.sid, _NOWHERE).get(packet.namespace)) is not None:
            joined.tap.receive(socket, data)
        else:
            await self._dispatch(socket.sid, packet, value_of(packet, self._limits))

    async def _complete(self, socket: EngineSocket, attached: Attachments) -> None:
        packet = attached.packet
        joined = self._joined.get(socket.sid, _NOWHERE).get(packet.namespace)
        if joined is None:
            await self._dispatch(socket.sid, packet, attached.value())
            return
        kind = Kind.EVENT if packet.kind is Kind.BINARY_EVENT else Kind.ACK
        head = f"{kind.value}{packet.namespace},{'' if packet.ack_id is None else packet.ack_id}"
        joined.tap.receive(socket, head.encode() + msgspec.json.encode(attached.value(as_text=True)))

    async def _connect(self, socket: EngineSocket, packet: Packet) -> None:
        sid, namespace = socket.sid, packet.namespace
        if namespace not in self._names:
            head = b"44" if namespace == "/" else f"44{namespace},".encode()
            socket.write(head + _INVALID_NAMESPACE + SEPARATOR)
            if socket.waiting_bytes > self.front.limits.max_queue_bytes:
                # It asks and asks, and does not read.
                self._reached("max_send_queue_bytes")
                socket.abort()
            return
        if self._is_connected(sid, namespace):
            raise RemoteProtocolError("The client is in that namespace already.")
        if sid not in self.environ:
            await self._handle_eio_connect(sid, {})
        await self._handle_connect(sid, namespace, value_of(packet, self._limits))
        if socket.closed or not self._is_connected(sid, namespace):
            return
        socket.connect_by = None
        tap = self.taps.get(namespace)
        if tap is not None:
            prefixes = (f"{Kind.EVENT.value}{namespace},".encode(), f"{Kind.ACK.value}{namespace},".encode())
            self._joined.setdefault(sid, {})[namespace] = _Joined(prefixes, tap)
            tap.joined(socket, str(self.manager.sid_from_eio_sid(sid, namespace)))

    async def _disconnect(self, socket: EngineSocket, namespace: str) -> None:
        await self._handle_disconnect(socket.sid, namespace, self.reason.CLIENT_DISCONNECT)
        joined = self._joined.get(socket.sid, {}).pop(namespace, None)
        if joined is not None:
            joined.tap.left(socket)
        if not any(self._is_connected(socket.sid, name) for name in self._names):
            socket.connect_by = self._monotonic() + self._late_s

    async def _dispatch(self, sid: str, packet: Packet, value: Any) -> None:
        if packet.kind in (Kind.EVENT, Kind.BINARY_EVENT):
            await self._handle_event(sid, packet.namespace, packet.ack_id, value)
        else:
            await self._handle_ack(sid, packet.namespace, packet.ack_id, value)

    def _is_connected(self, sid: str, namespace: str) -> bool:
        public = self.manager.sid_from_eio_sid(sid, namespace)
        return public is not None and bool(self.manager.is_connected(public, namespace))


class _Joined(NamedTuple):
    """``prefixes``: how an event and an acknowledgement of the namespace begin."""

    prefixes: tuple[bytes, bytes]
    tap: Tap


_NOWHERE: Final[Mapping[str, _Joined]] = MappingProxyType({})
