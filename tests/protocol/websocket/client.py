"""What a client puts on the wire, right or wrong, written without the code under test."""

from collections.abc import Iterable

from protocol.websocket.events import Data, Event, Violation
from protocol.websocket.frames import FrameReader

FIN = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
MAX_PAYLOAD_BYTES = 2**20


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """The payload as RFC 6455 section 5.3 spells it, byte by byte."""
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def header(first: int, length: int, length_bytes: int | None = None) -> bytes:
    """The bytes in front of the mask; ``length_bytes`` chooses an encoding that does not fit, too."""
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 2**16 else 8
    if length_bytes == 0:
        return bytes((first, 0x80 | length))
    return bytes((first, 0xFE if length_bytes == 2 else 0xFF)) + length.to_bytes(length_bytes, "big")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, mask: bytes = MASK) -> bytes:
    """One masked frame; ``reserved`` holds RSV1 to RSV3 as 4, 2 and 1."""
    first = (FIN if fin else 0) | reserved << 4 | opcode
    return header(first, len(payload)) + mask + masked(payload, mask)


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame with any code."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def message(opcode: int, *fragments: bytes) -> bytes:
    """A message in fragments."""
    last = len(fragments) - 1
    return b"".join(
        frame(CONTINUATION if index else opcode, fragment, fin=index == last)
        for index, fragment in enumerate(fragments)
    )


def read(reader: FrameReader, chunks: Iterable[bytes]) -> list[Event]:
    """All events of the chunks."""
    return [event for chunk in chunks for event in reader.feed(chunk)]


def portions(payload: bytes) -> list[Data]:
    """A payload as a reader passes it on: a long one in pieces of 64 KiB."""
    return [Data(payload[start : start + 65_536]) for start in range(0, len(payload) or 1, 65_536)]


def reaction(events: Iterable[Event]) -> list[Event | int]:
    """The events with the close code in place of a violation: how its detail is worded does not matter."""
    return [event.code if isinstance(event, Violation) else event for event in events]


def bytewise(stream: bytes) -> list[bytes]:
    """The stream as one byte after another."""
    return [stream[index : index + 1] for index in range(len(stream))]
