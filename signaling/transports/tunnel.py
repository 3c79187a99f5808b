"""A WebSocket whose connection is on another pod: bytes go through as they come, none is looked at.

What one side does not take is not read from the other, so that a slow client holds back its own server and nobody
else. Read ``End`` first.
"""

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["End", "Tunnel"]

_NEVER: Final = float("inf")


class Tunnel:
    """Two ends. ``max_bytes``: of what waits for either; ``close_timeout_s``: how long the last of it may take.

    ``reached`` is told of the bounds' configuration fields, ``ended`` once, when both ends have ended.
    """

    def __init__(
        self, *, max_bytes: int, close_timeout_s: float, reached: Callable[[str], None], ended: Callable[[], None]
    ) -> None:
        self.max_bytes = max_bytes
        self.reached = reached
        self._close_timeout_s = close_timeout_s
        self._ended = ended
        self._open = 2
        self._closing_since_s: float | None = None
        self._is_closing = False
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
        """An end that does not take the last words is dropped."""
        if not self._is_closing:
            return
        if self._closing_since_s is None:
            self._closing_since_s = now_s
        elif now_s - self._closing_since_s >= self._close_timeout_s:
            self._closing_since_s = _NEVER
            self.reached("close_timeout_s")
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

    def start(self, transport: asyncio.Transport) -> None:
        """It is over this transport, whose protocol this is."""
        self._transport = transport
        transport.set_write_buffer_limits(high=self._tunnel.max_bytes)

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
        self._tunnel.reached("max_forward_bytes")
        source = self.other._transport
        if source is not None and not source.is_closing():
            source.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        source = self.other._transport
        if source is not None and not source.is_closing():
            source.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._tunnel.lost(self, is_broken=exc is not None)
