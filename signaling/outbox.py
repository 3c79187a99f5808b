"""What waits to be written to one connection: bounded, in order, and one write per turn of the event loop.

With stateful reconnect every frame is numbered on its way out, and what the client has not acknowledged holds
the next ones back. Knows neither messages nor why something is sent.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from .session_core import SessionCore
from .transport import SessionTransport

__all__ = ["Flusher", "Outbox", "congestion_bytes"]

AT_ONCE: Final = 256


def congestion_bytes(limit_bytes: int) -> int:
    """Above so many waiting bytes a sender that can wait should; broadcasts, which cannot, have the rest."""
    return limit_bytes // 4


class Flusher:
    """Flushes what this turn of the loop has put into any number of outboxes, ``AT_ONCE`` in each turn to come.

    One callback for a broadcast instead of one for each member, and the rest of the world in between. ``dirty``: those
    with something to write; whoever adds the first one calls ``schedule``.
    """

    __slots__ = ("_scheduled", "dirty")

    def __init__(self) -> None:
        self.dirty: deque[Outbox] = deque()
        self._scheduled = False

    def schedule(self) -> None:
        """Flush in the next turn."""
        if self._scheduled:
            return
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        try:
            for _ in range(min(AT_ONCE, len(self.dirty))):
                self.dirty.popleft().flush()
        finally:
            # Also when one of them failed: the others have done nothing wrong.
            if self.dirty:
                self.schedule()


class Outbox:
    """The sending side of one connection.

    ``limit_bytes`` bounds what waits behind a slow reader; a single message above it is still sent, since what a
    server sends is not limited. Beyond it ``on_overflow`` is called and nothing more is taken. ``on_full``: what the
    client has not acknowledged holds back whatever comes next.
    """

    __slots__ = (
        "_allowance",
        "_bytes",
        "_closed",
        "_congestion_bytes",
        "_core",
        "_first",
        "_flusher",
        "_frames",
        "_limit_bytes",
        "_monotonic",
        "_on_full",
        "_on_overflow",
        "_waits",
        "held",
        "numbered",
        "transport",
    )

    def __init__(
        self,
        core: SessionCore,
        transport: SessionTransport,
        *,
        flusher: Flusher,
        limit_bytes: int,
        monotonic: Callable[[], float],
        on_overflow: Callable[[], None],
        on_full: Callable[[], None],
    ) -> None:
        self._core = core
        self.transport = transport
        self._limit_bytes = limit_bytes
        self._congestion_bytes = congestion_bytes(limit_bytes)
        self._monotonic = monotonic
        self._on_overflow = on_overflow
        self._on_full = on_full
        self._flusher = flusher
        self._frames: list[bytes] = []
        self._bytes = 0
        self._allowance = 0
        self._closed = False
        # How many reasons there are to write nothing yet, and what goes before everything else.
        self._waits = 0
        self._first = b""
        # Something of the client is being handled: what it brings about leaves with one ``flush`` behind it.
        self.held = False
        # Whether the handshake has agreed on stateful reconnect.
        self.numbered = False

    @property
    def congested(self) -> bool:
        """Whether a sender that can wait should."""
        return bool(self._frames and not self._core.can_send) or self.transport.waiting_bytes > self._congestion_bytes

    def relieve(self) -> None:
        """Before one more item of a stream: a turn that never ends must not pile them up."""
        if self._bytes > self._congestion_bytes:
            self.flush()

    def put(self, frame: bytes) -> None:
        """Queue one framed message for the end of this turn of the loop."""
        if self._closed or (self._bytes > self._limit_bytes and not self.flush()):
            return
        frames = self._frames
        if not frames and not self.held:
            dirty = self._flusher.dirty
            if not dirty:
                self._flusher.schedule()
            dirty.append(self)
        frames.append(frame)
        self._bytes += len(frame)

    def flush(self, now: float | None = None) -> bool:
        """Hand over to the transport what may go; False when the reader is too slow, which ends the connection."""
        frames = self._frames
        if not frames:
            return True
        if self._waits:
            return self._bytes <= self._limit_bytes or self._overflow()
        transport = self.transport
        if self.numbered or self._bytes > self._limit_bytes or transport.waiting_bytes > self._limit_bytes:
            return self._flush_within_bounds()
        self._allowance = 0
        # Of one frame it is that frame itself.
        payload = b"".join(frames)
        frames.clear()
        self._bytes = 0
        self._core.sent_at = now or self._monotonic()
        transport.write(payload)
        return True

    def _flush_within_bounds(self) -> bool:
        frames = self._frames
        waiting_bytes = self.transport.waiting_bytes
        if waiting_bytes <= self._limit_bytes:
            self._allowance = 0
        elif waiting_bytes > self._limit_bytes + self._allowance:
            return self._overflow()
        if self.numbered:
            payload = self._numbered()
        else:
            payload = b"".join(frames)
            frames.clear()
            if self._bytes > self._limit_bytes:
                self._allowance = self._bytes
            self._bytes = 0
        if payload:
            self._core.sent_at = self._monotonic()
            self.transport.write(payload)
        if frames and self._bytes > self._limit_bytes:
            return self._overflow()
        return True

    def begin(self, reply: bytes, *, numbered: bool) -> None:
        """The answer to the handshake, before everything else."""
        self.numbered = numbered
        if self._waits:
            self._first = reply
        else:
            self.transport.write(reply)

    def hold_back(self) -> Callable[[], None]:
        """Write nothing until what this returns was called, as often as this."""
        self._waits += 1
        return self.let_go

    def let_go(self, *, of_all: bool = False) -> None:
        """One reason less to write nothing, or none any more; the reasons that were forgotten so may still go."""
        if not self._waits:
            return
        self._waits = 0 if of_all else self._waits - 1
        if self._waits or self._closed:
            return
        first, self._first = self._first, b""
        if first:
            self.transport.write(first)
        self.flush()

    def write_now(self, payload: bytes) -> None:
        """Something that is not a numbered message: it goes behind what waits, if that may go."""
        self.let_go(of_all=True)
        if self.flush() and not self._closed:
            self.transport.write(payload)

    def finish(self, reply: bytes) -> bool:
        """What waits, and the last words; False when the reader is too slow, which ends the connection."""
        self.let_go(of_all=True)
        if not self.flush():
            return False
        if reply:
            self.transport.write(reply)
        return True

    def close(self) -> None:
        """Take nothing more, and forget what waits and who would be told."""
        self._closed = True
        self._on_overflow = _nobody
        self._frames.clear()
        self._bytes = 0

    def _numbered(self) -> bytes:
        """As many as the buffer for resending takes; the rest waits for an acknowledgement."""
        parts: list[bytes] = []
        for frame in self._frames:
            if not self._core.can_send:
                break
            parts.append(self._core.outgoing(frame))
            self._bytes -= len(frame)
        del self._frames[: len(parts)]
        if parts and not self._core.can_send:
            self._on_full()
        return b"".join(parts)

    def _overflow(self) -> bool:
        on_overflow = self._on_overflow
        self.close()
        on_overflow()
        return False


def _nobody() -> None:
    """Whom to tell when it is over."""
