"""What comes behind the upgrade, read and written as a server does it (RFC 6455 section 5).

A ``FrameReader`` turns a client's bytes into events and is strict: the first broken rule is the last
event. It passes payloads on as they come and does not join fragments; what they mean it must not know.
Read ``FrameReader.feed`` first.
"""

from codecs import utf_8_decode
from struct import pack
from typing import Final, NoReturn

from protocol.errors import LocalProtocolError

from .events import CloseFrame, Data, Event, PingFrame, PongFrame, Violation
from .masking import Unmask, unmask
from .states import BINARY, CLOSE, FIN, OPCODE, PING, PONG, TEXT, TRANSITIONS, State, why_not

__all__ = [
    "TOO_BIG",
    "CloseFrame",
    "Data",
    "Event",
    "FrameReader",
    "PingFrame",
    "PongFrame",
    "Violation",
    "binary_frame",
    "close_frame",
    "ping_frame",
    "pong_frame",
    "text_frame",
]

_PROTOCOL_ERROR: Final = 1002
_NOT_UTF8: Final = 1007
_POLICY: Final = 1008
TOO_BIG: Final = 1009

_WHOLE_BINARY: Final = FIN | BINARY
_WHOLE: Final = (FIN | TEXT, _WHOLE_BINARY)
_MAX_CONTROL_BYTES: Final = 125
# A multiple of four, so that the mask begins anew with each.
_PORTION_BYTES: Final = 65_536
# An attribute of an enum costs a call in Python 3.11.
_BETWEEN_MESSAGES: Final = State.BETWEEN_MESSAGES
_ENDED: Final = State.ENDED


class _Broken(Exception):
    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.violation = Violation(code, detail)


class FrameReader:
    """Reads what one client sends; after a CloseFrame or a Violation it ignores everything.

    ``max_payload_bytes``: one data frame; a larger one is refused at its header. A frame of more than
    ``portion_bytes`` is passed on in portions of that size, and no more than one of them is ever held.
    ``max_empty_frames``: data frames without payload in a row; control frames neither count nor reset.
    How often frames may come, pings too, is for the owner to bound. ``unmask``: what does the work of
    ``masking.unmask``.
    """

    __slots__ = (
        "_empty_frames",
        "_held",
        "_long",
        "_max_empty_frames",
        "_max_payload_bytes",
        "_needed",
        "_portion_bytes",
        "_state",
        "_tail",
        "_unmask",
    )

    def __init__(
        self,
        max_payload_bytes: int,
        *,
        max_empty_frames: int = 1000,
        portion_bytes: int = _PORTION_BYTES,
        unmask: Unmask = unmask,
    ) -> None:
        self._unmask = unmask
        self._max_payload_bytes = max_payload_bytes
        self._max_empty_frames = max_empty_frames
        self._portion_bytes = portion_bytes
        self._state = _BETWEEN_MESSAGES
        self._empty_frames = 0
        # The beginning of a frame; nothing can be told from it until ``_needed`` bytes are there.
        self._held: bytearray | None = None
        self._needed = 0
        # First byte, mask and missing payload bytes of a frame that is passed on in portions.
        self._long: tuple[int, bytes, int] | None = None
        # The beginning of a character at the end of a text fragment.
        self._tail = b""

    def lone(self, data: bytes) -> bytes | None:
        """The payload when ``data`` is one short whole message and nothing more, as clients send nearly always.

        None changes nothing: ``leading`` knows.
        """
        size = len(data)
        if size < 7 or data[0] not in _WHOLE or self._held is not None or self._state is not _BETWEEN_MESSAGES:
            return None
        second = data[1]
        if second < 0xFE:
            start, length = 6, second - 0x80
        elif second == 0xFE and size > 8 + _MAX_CONTROL_BYTES:
            start, length = 8, data[2] << 8 | data[3]
        else:
            return None
        if length != size - start or length > self._max_payload_bytes:
            return None
        payload = self._unmask(data[start:], data[start - 4 : start])
        if not (payload.isascii() or data[0] == _WHOLE_BINARY or _is_utf8(payload)):
            return None
        self._empty_frames = 0
        return payload

    def leading(self, data: bytes) -> tuple[bytes, bytes]:
        """What clients send nearly always, without an event for it: whole messages at the start of ``data``.

        Their payloads, joined, and the rest of ``data``, which must be given to ``feed``; either may be empty.
        """
        if self._held is not None or self._state is not _BETWEEN_MESSAGES:
            return b"", data
        start, size, payloads = 0, len(data), []
        while size - start > 6:
            first, length = data[start], data[start + 1] - 0x80
            payload_start = start + 6
            if length == 126:
                length = data[start + 2] << 8 | data[start + 3]
                payload_start = start + 8
                if length < 126:
                    break
            elif length > _MAX_CONTROL_BYTES:
                break
            end = payload_start + length
            if first not in _WHOLE or length <= 0 or end > size or length > self._max_payload_bytes:
                break
            payload = self._unmask(data[payload_start:end], data[payload_start - 4 : payload_start])
            if not (payload.isascii() or first == _WHOLE_BINARY or _is_utf8(payload)):
                break
            self._empty_frames = 0
            payloads.append(payload)
            start = end
        return b"".join(payloads), data[start:]

    def feed(self, data: bytes) -> list[Event]:
        """The frames that ``data`` completes, in order; however the stream is divided, they are the same."""
        events: list[Event] = []
        stream = data
        if self._held is not None:
            self._held += data
            if len(self._held) < self._needed:
                return events
            stream, self._held = bytes(self._held), None
        try:
            self._cut(stream, 0 if self._long is None else self._portions(stream, 0, self._long, events), events)
        except _Broken as broken:
            events.append(broken.violation)
            self._state = _ENDED
        return events

    def _cut(self, stream: bytes, start: int, events: list[Event]) -> None:
        size = len(stream)
        while start < size and self._state is not _ENDED:
            payload_start, end = self._bounds(stream, start, size - start)
            if end - payload_start > self._portion_bytes and payload_start <= size:
                long = (stream[start], stream[payload_start - 4 : payload_start], end - payload_start)
                start = self._portions(stream, payload_start, long, events)
                continue
            if end > size:
                self._held = bytearray(stream[start:])
                self._needed = end - start
                return
            payload = self._unmask(stream[payload_start:end], stream[payload_start - 4 : payload_start])
            events.append(self._frame(stream[start], payload))
            start = end

    def _portions(self, stream: bytes, start: int, long: tuple[int, bytes, int], events: list[Event]) -> int:
        """Pass on what is there of a long frame; where it ends, or the end of the stream."""
        first, mask, missing = long
        while missing:
            size = min(missing, self._portion_bytes)
            if len(stream) - start < size:
                self._held = bytearray(stream[start:])
                self._needed = size
                self._long = (first, mask, missing)
                return len(stream)
            payload = self._unmask(stream[start : start + size], mask)
            start += size
            missing -= size
            self._check_data(first & ~FIN if missing else first, payload)
            events.append(Data(payload))
        self._long = None
        self._state = TRANSITIONS[self._state][first]
        return start

    def _bounds(self, stream: bytes, start: int, available: int) -> tuple[int, int]:
        """Where the payload of the frame at ``start`` begins and ends.

        While the header is incomplete, the end is that of the part which must be there to go on.
        """
        if available < 2:
            return start, start + 2
        first = stream[start]
        if first not in TRANSITIONS[self._state]:
            raise _Broken(_PROTOCOL_ERROR, why_not(first))
        length = stream[start + 1] - 0x80
        if length < 0:
            raise _Broken(_PROTOCOL_ERROR, "The frame is not masked.")
        payload_start = start + 6
        if length > _MAX_CONTROL_BYTES:
            if first >= FIN | CLOSE:
                raise _Broken(_PROTOCOL_ERROR, "The control frame is too long.")
            length_bytes = 2 if length == 126 else 8
            if available < 2 + length_bytes:
                return start, start + 2 + length_bytes
            length = int.from_bytes(stream[start + 2 : start + 2 + length_bytes], "big")
            if length < (126 if length_bytes == 2 else 0x10000) or length >= 1 << 63:
                raise _Broken(_PROTOCOL_ERROR, "The length is not written as it must be.")
            payload_start += length_bytes
        if length > self._max_payload_bytes and first < FIN | CLOSE:
            raise _Broken(TOO_BIG, f"The frame is larger than {self._max_payload_bytes} bytes.")
        return payload_start, payload_start + length

    @staticmethod
    def _refuse(code: int, detail: str) -> NoReturn:
        raise _Broken(code, detail)

    def _frame(self, first: int, payload: bytes) -> Event:
        event: Event
        if first < FIN | CLOSE:
            self._check_data(first, payload)
            event = Data(payload)
        elif first == FIN | PING:
            event = PingFrame(payload)
        elif first == FIN | PONG:
            event = PongFrame()
        else:
            event = _read_close(payload)
        self._state = TRANSITIONS[self._state][first]
        return event

    def _check_data(self, first: int, payload: bytes) -> None:
        if payload:
            self._empty_frames = 0
        else:
            self._empty_frames += 1
            if self._empty_frames > self._max_empty_frames:
                raise _Broken(_POLICY, "There are too many empty frames.")
        is_text = first & OPCODE == TEXT or self._state is State.IN_TEXT
        if not is_text or (payload.isascii() and not self._tail):
            return
        text = self._tail + payload
        try:
            _, used = utf_8_decode(text, "strict", first >= FIN)
        except UnicodeDecodeError:
            raise _Broken(_NOT_UTF8, "The text is not UTF-8.") from None
        self._tail = text[used:]


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_close(payload: bytes) -> CloseFrame:
    if not payload:
        return CloseFrame(None, "")
    # A single byte is a number below 256, which is no code either.
    code = int.from_bytes(payload[:2], "big")
    if not _may_be_sent(code):
        raise _Broken(_PROTOCOL_ERROR, "The close code is none that may be sent.")
    try:
        return CloseFrame(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise _Broken(_NOT_UTF8, "The close reason is not UTF-8.") from None


def _may_be_sent(code: int) -> bool:
    """Whether a close frame may hold ``code`` (RFC 6455 section 7.4 and the IANA registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    return pack(">BBH", first, 126, size) if size < 0x10000 else pack(">BBQ", first, 127, size)


# Up to what a call may have that goes the short way.
_READY: Final = range(2_048)
_TEXT_HEADERS: Final = [_header(FIN | TEXT, size) for size in _READY]
_BINARY_HEADERS: Final = [_header(FIN | BINARY, size) for size in _READY]


def text_frame(payload: bytes) -> bytes:
    """A whole message in one frame; the payload must be UTF-8, which is not checked."""
    size = len(payload)
    return (_TEXT_HEADERS[size] if size < 2_048 else _header(FIN | TEXT, size)) + payload


def binary_frame(payload: bytes) -> bytes:
    """A whole message in one frame."""
    size = len(payload)
    return (_BINARY_HEADERS[size] if size < 2_048 else _header(FIN | BINARY, size)) + payload


def ping_frame(payload: bytes) -> bytes:
    """A ping; raises LocalProtocolError for more than 125 bytes."""
    return _control_frame(PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with that payload; raises LocalProtocolError for more than 125 bytes."""
    return _control_frame(PONG, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """The last frame; a reason of more than 123 bytes is cut. Raises LocalProtocolError for a reserved code."""
    if not _may_be_sent(code):
        raise LocalProtocolError(f"The close code {code} may not be sent.")
    room = _MAX_CONTROL_BYTES - 2
    whole_characters = reason.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    return _control_frame(CLOSE, code.to_bytes(2, "big") + whole_characters.encode())


def _control_frame(opcode: int, payload: bytes) -> bytes:
    if len(payload) > _MAX_CONTROL_BYTES:
        raise LocalProtocolError("A control frame holds at most 125 bytes.")
    return bytes((FIN | opcode, len(payload))) + payload
