"""What waits to be written to one connection: bounded, in order, and one write per turn of the event loop.

With stateful reconnect every frame is numbered on its way out, and what the client has not acknowledged holds
the next ones back. Knows neither messages nor why something is sent.
"""

import asyncio
from collections.abc import Callable

from protocol.signalr.connection import HubConnection

from .transport import SessionTransport

__all__ = ["Outbox"]


class Outbox:
    """The sending side of one connection.

    ``limit_bytes`` bounds what waits behind a slow reader; a single message above it is still sent, since what a
    server sends is not limited. Beyond it ``on_overflow`` is called and nothing more is taken.
    """

    __slots__ = (
        "_allowance",
        "_bytes",
        "_closed",
        "_core",
        "_frames",
        "_held",
        "_limit_bytes",
        "_loop",
        "_monotonic",
        "_on_overflow",
        "transport",
    )

    def __init__(
        self,
        core: HubConnection,
        transport: SessionTransport,
        *,
        limit_bytes: int,
        monotonic: Callable[[], float],
        on_overflow: Callable[[], None],
    ) -> None:
        self._core = core
        self.transport = transport
        self._limit_bytes = limit_bytes
        self._monotonic = monotonic
        self._on_overflow = on_overflow
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._bytes = 0
        self._allowance = 0
        self._closed = False
        self._held = False

    @property
    def congested(self) -> bool:
        """Whether a sender that can wait should."""
        return bool(self._frames and not self._core.can_send) or self.transport.waiting_bytes > self._limit_bytes // 4

    def put(self, frame: bytes) -> None:
        """Queue one framed message for the end of this turn of the loop."""
        if self._closed or (self._bytes > self._limit_bytes and not self.flush()):
            return
        if not self._frames and not self._held:
            self._loop.call_soon(self.flush)
        self._frames.append(frame)
        self._bytes += len(frame)

    def hold(self) -> None:
        """Something of the client is being handled: what it brings about leaves with ``release``, in one write."""
        self._held = True

    def release(self) -> None:
        """Send what was held."""
        self._held = False
        self.flush()

    def flush(self) -> bool:
        """Hand over to the transport what may go; False when the reader is too slow, which ends the connection."""
        if not self._frames:
            return True
        waiting_bytes = self.transport.waiting_bytes
        if waiting_bytes <= self._limit_bytes:
            self._allowance = 0
        elif waiting_bytes > self._limit_bytes + self._allowance:
            return self._overflow()
        payload = self._numbered() if self._core.resumable else self._all()
        if payload:
            self._core.sent(self._monotonic())
            self.transport.write(payload)
        if self._frames and self._bytes > self._limit_bytes:
            return self._overflow()
        return True

    def write_now(self, payload: bytes) -> None:
        """Something that is not a numbered message: it goes behind what waits, if that may go."""
        if self.flush() and not self._closed:
            self.transport.write(payload)

    def close(self) -> None:
        """Take nothing more and forget what waits."""
        self._closed = True
        self._frames.clear()
        self._bytes = 0

    def _all(self) -> bytes:
        frames = self._frames
        payload = frames[0] if len(frames) == 1 else b"".join(frames)
        if self._bytes > self._limit_bytes:
            self._allowance = self._bytes
        frames.clear()
        self._bytes = 0
        return payload

    def _numbered(self) -> bytes:
        """As many as the buffer for resending takes; the rest waits for an acknowledgement."""
        parts: list[bytes] = []
        for frame in self._frames:
            if not self._core.can_send:
                break
            parts.append(self._core.outgoing(frame))
            self._bytes -= len(frame)
        del self._frames[: len(parts)]
        return b"".join(parts)

    def _overflow(self) -> bool:
        self.close()
        self._on_overflow()
        return False
