"""The life of one hub connection, whatever carries its bytes, and through the loss of a socket.

A ``HubSession`` is given bytes (``receive``), ticks, and the news that its transport is gone (``lost``); it never
awaits. It knows no HTTP and no domain: the sans-I/O core says what the bytes mean, the dispatcher what to do with
a call. Read ``receive`` and ``_handle`` first, then ``lost``, where a life goes on or ends.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from protocol.errors import LocalProtocolError
from protocol.signalr.codec import JSON, Codec
from protocol.signalr.connection import (
    AckDue,
    Broken,
    Event,
    HubConnection,
    KeepAliveDue,
    Opened,
    PeerClosed,
    Refused,
    TimedOut,
)
from protocol.signalr.messages import CancelInvocation, Completion, Invocation, StreamInvocation, StreamItem

from .auth import Principal
from .client_results import ClientResults
from .flow import Flow
from .hub import Caller, Hub, Lane
from .outbound import Outbound
from .outbox import Outbox
from .streams import RunningStream, Uploads
from .tasks import TaskSet
from .transport import NOWHERE, SessionTransport
from .turns import Turn, TurnQueue

if TYPE_CHECKING:
    from .hub_server import HubServer

__all__ = ["HubSession"]

MESSAGES: Final = (Invocation, Completion, StreamInvocation, StreamItem, CancelInvocation)


class HubSession:
    """One connection: a ``ClientLink`` to those who send, a session to the dispatcher."""

    __slots__ = (
        "_cause",
        "_core",
        "_drained",
        "_expiry_told",
        "_joined",
        "_kind",
        "_numbers",
        "_opened_at",
        "_outbox",
        "_parked",
        "_plain",
        "_results",
        "_safety",
        "_server",
        "_transport",
        "caller",
        "codec",
        "connection_id",
        "flow",
        "principal",
        "streams",
        "tasks",
        "uploads",
    )

    def __init__(
        self,
        server: "HubServer",
        transport: SessionTransport,
        connection_id: str,
        principal: Principal,
        *,
        stateful: bool = False,
        binary_ok: bool = True,
    ) -> None:
        config = server.config
        self._server = server
        self._transport = transport
        self._kind = transport.name
        self.connection_id = connection_id
        # The format that the handshake will choose; nothing is sent before.
        self.codec: Codec = JSON
        self.principal = principal
        self._opened_at = server.monotonic()
        self._core = HubConnection(config.hub_limits, now=self._opened_at, binary_ok=binary_ok, stateful=stateful)
        self._outbox = Outbox(
            self._core,
            transport,
            limit_bytes=config.max_send_queue_bytes,
            monotonic=server.monotonic,
            on_overflow=self._too_slow,
        )
        self.tasks = TaskSet("connection", server.log)
        self.flow = Flow(self._go_on)
        self._plain: TurnQueue | None = None
        self._safety: TurnQueue | None = None
        self._parked: deque[Event] | None = None
        self._results = ClientResults(
            limit=config.max_pending_results,
            timeout_s=config.client_result_timeout_s,
            on_limit=lambda: server.metrics.bounds.labels("max_pending_results").inc(),
        )
        self.uploads = Uploads()
        self.streams: dict[str, RunningStream] = {}
        self._drained: asyncio.Event | None = None
        self._cause = ""
        self._joined = False
        self._expiry_told = False
        self._numbers = False
        self.caller = Caller(self, server.lifetime)
        server.sessions[connection_id] = self
        server.metrics.connections.labels(self._kind).inc()

    # What a transport tells

    def receive(self, data: bytes) -> None:
        """Bytes of the client, in any portion; never raises, whatever they are."""
        events = self._core.receive_data(data, self._server.monotonic())
        if self._parked is not None:
            self._parked.extend(events)
            return
        self._outbox.hold()
        try:
            for index, event in enumerate(events):
                self._handle(event)
                # One frame may hold thousands of calls, so the bounds are looked at after each.
                if self.flow.stopped:
                    self._park(events[index + 1 :])
                    break
        finally:
            self._outbox.release()
        if self._numbers:
            # An acknowledgement may have made room for what waits.
            self.drained()

    def drained(self) -> None:
        """The transport has room again, or the client has acknowledged something."""
        if self._drained is not None and not self._outbox.congested:
            self._drained.set()

    def lost(self, transport: SessionTransport, *, graceful: bool) -> None:
        """A transport has ended. One that was replaced, or a connection that may come back, ends nothing."""
        if transport is not self._transport:
            return
        if not graceful and not self._cause and self._core.detach(self._server.monotonic()):
            self._move_to(NOWHERE)
            return
        self._end("gone")
        self._gone()

    # Coming back

    @property
    def transport(self) -> SessionTransport:
        """What carries it now."""
        return self._transport

    @property
    def is_ending(self) -> bool:
        """Whether it has been told goodbye."""
        return bool(self._cause)

    @property
    def resumable(self) -> bool:
        """Whether another transport may take this connection over."""
        return self._core.resumable and not self._cause

    def resume(self, transport: SessionTransport, principal: Principal) -> None:
        """Go on over another transport, also while the old one still looks alive."""
        old = self._transport
        self.principal = principal
        self._expiry_told = False
        self._move_to(transport)
        old.abort()
        if self._core.codec.binary:
            transport.use_binary()
        transport.write(self._core.attach(self._server.monotonic()))
        self._outbox.flush()
        if self._parked is not None:
            transport.pause_reading()

    def renew(self, principal: Principal) -> None:
        """The same person showed a new token."""
        self.principal = principal
        self._expiry_told = False

    # Sending

    def send(self, outbound: Outbound) -> None:
        """See ``ClientLink``."""
        self._outbox.put(outbound.frame(self.codec))

    def send_frames(self, frames: dict[str, bytes]) -> None:
        """See ``ClientLink``."""
        self._outbox.put(frames[self.codec.name])

    def complete(self, message: Completion | StreamItem) -> None:
        """Answer a call of the client."""
        if not self._cause:
            self._outbox.put(self.codec.encode(message))

    async def writable(self) -> None:
        """Wait until the client has taken enough of what was sent before."""
        while self._outbox.congested and not self._cause:
            self._drained = asyncio.Event()
            await self._drained.wait()
        self._drained = None

    async def ask(self, target: str, arguments: tuple[object, ...]) -> Raw:
        """See ``Caller.ask``."""
        return await self._results.ask(lambda question: self.send(Outbound(question, self.codec)), target, arguments)

    def resolve(self, completion: Completion) -> None:
        """The client ended an upload, or answered a question."""
        if not self.uploads.complete(completion):
            self._results.resolve(completion, self.codec)

    # Calls

    def is_idle(self, lane: Lane) -> bool:
        """Whether a call of that lane could run at once."""
        queue = self._plain if lane is Lane.PLAIN else self._safety
        return queue is None or queue.idle

    def turns(self, lane: Lane) -> TurnQueue:
        """The queue of a lane, made when it is first needed."""
        limit = self._server.config.max_pending_calls
        if lane is Lane.PLAIN:
            self._plain = self._plain or TurnQueue(self.tasks, self.flow, limit=limit)
            return self._plain
        self._safety = self._safety or TurnQueue(self.tasks, self.flow, limit=limit)
        return self._safety

    # Time

    def tick(self, now: float, wall: float) -> None:
        """Deadlines: keep-alive, acknowledgement, silence, handshake, coming back, the end of the token."""
        self._transport.tick(now)
        busy = not (self.is_idle(Lane.PLAIN) and self.is_idle(Lane.SAFETY)) or self._transport.inherent_keep_alive
        for event in self._core.tick(now, busy=busy):
            if isinstance(event, KeepAliveDue):
                if not self._transport.inherent_keep_alive:
                    self._outbox.write_now(event.data)
            elif isinstance(event, AckDue):
                self._outbox.write_now(event.data)
            elif isinstance(event, TimedOut):
                self._finish(f"{event.which}_timeout", event.reply)
            else:
                raise LocalProtocolError(f"a tick made {type(event).__name__}")
        left_s = self.principal.expires_at_s - wall
        if left_s <= 0:
            self.close("token_expired", "The token has expired.", allow_reconnect=True)
        elif left_s <= self._server.config.expiry_notice_s and self._joined and not self._expiry_told:
            self._expiry_told = True
            self._server.hub.on_expiring(self.caller, left_s)

    # Ending

    def abort(self) -> None:
        """End the connection: Close with neither error nor allowReconnect."""
        self.close("aborted")

    def close(self, cause: str, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """Send what is queued and a Close message, then end the transport."""
        if not self._cause:
            self._finish(cause, self._core.close(error, allow_reconnect=allow_reconnect))

    # Within

    def _handle(self, event: Event) -> None:
        if isinstance(event, MESSAGES):
            if not self._cause:
                self._server.dispatcher.receive(self, event)
        elif isinstance(event, Opened):
            self._opened(event)
        elif isinstance(event, Refused):
            self._finish("handshake_refused", event.reply)
        elif isinstance(event, Broken):
            self._server.log.protocol_broken(connection=self.connection_id, hub=self._server.hub.name)
            self._finish("protocol_error", event.reply)
        elif isinstance(event, PeerClosed):
            self._finish("client_closed")
        else:
            raise LocalProtocolError(f"received data made {type(event).__name__}")

    def _opened(self, opened: Opened) -> None:
        server = self._server
        self.codec = self._core.codec
        if self.codec.binary:
            self._transport.use_binary()
        self._transport.write(opened.reply)
        server.log.connection_opened(connection=self.connection_id, hub=server.hub.name, protocol=opened.protocol)
        server.lifetime.add(self)
        self._joined = True
        self._numbers = self._core.resumable
        if type(server.hub).on_connected is not Hub.on_connected:
            self.turns(Lane.PLAIN).submit(self._welcome)

    async def _welcome(self, _: Turn) -> None:
        try:
            await self._server.hub.on_connected(self.caller)
        except Exception as error:  # noqa: BLE001  # the boundary of a hook: the connection ends, the server lives
            self._crashed("on_connected", error)
            self.close("connect_failed", "Connection closed with an error.")

    def _park(self, events: list[Event]) -> None:
        self._parked = deque(events)
        self._transport.pause_reading()
        self._server.metrics.bounds.labels(self.flow.bound).inc()

    def _go_on(self) -> None:
        asyncio.get_running_loop().call_soon(self._unpark)

    def _unpark(self) -> None:
        while self._parked and not self.flow.stopped:
            self._handle(self._parked.popleft())
        if self._parked is not None and not self._parked and not self.flow.stopped:
            self._parked = None
            self._transport.resume_reading()

    def _too_slow(self) -> None:
        self._server.metrics.bounds.labels("max_send_queue_bytes").inc()
        transport = self._transport
        self._end("slow_consumer")
        transport.abort()
        if transport is NOWHERE:
            self._gone()

    def _finish(self, cause: str, reply: bytes = b"") -> None:
        if self._cause or not self._outbox.flush():
            return
        transport = self._transport
        if reply:
            transport.write(reply)
        self._end(cause)
        transport.close()
        if transport is NOWHERE:
            self._gone()

    def _end(self, cause: str) -> None:
        """From here on nothing is sent, and nobody waits for an answer any more."""
        if self._cause:
            return
        self._cause = cause
        self._outbox.close()
        self._core.close()
        self._parked = None
        text = f"Connection '{self.connection_id}' disconnected."
        self._results.fail_all(text)
        self.uploads.fail_all(text)
        for stream in tuple(self.streams.values()):
            stream.cancel()
        if self._drained is not None:
            self._drained.set()

    def _gone(self) -> None:
        """The last transport has ended: out of all tables, then the calls that still run may end."""
        server = self._server
        server.lifetime.remove(self)
        if server.forget(self.connection_id):
            server.closing.spawn(self._farewell())

    async def _farewell(self) -> None:
        server = self._server
        # What was received is carried out, also when the sender has gone: a report must not be lost.
        await self.tasks.finish(server.config.call_grace_s)
        if self._joined:
            try:
                await server.hub.on_disconnected(self.caller)
            except Exception as error:  # noqa: BLE001  # the boundary of a hook: the connection is gone anyway
                self._crashed("on_disconnected", error)
        duration_s = server.monotonic() - self._opened_at
        server.metrics.connections.labels(self._kind).dec()
        server.metrics.durations.labels(self._cause, self._kind).observe(duration_s)
        server.log.connection_closed(
            connection=self.connection_id, hub=server.hub.name, cause=self._cause, duration_s=duration_s
        )

    def _move_to(self, transport: SessionTransport) -> None:
        self._transport = transport
        self._outbox.transport = transport

    def _crashed(self, method: str, error: BaseException) -> None:
        server = self._server
        server.log.call_crashed(connection=self.connection_id, hub=server.hub.name, method=method, error=error)
