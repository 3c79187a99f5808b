"""Whole messages, however they are cut into frames and chunks."""

from protocol.websocket.events import CloseFrame, Message, PingFrame, Violation
from protocol.websocket.frames import TOO_BIG
from protocol.websocket.messages import MessageReader
from tests.protocol.websocket.client import BINARY, CONTINUATION, PING, TEXT, frame


def told(reader: MessageReader, *frames: bytes) -> list[object]:
    """Byte by byte, without the fragments in between."""
    events: list[object] = []
    for byte in b"".join(frames):
        events += reader.feed(bytes((byte,)))
    return [event for event in events if isinstance(event, Message | PingFrame | CloseFrame | Violation)]


def test_text_and_binary_are_told_apart_and_fragments_are_joined() -> None:
    reader = MessageReader(100)
    assert told(
        reader,
        frame(TEXT, b"a"),
        frame(BINARY, b"b"),
        frame(BINARY, b"c", fin=False),
        frame(PING, b"!"),
        frame(CONTINUATION, b"", fin=False),
        frame(CONTINUATION, b"d"),
        frame(TEXT, b""),
    ) == [
        Message(b"a", binary=False),
        Message(b"b", binary=True),
        PingFrame(b"!"),
        Message(b"cd", binary=True),
        Message(b"", binary=False),
    ]


def test_a_short_whole_message_needs_no_event() -> None:
    reader = MessageReader(100)
    assert reader.lone_message(frame(TEXT, b"a")) == Message(b"a", binary=False)
    assert reader.lone_message(frame(BINARY, b"\xff")) == Message(b"\xff", binary=True)
    assert reader.lone_message(frame(TEXT, b"a", fin=False)) is None


def test_a_large_frame_is_refused_at_its_header_and_large_fragments_at_the_bound() -> None:
    header = frame(BINARY, bytes(900_000))[:14]
    (violation,) = MessageReader(100).feed(header)
    assert isinstance(violation, Violation)
    assert violation.code == TOO_BIG
    parts = [frame(BINARY, bytes(60), fin=False), frame(CONTINUATION, bytes(41), fin=False)]
    (too_much,) = told(MessageReader(100), *parts)
    assert isinstance(too_much, Violation)
    assert too_much.code == TOO_BIG


def test_above_64_kib_a_message_is_whole_too() -> None:
    payload = bytes(range(256)) * 400
    reader = MessageReader(200_000)
    events = reader.feed(frame(BINARY, payload)[:70_000]) + reader.feed(frame(BINARY, payload)[70_000:])
    assert events == [Message(payload, binary=True)]
