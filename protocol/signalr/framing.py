"""Cut a byte stream into hub messages, whatever the chunks it arrives in.

JSON messages end with 0x1E; MessagePack messages follow their length as an unsigned LEB128 number of
1 to 5 bytes (SignalR HubProtocol, "Encoding"). A splitter holds at most one unfinished message and
gives up before that is larger than the limit. It must not know what the bodies mean. Read
``JsonSplitter.feed`` first.
"""

from itertools import takewhile
from typing import Final, Protocol

from protocol.errors import MessageTooLarge, RemoteProtocolError

__all__ = [
    "RECORD_SEPARATOR",
    "JsonSplitter",
    "MessagePackSplitter",
    "Splitter",
    "frame_json",
    "frame_messagepack",
    "too_large",
]

RECORD_SEPARATOR: Final = b"\x1e"
_SEPARATOR: Final = RECORD_SEPARATOR[0]
_MAX_PREFIX_BYTES: Final = 5
# Lengths end at 0x7FFFFFFF, of which the fifth byte holds three bits.
_MAX_LAST_PREFIX_BYTE: Final = 7
_SHORT_PREFIXES: Final = [bytes((size,)) for size in range(0x80)]


def frame_json(body: bytes) -> bytes:
    """The body with its terminator."""
    return body + RECORD_SEPARATOR


def frame_messagepack(body: bytes) -> bytes:
    """The body with its length in front."""
    rest = len(body)
    if rest < 0x80:
        return _SHORT_PREFIXES[rest] + body
    if rest < 0x4000:
        return bytes((rest & 0x7F | 0x80, rest >> 7)) + body
    prefix = bytearray()
    while rest >= 0x80:
        prefix.append(rest & 0x7F | 0x80)
        rest >>= 7
    prefix.append(rest)
    return bytes(prefix) + body


class Splitter(Protocol):
    """Bytes in, message bodies without framing out; any division of the stream gives the same bodies.

    ``feed`` raises RemoteProtocolError when the stream is broken. When whole messages came in front of
    the broken place, that call returns them and ``failure`` holds the error; later calls raise it.
    """

    failure: RemoteProtocolError | None

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that ``data`` completes, in order."""
        ...

    def lone(self, data: bytes) -> bytes | None:
        """The body when ``data`` is one whole message and nothing more; None changes nothing: give it to ``feed``."""
        ...


class JsonSplitter:
    """Splitter of 0x1E-terminated messages; ``max_message_bytes`` counts the terminator."""

    __slots__ = ("_held", "_max", "failure")

    def __init__(self, max_message_bytes: int) -> None:
        self._max = max_message_bytes
        self._held = bytearray()
        self.failure: RemoteProtocolError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """See ``Splitter.feed``."""
        if self.failure is not None:
            raise self.failure
        ended = data.split(RECORD_SEPARATOR)
        rest = ended.pop()
        # Whole messages are what clients send nearly always.
        if not rest and not self._held and len(data) <= self._max:
            return ended
        if ended and self._held:
            ended[0] = bytes(self._held) + ended[0]
            self._held.clear()
        if max(map(len, ended), default=0) < self._max and len(self._held) + len(rest) < self._max:
            self._held += rest
            return ended
        bodies = list(takewhile(lambda body: len(body) < self._max, ended))
        self._held.clear()
        self.failure = too_large(self._max)
        if not bodies:
            raise self.failure
        return bodies

    def lone(self, data: bytes) -> bytes | None:
        """See ``Splitter.lone``; two messages pass for one that is no JSON, which has no 0x1E (RFC 8259, section 7)."""
        if self._held or not 0 < len(data) <= self._max or data[-1] != _SEPARATOR or self.failure is not None:
            return None
        return data[:-1]


class MessagePackSplitter:
    """Splitter of length-prefixed messages; ``max_message_bytes`` counts the prefix."""

    __slots__ = ("_held", "_max", "_max_short", "_needed", "failure")

    def __init__(self, max_message_bytes: int) -> None:
        self._max = max_message_bytes
        self._held = bytearray()
        self._max_short = min(0x80, max_message_bytes)
        # Nothing can be cut before that many bytes are held, so slow senders cost no second look.
        self._needed = 1
        self.failure: RemoteProtocolError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """See ``Splitter.feed``."""
        if self.failure is not None:
            raise self.failure
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data = bytes(self._held)
            self._held.clear()
        bodies: list[bytes] = []
        start, size, short = 0, len(data), self._max_short
        # Whole messages of at most 127 bytes are what clients send nearly always.
        while start < size and (end := start + 1 + data[start]) <= size and end - start <= short:
            bodies.append(data[start + 1 : end])
            start = end
        return bodies if start == size else self._cut(data, start, bodies)

    def lone(self, data: bytes) -> bytes | None:
        """See ``Splitter.lone``; one of less than 16 KiB."""
        size = len(data)
        if self._held or not 0 < size <= self._max or self.failure is not None:
            return None
        first = data[0]
        if first < 0x80:
            return data[1:] if first == size - 1 else None
        if size > 2 and data[1] < 0x80 and (first & 0x7F | data[1] << 7) == size - 2:
            return data[2:]
        return None

    def _cut(self, data: bytes, start: int, bodies: list[bytes]) -> list[bytes]:
        try:
            while (end := self._message_end(data, start)) is not None and end[1] <= len(data):
                bodies.append(data[end[0] : end[1]])
                start = end[1]
        except RemoteProtocolError as error:
            self.failure = error
            if not bodies:
                raise
            return bodies
        self._held += data[start:]
        self._needed = end[1] - start if end is not None else len(self._held) + 1
        return bodies

    def _message_end(self, data: bytes, start: int) -> tuple[int, int] | None:
        """Where the body at ``start`` begins and ends, None while its length is incomplete."""
        length = 0
        for index, byte in enumerate(data[start : start + _MAX_PREFIX_BYTES]):
            if index == _MAX_PREFIX_BYTES - 1 and byte > _MAX_LAST_PREFIX_BYTE:
                raise RemoteProtocolError("The length prefix of a message is malformed.")
            length |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if index + 1 + length > self._max:
                    raise too_large(self._max)
                return start + index + 1, start + index + 1 + length
        return None


def too_large(max_message_bytes: int) -> MessageTooLarge:
    """The error of a message over the limit, with the words of the reference server."""
    return MessageTooLarge(f"The maximum message size of {max_message_bytes}B was exceeded.")
