"""The life of one hub connection, whatever carries its bytes, and through the loss of a socket.

A ``HubSession`` is given bytes (``receive``), ticks, and the news that its transport is gone (``lost``); it never
awaits. It knows no HTTP and no domain: the sans-I/O core says what the bytes mean, the dispatcher what to do with
a call. Read ``receive`` and ``_handle`` first, then ``lost``, where a life goes on or ends.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from protocol.errors import LocalProtocolError
from protocol.signalr.codec import JSON, Codec
from protocol.signalr.events import AckDue, Broken, Event, KeepAliveDue, Opened, PeerClosed, Refused, TimedOut
from protocol.signalr.messages import CancelInvocation, Completion, Invocation, StreamInvocation, StreamItem

from .auth import Principal
from .call_errors import CallError
from .flow import Flow, Parked
from .hub import Caller, Hub
from .lanes import Lanes
from .life import Life
from .outbound import Outbound
from .outbox import Outbox
from .session_core import SessionCore
from .streams import RunningStream, Uploads, end_all
from .tasks import TaskSet
from .token_watch import TokenState, TokenWatch
from .transport import NOWHERE, SessionTransport

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
        "_kind",
        "_moved",
        "_opened_at",
        "_outbox",
        "_parked",
        "_results",
        "_server",
        "_token",
        "_transport",
        "caller",
        "codec",
        "connection_id",
        "flow",
        "joined",
        "lanes",
        "principal",
        "quiet_until",
        "send_frame",
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
        core: SessionCore | None = None,
    ) -> None:
        config = server.config
        self._server = server
        self._transport = transport
        self._kind = transport.name
        self.connection_id = connection_id
        # The format that the handshake will choose; nothing is sent before.
        self.codec: Codec = JSON
        # Who is connected, by the token that was shown last.
        self.principal = principal
        self._token = TokenWatch(principal, notice_s=config.expiry_notice_s)
        self._opened_at = server.monotonic()
        self._core: SessionCore = core or server.signalr(self._opened_at, binary_ok=binary_ok, stateful=stateful)
        self._outbox = Outbox(
            self._core,
            transport,
            flusher=server.flusher,
            limit_bytes=config.max_send_queue_bytes,
            monotonic=server.monotonic,
            on_overflow=self._too_slow,
            on_full=lambda: server.metrics.reached("max_resume_bytes"),
        )
        self.send_frame = self._outbox.put
        self.tasks = TaskSet("connection", server.log)
        self.flow = Flow(lambda: asyncio.get_running_loop().call_soon(self._unpark))
        self.lanes = Lanes(self.tasks, self.flow, limit=config.max_pending_calls)
        self._parked: Parked | None = None
        self._results = server.client_results()
        self.uploads = Uploads()
        self.streams: dict[str, RunningStream] = {}
        self._drained: asyncio.Event | None = None
        self._cause = ""
        self.joined = False
        self._moved = False
        self.quiet_until = 0.0
        self.caller = Caller(self, server.lifetime)
        server.remember(self, self._kind)

    # What a transport tells

    def receive(self, data: bytes) -> None:
        """Bytes of the client, in any portion; never raises, whatever they are."""
        outbox, now = self._outbox, self._server.monotonic()
        call = self._core.lone_call(data, now) if self._parked is None and not self._cause else None
        if call is None:
            self._receive(data, now)
            return
        self.quiet_until = 0.0
        outbox.held = True
        try:
            self._server.invoke(self, call)
            if self.flow.stopped:
                self._park([], len(data))
        finally:
            outbox.held = False
            outbox.flush(now)

    def _receive(self, data: bytes, now: float) -> None:
        outbox, events = self._outbox, self._core.receive_data(data, now)
        if self._parked is not None:
            self._parked.add(events, len(data))
            self._stop_reading(self._parked)
        elif events:
            # Now a call may run, whose client is excused. A Ping only makes deadlines later.
            self.quiet_until = 0.0
            outbox.held = True
            flow, invoke, waiting = self.flow, self._server.invoke, iter(events)
            try:
                for event in waiting:
                    if type(event) is Invocation and not self._cause:
                        invoke(self, event)
                    else:
                        self._handle(event)
                    # One frame may hold thousands of calls, so the bounds are looked at after each.
                    if flow.stopped:
                        self._park(list(waiting), len(data))
                        break
            finally:
                outbox.held = False
                outbox.flush(now)
        if outbox.numbered:
            # An acknowledgement may have made room for what waits.
            outbox.flush(now)
            self.drained()

    def drained(self) -> None:
        """The transport has room again, or the client has acknowledged something."""
        if self._drained is not None and not self._outbox.congested:
            self._drained.set()
            self._drained = None

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
        self.renew(principal)
        self._move_to(transport)
        old.abort()
        if self._core.codec.binary:
            transport.use_binary()
        transport.write(self._core.attach(self._server.monotonic()))
        self._outbox.flush()
        if self._parked is not None:
            self._stop_reading(self._parked)

    def renew(self, principal: Principal) -> None:
        """The same person showed a new token."""
        self.principal = principal
        self._token.renew(principal)
        self.quiet_until = 0.0

    # Sending

    def send(self, outbound: Outbound) -> None:
        """See ``ClientLink``."""
        self._outbox.put(outbound.frame(self.codec))

    def hold_back(self) -> Callable[[], None]:
        """See ``ClientLink``."""
        return self._outbox.hold_back()

    def complete(self, message: Completion | StreamItem) -> None:
        """Answer a call of the client."""
        if not self._cause:
            self._outbox.put(self.codec.encode(message))

    def answer(self, invocation_id: str, result: object) -> None:
        """``complete`` with a result, the most frequent message."""
        if not self._cause:
            self._outbox.put(self.codec.encode_result(invocation_id, result))

    def fail(self, invocation_id: str, error: CallError) -> None:
        """``complete`` with an error."""
        self.complete(Completion(invocation_id=invocation_id, error=error.text))

    def stream_of(self, message: Invocation) -> StreamInvocation | None:
        """None: SignalR has another message for it."""
        return None

    async def writable(self) -> None:
        """Wait until the client has taken enough of what was sent before."""
        self._outbox.relieve()
        while self._outbox.congested and not self._cause:
            # One event for all streams of this connection: each looks again when it is set.
            self._drained = self._drained or asyncio.Event()
            await self._drained.wait()

    async def ask(self, target: str, arguments: tuple[object, ...], source: Codec | None) -> Raw:
        """See ``ClientLink``."""
        return await self._results.ask(lambda question: self.send(Outbound(question, source)), target, arguments)

    def resolve(self, completion: Completion) -> None:
        """The client ended an upload, or answered a question."""
        if not self.uploads.complete(completion):
            self._results.resolve(completion, self.codec)

    # Time

    def tick(self, now: float, wall: float) -> None:
        """Deadlines: keep-alive, acknowledgement, silence, handshake, coming back, the end of the token."""
        self._transport.tick(now)
        # A silent client is none while a call of it runs, or what it sent before is still taken up, or it polls.
        excused = self._moved or not self.lanes.idle or self._transport.inherent_keep_alive
        self._moved = False
        for event in self._core.tick(now, busy=excused, acknowledge=self._parked is None):
            if isinstance(event, KeepAliveDue | AckDue):
                if isinstance(event, AckDue) or not self._transport.inherent_keep_alive:
                    self._outbox.write_now(event.data)
            elif isinstance(event, TimedOut):
                self._server.metrics.timed_out(event.which)
                self._finish(f"{event.which}_timeout", event.reply)
            else:
                raise LocalProtocolError(f"a tick made {type(event).__name__}")
        self._look_at_token(wall)
        # A wall clock that is set in between is noticed by who sweeps.
        until = min(self._core.quiet_until(now), now + self._token.quiet_until - wall)
        self.quiet_until = 0.0 if excused or not self._transport.is_quiet else until

    # Ending

    def abort(self) -> None:
        """End the connection: Close with neither error nor allowReconnect."""
        self.close("aborted")

    def close(self, cause: str, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """Send what is queued and a Close message, then end the transport."""
        if not self._cause:
            self._finish(cause, self._core.close(error, allow_reconnect=allow_reconnect))

    def _look_at_token(self, wall: float) -> None:
        state = self._token.look(wall, can_tell=self.joined)
        if state is TokenState.OVER and not self._cause:
            self._server.tell_of_end(self.caller, joined=self.joined)
            self.close("token_expired", "The token has expired.", allow_reconnect=True)
        elif state is TokenState.SOON:
            self._server.warn_of_expiry(self.caller, self.principal.expires_at_s - wall)

    def _handle(self, event: Event) -> None:
        if isinstance(event, MESSAGES):
            if not self._cause:
                self._server.dispatcher.receive(self, event)
        elif isinstance(event, Opened):
            self._opened(event)
        elif isinstance(event, Refused):
            self._finish("handshake_refused", event.reply)
        elif isinstance(event, Broken):
            self._server.broken(self.connection_id, event.code)
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
        # In this order, so that it is told only once others reach it.
        server.opened(self, opened.protocol)
        self._outbox.begin(opened.reply, numbered=self._core.resumable)
        self.joined = type(server.hub).on_connected is Hub.on_connected
        if not self.joined:
            # What comes waits for the hook, which may turn the client away.
            self.flow.stop("")
            self.tasks.spawn(self._welcome())

    async def _welcome(self) -> None:
        self.joined = await self._server.welcome(self.caller)
        if self.joined:
            self.flow.go_on()
        else:
            self.close("connect_failed", "Connection closed with an error.")

    def _park(self, events: list[Event], size_bytes: int) -> None:
        self._parked = Parked(events, size_bytes)
        self._stop_reading(self._parked)
        if self.flow.bound:
            self._server.metrics.reached(self.flow.bound)

    def _stop_reading(self, parked: Parked) -> None:
        if parked.hold_back(self._transport, self._server.config.max_waiting_bytes):
            self._server.metrics.reached("max_waiting_bytes")

    def _unpark(self) -> None:
        while self._parked is not None and not self.flow.stopped:
            if not self._parked.events:
                self._parked = None
                self._transport.resume_reading()
                return
            self._moved = True
            self._handle(self._parked.events.popleft())

    def _too_slow(self) -> None:
        self._server.metrics.reached("max_send_queue_bytes")
        self._leave("slow_consumer", self._transport.abort)

    def _finish(self, cause: str, reply: bytes = b"") -> None:
        if not self._cause and self._outbox.finish(reply):
            self._leave(cause, self._transport.close)

    def _leave(self, cause: str, end: Callable[[], None]) -> None:
        self._end(cause)
        end()
        if self._transport is NOWHERE:
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
        end_all(self.streams)
        if self._drained is not None:
            self._drained.set()

    def _gone(self) -> None:
        """The last transport has ended: out of all tables, then the calls that still run may end."""
        self._server.lifetime.remove(self)
        if self._server.forget(self.connection_id):
            life = Life(self._kind, self._cause, self._server.monotonic() - self._opened_at)
            self._server.closing.spawn(self._server.farewell(self, life))

    def _move_to(self, transport: SessionTransport) -> None:
        self._transport = transport
        self._outbox.transport = transport
