"""The life of one hub connection, whatever carries its bytes.

``HubSession.run`` is that life from top to bottom: handshake, connected, read, close, disconnected. It knows no
HTTP and no domain; the sans-I/O core says what the bytes mean, the dispatcher what to do with a call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from msgspec import Raw

from protocol.errors import LocalProtocolError, Overloaded, Unavailable
from protocol.signalr.codec import Codec
from protocol.signalr.connection import (
    Broken,
    Event,
    HubConnection,
    KeepAliveDue,
    Opened,
    PeerClosed,
    Refused,
    State,
    TimedOut,
)
from protocol.signalr.messages import (
    CancelInvocation,
    Completion,
    Invocation,
    StreamInvocation,
    StreamItem,
)

from .auth import Principal
from .config import Config
from .dispatcher import Dispatcher
from .hub import Caller, Hub, HubException, Lane
from .lifetime import LifetimeManager
from .log import LogBook
from .metrics import Metrics
from .outbound import Outbound
from .tasks import TaskSet
from .turns import TurnQueue

__all__ = ["HubServer", "HubSession", "SessionTransport"]

MESSAGES: Final = (Invocation, Completion, StreamInvocation, StreamItem, CancelInvocation)


class SessionTransport(Protocol):
    """What carries the bytes of a session."""

    name: str
    binary_ok: bool

    def chunks(self) -> AsyncIterator[bytes]:
        """What the client sends, until it is gone."""
        ...

    def use_binary(self) -> None:
        """The handshake chose a binary format."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """Bytes written and not yet taken by the kernel."""
        ...

    def write(self, payload: bytes) -> None:
        """Send one or more whole hub messages."""
        ...

    def abort(self) -> None:
        """Drop the connection."""
        ...

    async def close(self) -> None:
        """End the connection in order; ``chunks`` ends too."""
        ...


class HubServer:
    """One hub and everything that its connections share."""

    def __init__(
        self,
        hub: Hub,
        *,
        config: Config,
        dispatcher: Dispatcher,
        lifetime: LifetimeManager,
        log: LogBook,
        metrics: Metrics,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        closing: TaskSet,
    ) -> None:
        self.hub = hub
        self.config = config
        self.dispatcher = dispatcher
        self.lifetime = lifetime
        self.log = log
        self.metrics = metrics
        self.clock = clock
        self.monotonic = monotonic
        self.closing = closing
        self.sessions: dict[str, HubSession] = {}

    def sweep(self) -> None:
        """Look at the timers of all connections: one sweep instead of a timer each."""
        now, wall = self.monotonic(), self.clock()
        for session in tuple(self.sessions.values()):
            session.tick(now, wall)


class HubSession:
    """One connection: a ``ClientLink`` to those who send, a session to the dispatcher."""

    def __init__(
        self, server: HubServer, transport: SessionTransport, connection_id: str, principal: Principal
    ) -> None:
        self._server = server
        self._transport = transport
        self.connection_id = connection_id
        self.principal = principal
        self._opened_at = server.monotonic()
        self._core = HubConnection(server.config.hub_limits, now=self._opened_at, binary_ok=transport.binary_ok)
        self._tasks = TaskSet("connection", server.log)
        limit = server.config.max_pending_calls
        self._plain = TurnQueue(self._tasks, limit=limit)
        self._safety = TurnQueue(self._tasks, limit=limit)
        self._loop = asyncio.get_running_loop()
        self._queued: list[bytes] = []
        self._queued_bytes = 0
        self._results: dict[str, asyncio.Future[Raw]] = {}
        self._last_result_id = 0
        self._cause = ""
        self._joined = False
        self.caller = Caller(self, server.lifetime)

    # The life

    async def run(self) -> None:
        """From the first byte to the last; returns when the connection is gone."""
        server = self._server
        server.sessions[self.connection_id] = self
        server.metrics.connections.labels(self._transport.name).inc()
        try:
            async for chunk in self._transport.chunks():
                for event in self._core.receive_data(chunk, server.monotonic()):
                    if self._cause:
                        break
                    if isinstance(event, Opened):
                        await self._connected(event)
                    else:
                        self._handle(event)
                    # One frame may hold thousands of calls, so the bound is looked at after each.
                    if self._plain.full or self._safety.full:
                        await self._wait_for_room()
        finally:
            self._end("gone")
            await self._disconnected()

    def _handle(self, event: Event) -> None:
        if isinstance(event, MESSAGES):
            self._server.dispatcher.receive(self, event)
        elif isinstance(event, Refused):
            self._finish("handshake_refused", event.reply)
        elif isinstance(event, Broken):
            self._server.log.protocol_broken(connection=self.connection_id, hub=self._server.hub.name)
            self._finish("protocol_error", event.reply)
        elif isinstance(event, PeerClosed):
            self._finish("client_closed")
        else:
            raise LocalProtocolError(f"received data made {type(event).__name__}")

    async def _wait_for_room(self) -> None:
        """Read nothing while too many calls wait: the client's own buffers fill up, not ours."""
        self._server.metrics.bounds.labels("max_pending_calls").inc()
        await self._plain.room()
        await self._safety.room()

    async def _connected(self, opened: Opened) -> None:
        server = self._server
        if self.codec.binary:
            self._transport.use_binary()
        self._transport.write(opened.reply)
        server.log.connection_opened(connection=self.connection_id, hub=server.hub.name, protocol=opened.protocol)
        server.lifetime.add(self)
        self._joined = True
        try:
            await server.hub.on_connected(self.caller)
        except Exception as error:  # noqa: BLE001  # the boundary of a hook: the connection ends, the server lives
            server.log.call_crashed(
                connection=self.connection_id, hub=server.hub.name, method="on_connected", error=error
            )
            self._finish("connect_failed", self._core.close("Connection closed with an error."))

    async def _disconnected(self) -> None:
        server = self._server
        server.lifetime.remove(self)
        server.sessions.pop(self.connection_id, None)
        # What was received is carried out, also when the sender has gone: a report must not be lost.
        await self._tasks.finish(server.config.call_grace_s)
        if self._joined:
            try:
                await server.hub.on_disconnected(self.caller)
            except Exception as error:  # noqa: BLE001  # the boundary of a hook: the connection is gone anyway
                server.log.call_crashed(
                    connection=self.connection_id, hub=server.hub.name, method="on_disconnected", error=error
                )
        duration_s = server.monotonic() - self._opened_at
        server.metrics.connections.labels(self._transport.name).dec()
        server.metrics.durations.labels(self._cause, self._transport.name).observe(duration_s)
        server.log.connection_closed(
            connection=self.connection_id, hub=server.hub.name, cause=self._cause, duration_s=duration_s
        )

    def tick(self, now: float, wall: float) -> None:
        """Deadlines: keep-alive, silence, handshake, the end of the token."""
        busy = not (self._plain.idle and self._safety.idle)
        for event in self._core.tick(now, busy=busy):
            match event:
                case KeepAliveDue(data=data):
                    self._write(data)
                case TimedOut(which=which, reply=reply):
                    self._finish(f"{which}_timeout", reply)
                case _:
                    raise LocalProtocolError(f"a tick made {type(event).__name__}")
        if wall >= self.principal.expires_at_s and not self._cause:
            self.close("token_expired", "The token has expired.", allow_reconnect=True)

    # Sending

    @property
    def codec(self) -> Codec:
        """The format that the handshake chose."""
        return self._core.codec

    def send(self, outbound: Outbound) -> None:
        """See ``ClientLink``."""
        self._write(outbound.frame(self._core.codec))

    def send_frames(self, frames: dict[str, bytes]) -> None:
        """See ``ClientLink``."""
        self._write(frames[self._core.codec.name])

    def complete(self, completion: Completion) -> None:
        """Answer a call of the client."""
        if self._core.state is State.OPEN:
            self._write(self._core.codec.encode(completion))

    def _write(self, frame: bytes) -> None:
        """Queue for the end of this turn of the loop: what one turn sends is one write."""
        if self._cause:
            return
        if self._queued_bytes > self._server.config.max_send_queue_bytes and not self._flush():
            return
        if not self._queued:
            self._loop.call_soon(self._flush)
        self._queued.append(frame)
        self._queued_bytes += len(frame)

    def _flush(self) -> bool:
        """Write what is queued; False when the reader is too slow, which ends the connection."""
        if not self._queued:
            return True
        if self._transport.waiting_bytes > self._server.config.max_send_queue_bytes:
            self._server.metrics.bounds.labels("max_send_queue_bytes").inc()
            self._end("slow_consumer")
            self._transport.abort()
            return False
        payload = self._queued[0] if len(self._queued) == 1 else b"".join(self._queued)
        self._queued.clear()
        self._queued_bytes = 0
        self._core.sent(self._server.monotonic())
        self._transport.write(payload)
        return True

    # Client results

    async def ask(self, target: str, arguments: tuple[object, ...]) -> Raw:
        """See ``Caller.ask``."""
        config = self._server.config
        if self._cause:
            raise Unavailable(_disconnected_text(self.connection_id))
        if len(self._results) >= config.max_pending_results:
            self._server.metrics.bounds.labels("max_pending_results").inc()
            raise Overloaded("the client owes too many results")
        self._last_result_id += 1
        invocation_id = f"s{self._last_result_id}"
        answer: asyncio.Future[Raw] = self._loop.create_future()
        self._results[invocation_id] = answer
        message = Invocation(target=target, arguments=arguments, invocation_id=invocation_id)
        self.send(Outbound(message, self.codec))
        try:
            async with asyncio.timeout(config.client_result_timeout_s):
                return await answer
        except TimeoutError:
            raise Unavailable("the client did not answer in time") from None
        finally:
            del self._results[invocation_id]

    def resolve(self, completion: Completion) -> None:
        """The client answered a question; answers to nothing are ignored."""
        answer = self._results.get(completion.invocation_id)
        if answer is None or answer.done():
            return
        if completion.error is not None:
            answer.set_exception(HubException(completion.error))
        elif isinstance(completion.result, Raw):
            answer.set_result(completion.result)
        else:
            answer.set_result(self.codec.encode_value(None))

    # Closing

    def abort(self) -> None:
        """End the connection: Close with neither error nor allowReconnect."""
        self.close("aborted")

    def close(self, cause: str, error: str | None = None, *, allow_reconnect: bool = False) -> None:
        """Send what is queued and a Close message, then end the transport."""
        self._finish(cause, self._core.close(error, allow_reconnect=allow_reconnect))

    def turns(self, lane: Lane) -> TurnQueue:
        """The queue of a lane."""
        return self._plain if lane is Lane.PLAIN else self._safety

    def _finish(self, cause: str, reply: bytes = b"") -> None:
        if self._cause:
            return
        if not self._flush():
            return
        if reply:
            self._transport.write(reply)
        self._end(cause)
        self._server.closing.spawn(self._transport.close())

    def _end(self, cause: str) -> None:
        """From here on nothing is sent, and nobody waits for an answer any more."""
        if self._cause:
            return
        self._cause = cause
        self._queued.clear()
        self._core.receive_eof()
        for answer in self._results.values():
            if not answer.done():
                answer.set_exception(Unavailable(_disconnected_text(self.connection_id)))


def _disconnected_text(connection_id: str) -> str:
    return f"Connection '{connection_id}' disconnected."
