"""The WebSocket of an Engine.IO session: every packet is one text frame, a binary message one binary frame.

An asyncio protocol on the upgraded transport, like that of SignalR: no task, no queue. What the frames of one chunk
bring about leaves in one write. Read ``EngineWebSocket.data_received`` first.
"""

import asyncio
import binascii
from collections.abc import Callable
from typing import Final

from protocol.socketio.engine import SEPARATOR
from protocol.websocket.events import CloseFrame, Message, PingFrame, Violation
from protocol.websocket.frames import TOO_BIG, binary_frame, close_frame, pong_frame, text_frame
from protocol.websocket.messages import MessageReader

from .aiohttp_seam import unmask
from .engineio_socket import EngineSocket

__all__ = ["EngineWebSocket"]

NORMAL_CLOSURE: Final = 1_000
MAX_WAITING_FOR_PONGS_BYTES: Final = 65_536


class EngineWebSocket(asyncio.Protocol):
    """A ``Carrier``. ``socket`` None: a stranger's, which is closed at once.

    ``congestion_bytes``: above so many unsent bytes the session is told when there is room again.
    """

    __slots__ = (
        "_close_sent",
        "_congestion_bytes",
        "_held",
        "_reached",
        "_reader",
        "_socket",
        "_transport",
    )

    def __init__(
        self,
        socket: EngineSocket | None,
        *,
        max_packet_bytes: int,
        congestion_bytes: int,
        reached: Callable[[str], None],
    ) -> None:
        self._socket = socket
        self._reader = MessageReader(max_packet_bytes, unmask=unmask)
        self._congestion_bytes = congestion_bytes
        self._reached = reached
        self._close_sent = False
        # Frames that leave together behind what is being handled.
        self._held: list[bytes] | None = None

    def start(self, transport: asyncio.Transport) -> None:
        """From now on what comes is the session's."""
        self._transport = transport
        transport.set_write_buffer_limits(high=self._congestion_bytes)

    # asyncio tells

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        socket = self._socket
        if socket is None:
            return
        lone = self._reader.lone_message(data)
        if lone is not None:
            socket.frame(self, lone.payload, binary=lone.binary)
            return
        self._held = []
        try:
            for event in self._reader.feed(data):
                if type(event) is Message:
                    socket.frame(self, event.payload, binary=event.binary)
                elif isinstance(event, PingFrame | CloseFrame | Violation):
                    self._control(event)
        finally:
            held, self._held = self._held, None
            if held and not self._transport.is_closing():
                self._transport.write(b"".join(held))

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended."""
        if self._socket is not None:
            self._socket.carrier_lost(self)

    def pause_writing(self) -> None:
        """The kernel takes no more for now."""

    def resume_writing(self) -> None:
        """There is room again."""
        if self._socket is not None:
            self._socket.drained()

    # The session tells

    @property
    def waiting_bytes(self) -> int:
        """Unsent bytes."""
        return self._transport.get_write_buffer_size()

    def write(self, payload: bytes) -> None:
        """A frame for each packet; nothing may follow a close frame."""
        if self._close_sent or self._transport.is_closing():
            return
        end = payload.find(SEPARATOR)
        if end == len(payload) - 1:
            self._put(_frame(payload[:-1]))
        else:
            self._put(b"".join([_frame(packet) for packet in payload.split(SEPARATOR)[:-1]]))

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """A close frame; the client's ends it. An early end could lose our last words."""
        self._write_close(NORMAL_CLOSURE)
        self.resume_reading()

    def drop(self) -> None:
        """A close frame, and end; a client that does not read loses what waits for it."""
        self._write_close(NORMAL_CLOSURE)
        self._flush()
        if self.waiting_bytes:
            self._transport.abort()
        else:
            self._transport.close()

    def _control(self, event: PingFrame | CloseFrame | Violation) -> None:
        if isinstance(event, PingFrame):
            # A client that pings and does not read gets no more answers: one to the last ping would do.
            if self.waiting_bytes <= MAX_WAITING_FOR_PONGS_BYTES and not self._close_sent:
                self._put(pong_frame(event.payload))
            return
        if isinstance(event, Violation) and event.code == TOO_BIG:
            self._reached("max_attachment_bytes")
        self._write_close(event.code or NORMAL_CLOSURE)
        self.drop()

    def _put(self, frames: bytes) -> None:
        if self._held is None:
            self._transport.write(frames)
        else:
            self._held.append(frames)

    def _flush(self) -> None:
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held = []

    def _write_close(self, code: int) -> None:
        if not self._close_sent and not self._transport.is_closing():
            self._close_sent = True
            self._put(close_frame(code))


def _frame(packet: bytes) -> bytes:
    return text_frame(packet) if packet[:1] != b"b" else binary_frame(binascii.a2b_base64(packet[1:]))
