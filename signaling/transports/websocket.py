"""A hub connection over a WebSocket: text frames for JSON, binary frames for MessagePack, bytes in between.

An asyncio protocol on the upgraded transport: no task, no queue, frames read and written by ``protocol.websocket``.
What one call to ``write`` brings is one frame, since the JavaScript client parses frame by frame.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from protocol.websocket.frames import (
    TOO_BIG,
    CloseFrame,
    Data,
    Event,
    FrameReader,
    PingFrame,
    Violation,
    binary_frame,
    close_frame,
    pong_frame,
    text_frame,
)
from protocol.websocket.upgrade import UpgradeRefused, accept_upgrade
from signaling.connection import HubSession

from .aiohttp_seam import unmask
from .guard import refuse

__all__ = ["WebSocketTransport", "upgrade_answer"]

NORMAL_CLOSURE: Final = 1_000
MAX_WAITING_FOR_PONGS_BYTES: Final = 65_536


def upgrade_answer(request: web.Request) -> bytes | web.Response:
    """What begins a WebSocket, or the refusal."""
    if not request.raw_path.startswith("/"):
        # A proxy in front may have looked at another host than we do.
        return refuse(HTTPStatus.BAD_REQUEST, "An upgrade names a path")
    answer = accept_upgrade(request.method, (request.version.major, request.version.minor), request.headers)
    if isinstance(answer, UpgradeRefused):
        return refuse(HTTPStatus(answer.status), answer.reason, dict(answer.headers))
    return answer


class WebSocketTransport(asyncio.Protocol):
    """A ``SessionTransport`` over an upgraded connection.

    ``close_timeout_s``: how long a close of ours waits for the client's close frame, looked at by ``tick``.
    ``congestion_bytes``: above so many unsent bytes the session's streams wait, until ``drained`` is called.
    ``reached`` is told of ``max_frame_bytes`` and ``close_timeout_s``. ``leave`` does what is to be done when it has
    ended: many may end at once.
    """

    __slots__ = (
        "_close_sent",
        "_close_timeout_s",
        "_congestion_bytes",
        "_ends_at",
        "_frame",
        "_graceful",
        "_leave",
        "_reached",
        "_reader",
        "_session",
        "_transport",
    )

    name: Final = "web_sockets"
    inherent_keep_alive: Final = False

    def __init__(
        self,
        *,
        max_frame_bytes: int,
        close_timeout_s: float,
        congestion_bytes: int,
        reached: Callable[[str], None],
        leave: Callable[[Callable[[], None]], None],
    ) -> None:
        self._leave = leave
        self._reached = reached
        self._reader = FrameReader(max_frame_bytes, unmask=unmask)
        self._close_timeout_s = close_timeout_s
        self._congestion_bytes = congestion_bytes
        self._frame: Callable[[bytes], bytes] = text_frame
        self._close_sent = False
        self._graceful = False
        self._ends_at: float | None = None

    def start(self, transport: asyncio.Transport, session: HubSession) -> None:
        """From now on what comes is the session's."""
        self._transport = transport
        self._session = session
        # ``resume_writing`` comes only after this many bytes have been waiting.
        transport.set_write_buffer_limits(high=self._congestion_bytes)

    # asyncio tells

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        lone = self._reader.lone(data)
        if lone is not None:
            self._session.receive(lone)
            return
        payload, rest = self._reader.leading(data)
        if payload:
            self._session.receive(payload)
        if rest:
            self._feed(rest)

    def eof_received(self) -> bool:
        """The client says nothing more. The transport is closed in its turn: that takes longest of all."""
        self._leave(self._hang_up)
        # Over TLS, which one of another pod has come by, there is no half of a connection.
        return self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended; without a close frame a stateful connection may come back."""
        self._leave(self._left)

    def _hang_up(self) -> None:
        self._leave = _now
        self._transport.close()

    def _left(self) -> None:
        self._session.lost(self, graceful=self._graceful)
        # Neither keeps the other: nothing comes any more.
        del self._session

    def pause_writing(self) -> None:
        """The kernel takes no more for now; ``waiting_bytes`` tells how much that is."""

    def resume_writing(self) -> None:
        """There is room again."""
        self._session.drained()

    # The session tells

    @property
    def waiting_bytes(self) -> int:
        """See ``SessionTransport``."""
        return self._transport.get_write_buffer_size()

    def use_binary(self) -> None:
        """See ``SessionTransport``."""
        self._frame = binary_frame

    def write(self, payload: bytes) -> None:
        """One frame; nothing may follow a close frame (RFC 6455, section 5.5.1)."""
        transport = self._transport
        if not self._close_sent and not transport.is_closing():
            transport.write(self._frame(payload))

    def pause_reading(self) -> None:
        """See ``SessionTransport``."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See ``SessionTransport``."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def is_quiet(self) -> bool:
        """See ``SessionTransport``."""
        return not self._close_sent

    def tick(self, now: float) -> None:
        """A client that does not answer our close is dropped."""
        if not self._close_sent:
            return
        if self._ends_at is None:
            self._ends_at = now + self._close_timeout_s
        elif now >= self._ends_at:
            self._reached("close_timeout_s")
            self._transport.abort()

    def close(self) -> None:
        """A close frame, then wait for the client's: an early end could lose our last words."""
        self._write_close(NORMAL_CLOSURE)
        # Paused reading would never see the client's close frame.
        self.resume_reading()

    def abort(self) -> None:
        """See ``SessionTransport``."""
        self._transport.abort()

    def _feed(self, data: bytes) -> None:
        # Hub messages are a stream of bytes: what the frames of one chunk bring about leaves in one write.
        payloads: list[bytes] = []
        for event in self._reader.feed(data):
            if isinstance(event, Data):
                payloads.append(event.payload)
            else:
                self._hand_on(payloads)
                self._control(event)
        self._hand_on(payloads)

    def _hand_on(self, payloads: list[bytes]) -> None:
        if payloads:
            self._session.receive(payloads[0] if len(payloads) == 1 else b"".join(payloads))
            payloads.clear()

    def _control(self, event: Event) -> None:
        if isinstance(event, PingFrame):
            # A client that pings and does not read gets no more answers: one to the last ping would do.
            if self.waiting_bytes <= MAX_WAITING_FOR_PONGS_BYTES and not self._close_sent:
                self._transport.write(pong_frame(event.payload))
        elif isinstance(event, CloseFrame):
            self._graceful = True
            self._write_close(event.code or NORMAL_CLOSURE)
            self._transport.close()
        elif isinstance(event, Violation):
            if event.code == TOO_BIG:
                self._reached("max_frame_bytes")
            self._graceful = True
            self._write_close(event.code)
            self._transport.close()

    def _write_close(self, code: int) -> None:
        if not self._close_sent and not self._transport.is_closing():
            self._close_sent = True
            self._session.quiet_until = 0.0
            self._transport.write(close_frame(code))


def _now(thing: Callable[[], None]) -> None:
    """It has had its turn already."""
    thing()
