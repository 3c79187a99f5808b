"""Whole WebSocket messages, for protocols in which a message is the unit and its type counts (RFC 6455 section 5.6).

A ``FrameReader`` passes payloads on as they come, because SignalR's own framing goes across frames; here fragments are
joined, up to the same bound, and text and binary are told apart. Read ``MessageReader`` first.
"""

from typing import Final

from .events import Data, Event, Message
from .frames import TOO_BIG, FrameReader
from .masking import Unmask, unmask
from .states import BINARY, FIN, OPCODE, TEXT

__all__ = ["Message", "MessageReader"]


_WHOLE_TEXT: Final = FIN | TEXT


class MessageReader(FrameReader):
    """``feed`` tells Messages in place of Data, but for fragments that are not the last: those are of no interest.

    ``max_payload_bytes`` bounds a frame and the fragments of one message together.
    """

    __slots__ = ("_binary", "_bytes", "_max_bytes", "_parts")

    def __init__(self, max_payload_bytes: int, *, unmask: Unmask = unmask) -> None:
        super().__init__(max_payload_bytes, portion_bytes=max_payload_bytes, unmask=unmask)
        self._max_bytes = max_payload_bytes
        self._binary = False
        self._parts: list[bytes] = []
        self._bytes = 0

    def lone_message(self, data: bytes) -> Message | None:
        """The message when ``data`` is one short whole one and nothing more; None changes nothing: ``feed`` knows."""
        payload = self.lone(data)
        return None if payload is None else Message(payload, data[0] != _WHOLE_TEXT)

    def _frame(self, first: int, payload: bytes) -> Event:
        event = super()._frame(first, payload)
        if type(event) is not Data:
            return event
        if first & OPCODE in (TEXT, BINARY):
            self._binary = first & OPCODE == BINARY
        self._bytes += len(payload)
        if self._bytes > self._max_bytes:
            self._parts.clear()
            self._refuse(TOO_BIG, f"The message is larger than {self._max_bytes} bytes.")
        self._parts.append(payload)
        if first < FIN:
            return event
        whole = Message(b"".join(self._parts), self._binary)
        self._parts, self._bytes = [], 0
        return whole
