"""One Engine.IO session: packets in both directions, over polling or a WebSocket, and the way from one to the other.

What a packet means is its owner's to know (``EngineOwner``); nothing here waits but a poll. Read ``EngineSocket`` from
the top: what an HTTP request does, what a WebSocket does, what the owner does, and what time does.
"""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from protocol.errors import RemoteProtocolError
from protocol.socketio.engine import (
    CLOSE,
    NOOP,
    PING,
    PROBE,
    PROBED,
    SEPARATOR,
    UPGRADE,
    Happening,
    Kind,
    Packet,
    State,
    next_state,
    packet_of_frame,
)

__all__ = ["Carrier", "EngineLimits", "EngineOwner", "EngineSocket"]

# python-engineio's client takes no more in one answer.
POLLED_PACKETS: Final = 16
# A process that was stopped for longer has not listened either.
_STALLED_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds of one session. ``max_packet_bytes``: of one packet on a WebSocket. ``max_body_bytes`` and
    ``max_packets``: of one POST. ``max_queue_bytes``: what waits for a client that does not read.
    ``connect_timeout_s``: how long it may go without being connected to anything, and how long an upgrade may take.
    ``close_timeout_s``: how long a closing session waits for its client to take the last words.
    """

    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    connect_timeout_s: float = 15.0
    close_timeout_s: float = 5.0
    body_timeout_s: float = 30.0
    max_packet_bytes: int = 65_536
    max_body_bytes: int = 65_536
    max_packets: int = 64
    max_queue_bytes: int = 1_048_576


class EngineOwner(Protocol):
    """Who is told what comes; nothing of it may raise or wait."""

    def received(self, socket: "EngineSocket", data: bytes, *, binary: bool) -> None:
        """A message of the client."""
        ...

    def drained(self, socket: "EngineSocket") -> None:
        """There is room again for what is written."""
        ...

    def broken(self, socket: "EngineSocket", error: RemoteProtocolError) -> None:
        """The client sent what the protocol forbids, and has been closed for it."""
        ...

    def gone(self, socket: "EngineSocket", reason: str) -> None:
        """It has ended; told once."""
        ...


class Carrier(Protocol):
    """The WebSocket of a session."""

    @property
    def waiting_bytes(self) -> int: ...
    def write(self, payload: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def drop(self) -> None: ...


class EngineSocket:
    """``monotonic`` is read where the client may have been silent for too long; ``reached`` is told a bound's name."""

    __slots__ = (
        "_carrier",
        "_ends_at",
        "_limits",
        "_monotonic",
        "_out",
        "_out_bytes",
        "_owner",
        "_ping_at",
        "_poll",
        "_polled_by",
        "_pong_by",
        "_probe",
        "_probe_by",
        "_reached",
        "_readable",
        "_state",
        "connect_by",
        "is_posting",
        "sid",
    )

    def __init__(
        self,
        sid: str,
        owner: EngineOwner,
        limits: EngineLimits,
        *,
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
    ) -> None:
        now = monotonic()
        self.sid = sid
        self._owner = owner
        self._limits = limits
        self._monotonic = monotonic
        self._reached = reached
        self._state = State.POLLING
        self._carrier: Carrier | None = None
        self._probe: Carrier | None = None
        self._probe_by = 0.0
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._poll: asyncio.Future[None] | None = None
        self._polled_by = ""
        self._ping_at = now + limits.ping_interval_s
        self._pong_by: float | None = None
        self._ends_at: float | None = None
        self._readable: asyncio.Event | None = None
        # By when it must be connected to a namespace; None once it is.
        self.connect_by: float | None = now + limits.connect_timeout_s
        self.is_posting = False

    # What an HTTP request does

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._state is State.ENDED

    @property
    def polls(self) -> bool:
        """Whether it may be polled, or posted to."""
        self._look_at_pong(self._monotonic())
        return self._state in (State.POLLING, State.PROBED)

    async def poll(self, *, wait_s: float | None = None, by: str = "") -> bytes:
        """What waits for the client, as soon as something does. Raises RemoteProtocolError: another poll waits.

        ``wait_s``: how long the poll may wait, None: until there is a ping. ``by``: the pod that has brought it.
        """
        if self._poll is not None:
            self.end("two polls at once", CLOSE)
            raise RemoteProtocolError("Two polls at once.")
        if self._state is State.PROBED:
            return NOOP
        if not self._out and self._ends_at is None:
            await self._something(wait_s, by)
        if not self._out and self._ends_at is not None:
            # Alone: what comes together with it client libraries have no time to tell.
            self.end("server disconnect")
            return CLOSE
        body = self._next_body()
        self._owner.drained(self)
        return body or NOOP

    def send_home(self, pod: str) -> None:
        """Answer the poll that this pod has brought, with whatever there is."""
        if self._polled_by == pod:
            self._wake()

    async def _something(self, wait_s: float | None, by: str) -> None:
        loop = asyncio.get_running_loop()
        self._poll, self._polled_by = loop.create_future(), by
        alarm = None if wait_s is None else loop.call_later(wait_s, self._wake)
        try:
            await self._poll
        finally:
            self._poll, self._polled_by = None, ""
            if alarm is not None:
                alarm.cancel()

    def _next_body(self) -> bytes:
        packets = b"".join(self._out).split(SEPARATOR, POLLED_PACKETS)
        rest = packets[POLLED_PACKETS] if len(packets) > POLLED_PACKETS else b""
        self._out, self._out_bytes = ([rest], len(rest)) if rest else ([], 0)
        # Behind the last packet there is a separator too.
        return SEPARATOR.join(packet for packet in packets[:POLLED_PACKETS] if packet)

    def take(self, packet: Packet) -> None:
        """One packet of the client; a forbidden one ends the session. Never raises."""
        if self._state is State.ENDED or self._ends_at is not None:
            return
        if packet.kind is Kind.MESSAGE:
            self._owner.received(self, packet.data, binary=packet.binary)
        elif packet.kind is Kind.PONG:
            self._pong_by = None
            self._ping_at = self._monotonic() + self._limits.ping_interval_s
        elif packet.kind is Kind.CLOSE:
            self.end("client disconnect", NOOP)
        elif packet.kind is not Kind.NOOP:
            self.fail(RemoteProtocolError("A client does not send packets of that type."))

    async def readable(self) -> None:
        """Wait while nothing is to be read from the client."""
        while self._readable is not None and self._state is not State.ENDED:
            await self._readable.wait()

    # What a WebSocket does

    def begin(self, carrier: Carrier) -> None:
        """It has a WebSocket from its first moment."""
        self._carrier, self._state = carrier, State.WEBSOCKET

    def may_upgrade(self) -> bool:
        """Whether another WebSocket could take it over."""
        return self._state is State.POLLING and self._probe is None and self._ends_at is None

    def try_out(self, carrier: Carrier) -> None:
        """A WebSocket wants to take it over; polling goes on until the client says so."""
        self._probe, self._probe_by = carrier, self._monotonic() + self._limits.connect_timeout_s

    def frame(self, carrier: Carrier, payload: bytes, *, binary: bool) -> None:
        """A whole message on one of its WebSockets."""
        if carrier is self._carrier:
            try:
                packet = packet_of_frame(payload, binary=binary)
            except RemoteProtocolError as error:
                self.fail(error)
            else:
                self.take(packet)
        elif carrier is self._probe:
            self._probed(carrier, payload)

    def carrier_lost(self, carrier: Carrier) -> None:
        """A WebSocket has ended."""
        if carrier is self._carrier:
            self.end("transport close")
        elif carrier is self._probe:
            self._probe = None
            self._state = next_state(self._state, Happening.PROBE_LOST)

    def drained(self) -> None:
        """The WebSocket has room again."""
        self._owner.drained(self)

    def _probed(self, carrier: Carrier, payload: bytes) -> None:
        if payload == PROBE and self._state is State.POLLING:
            self._state = next_state(self._state, Happening.PROBE)
            carrier.write(PROBED + SEPARATOR)
            # The client waits for its poll before it leaves.
            self._wake()
        elif payload == UPGRADE and self._state is State.PROBED:
            self._state = next_state(self._state, Happening.UPGRADE)
            self._carrier, self._probe = carrier, None
            self._wake()
            waiting = b"".join(self._out)
            self._forget_out()
            if waiting:
                carrier.write(waiting)
            self._owner.drained(self)
        else:
            carrier.drop()

    # What the owner does

    @property
    def waiting_bytes(self) -> int:
        """Bytes written and not yet taken by a poll, or by the kernel."""
        return self._out_bytes + (0 if self._carrier is None else self._carrier.waiting_bytes)

    def write(self, payload: bytes) -> None:
        """Send packets, each with a separator behind it; binary ones are base64 behind a ``b``."""
        if self._state is State.WEBSOCKET and self._carrier is not None:
            self._carrier.write(payload)
        elif self._state is not State.ENDED:
            self._out.append(payload)
            self._out_bytes += len(payload)
            if self._state is State.POLLING:
                self._wake()

    def write_binary(self, data: bytes) -> None:
        """Send a binary message."""
        self.write(b"b" + base64.b64encode(data) + SEPARATOR)

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        if self._readable is None:
            self._readable = asyncio.Event()
            if self._carrier is not None:
                self._carrier.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._readable is not None:
            self._readable.set()
            self._readable = None
            if self._carrier is not None:
                self._carrier.resume_reading()

    def close(self) -> None:
        """End in order: what was written arrives first."""
        if self._ends_at is not None or self._state is State.ENDED:
            return
        self._ends_at = self._monotonic() + self._limits.close_timeout_s
        self.resume_reading()
        if self._probe is not None:
            self._probe.drop()
        if self._carrier is not None:
            self._carrier.close()
        else:
            self._wake()

    def fail(self, error: RemoteProtocolError) -> None:
        """End at once: the client has broken the protocol."""
        if self._state is not State.ENDED:
            self._owner.broken(self, error)
            self.end("protocol error", CLOSE)

    def end(self, reason: str, last: bytes = NOOP) -> None:
        """End at once; ``last`` is what a poll that waits is answered with."""
        if self._state is State.ENDED:
            return
        self._state = next_state(self._state, Happening.END)
        self.resume_reading()
        self._forget_out()
        if self._poll is not None:
            self._out.append(last + SEPARATOR)
        self._wake()
        for carrier in (self._carrier, self._probe):
            if carrier is not None:
                carrier.drop()
        self._owner.gone(self, reason)

    def abort(self) -> None:
        """End at once; what waits is lost."""
        self.end("aborted", CLOSE)

    # What time does

    def tick(self, now: float) -> None:
        """Pings, and whoever is silent, not connected, or does not take the last words, for too long."""
        if self._probe is not None and now >= self._probe_by:
            self._probe.drop()
        if self._ends_at is not None:
            if now >= self._ends_at:
                self._reached("close_timeout_s")
                self.end("server disconnect")
            return
        if self.connect_by is not None and now >= self.connect_by:
            self._reached("handshake_timeout_s")
            self.end("connect timeout", CLOSE)
        elif self._readable is not None:
            # Nobody listens to it: its silence is no sign.
            self._pong_by = None if self._pong_by is None else now + self._limits.ping_timeout_s
        else:
            self._look_at_pong(now)
            self._look_at_ping(now)

    def _look_at_ping(self, now: float) -> None:
        if self._pong_by is None and now >= self._ping_at and self._state is not State.ENDED:
            began_at = self._ping_at if now - self._ping_at < _STALLED_S else now
            self._pong_by = began_at + self._limits.ping_timeout_s
            self.write(PING + SEPARATOR)

    def _look_at_pong(self, now: float) -> None:
        if self._pong_by is not None and now >= self._pong_by:
            self._reached("client_timeout_s")
            self.end("ping timeout", CLOSE)

    def _wake(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)

    def _forget_out(self) -> None:
        self._out, self._out_bytes = [], 0
