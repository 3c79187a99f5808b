"""A WebSocket whose connection is on another pod: bytes go through as they come, none is looked at.

What one side does not take is not read from the other, so that a slow client holds back its own server and nobody
else. Read ``End`` first.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["End", "Tunnel", "TunnelLimits"]


@dataclass(frozen=True, slots=True)
class TunnelLimits:
    """``max_bytes``: of what waits for either end; ``stuck_s``: how long it may, with nothing of it taken.

    ``close_timeout_s``: how long the last of it may take. ``reached`` is told of the bounds' configuration fields.
    """

    max_bytes: int
    stuck_s: float
    close_timeout_s: float
    reached: Callable[[str], None]


class Tunnel:
    """Two ends. ``ended`` is called once, when both have ended."""

    def __init__(self, limits: TunnelLimits, ended: Callable[[], None]) -> None:
        self.limits = limits
        self._ended = ended
        self._open = 2
        self._is_closing = False
        self._closing_since_s: float | None = None
        self._stuck_since_s: float | None = None
        self.client, self.owner = End(self), End(self)
        self.client.other, self.owner.other = self.owner, self.client

    def join(self, to_client: tuple[asyncio.Transport, bytes], to_owner: tuple[asyncio.Transport, bytes]) -> None:
        """Both ends are here; with each what has come over it already."""
        for end, (transport, _) in ((self.client, to_client), (self.owner, to_owner)):
            end.start(transport)
        self.owner.write(to_client[1])
        self.client.write(to_owner[1])

    def lost(self, end: "End", *, is_broken: bool) -> None:
        """One end is over: the other one is too, as soon as it has taken what waits; at once behind a broken one."""
        self._open -= 1
        if not self._open:
            self._ended()
            return
        self._is_closing = True
        if is_broken:
            end.other.abort()
        else:
            end.other.close()

    def tick(self, now_s: float) -> None:
        """An end that takes nothing any more is dropped, and the other one with it.

        While what it does not take is held back, nobody would notice that the other end has gone.
        """
        if not self._is_closing:
            self._closing_since_s = None
        elif self._closing_since_s is None:
            self._closing_since_s = now_s
        elif now_s - self._closing_since_s >= self.limits.close_timeout_s:
            self._drop("close_timeout_s")
        if not (self.client.is_full or self.owner.is_full):
            self._stuck_since_s = None
        elif self._stuck_since_s is None:
            self._stuck_since_s = now_s
        elif now_s - self._stuck_since_s >= self.limits.stuck_s:
            self._drop("forward_timeout_s")

    def _drop(self, bound: str) -> None:
        self.limits.reached(bound)
        self.abort()

    def abort(self) -> None:
        """End both at once."""
        self.client.abort()
        self.owner.abort()


class End(asyncio.Protocol):
    """One end of a tunnel."""

    other: "End"

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._transport: asyncio.Transport | None = None
        self.is_full = False

    def start(self, transport: asyncio.Transport) -> None:
        """It is over this transport, whose protocol this is."""
        self._transport = transport
        transport.set_write_buffer_limits(high=self._tunnel.limits.max_bytes)

    def write(self, data: bytes) -> None:
        """What the other end has read."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """End it behind what waits."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio tells

    def data_received(self, data: bytes) -> None:
        """Bytes for the other end."""
        self.other.write(data)

    def pause_writing(self) -> None:
        """Enough waits for this end."""
        self.is_full = True
        self._tunnel.limits.reached("max_forward_bytes")
        source = self.other._transport
        if source is not None and not source.is_closing():
            source.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self.is_full = False
        source = self.other._transport
        if source is not None and not source.is_closing():
            source.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._tunnel.lost(self, is_broken=exc is not None)
