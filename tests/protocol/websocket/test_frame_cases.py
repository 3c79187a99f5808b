"""Frame by frame, the cases that the public WebSocket test suites made known, each with the reaction it must have."""

from collections.abc import Sequence

import pytest

from protocol.websocket.events import CloseFrame, Data, Event, PingFrame, PongFrame
from protocol.websocket.frames import FrameReader

from .client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MASK,
    MAX_PAYLOAD_BYTES,
    PING,
    PONG,
    TEXT,
    bytewise,
    close,
    frame,
    header,
    masked,
    message,
    portions,
    reaction,
    read,
)

Cases = dict[str, tuple[bytes, Sequence[Event | int]]]
GREETING = "Hello-µ@ßöäüàá-UTF-8!!".encode()

FRAMING: Cases = {
    **{
        f"{name} of {size} bytes": (frame(opcode, b"*" * size), portions(b"*" * size))
        for name, opcode in (("text", TEXT), ("binary", BINARY))
        for size in (0, 1, 125, 126, 127, 128, 65_535, 65_536, MAX_PAYLOAD_BYTES)
    },
    "text beyond ASCII": (frame(TEXT, GREETING), [Data(GREETING)]),
    "any bytes as binary": (frame(BINARY, b"\xfe\xff\x00"), [Data(b"\xfe\xff\x00")]),
    "a mask of zeros": (frame(TEXT, b"Hello", mask=bytes(4)), [Data(b"Hello")]),
    "the masked text of RFC 6455 section 5.7": (bytes.fromhex("818537fa213d7f9f4d5158"), [Data(b"Hello")]),
    "the masked pong of RFC 6455 section 5.7": (bytes.fromhex("8a8537fa213d7f9f4d5158"), [PongFrame()]),
    "two in one read": (frame(TEXT, b"a") + frame(BINARY, b"b"), [Data(b"a"), Data(b"b")]),
}

MASKS_AND_LENGTHS: Cases = {
    "an unmasked text": (b"\x81\x05Hello", [1002]),
    "an unmasked empty text": (b"\x81\x00", [1002]),
    "an unmasked ping": (b"\x89\x00", [1002]),
    "an unmasked close": (b"\x88\x02\x03\xe8", [1002]),
    "an unmasked frame behind a good one": (frame(TEXT, b"a") + b"\x81\x01b", [Data(b"a"), 1002]),
    **{
        f"{size} written in 16 bits": (header(FIN | opcode, size, 2) + MASK + masked(bytes(size)), [1002])
        for opcode, size in ((TEXT, 0), (TEXT, 1), (BINARY, 123), (BINARY, 124), (TEXT, 125))
    },
    "0 written in 64 bits": (header(FIN | TEXT, 0, 8) + MASK, [1002]),
    "65,535 written in 64 bits": (header(FIN | BINARY, 65_535, 8) + MASK, [1002]),
    "the top bit of the length": (header(FIN | BINARY, 1 << 63, 8), [1002]),
    "all bits of the length": (header(FIN | BINARY, (1 << 64) - 1, 8), [1002]),
    "the largest length": (header(FIN | BINARY, (1 << 63) - 1, 8), [1009]),
    "one byte too much": (header(FIN | TEXT, MAX_PAYLOAD_BYTES + 1), [1009]),
    "one byte too much in a fragment": (
        frame(TEXT, b"a", fin=False) + header(CONTINUATION, MAX_PAYLOAD_BYTES + 1),
        [Data(b"a"), 1009],
    ),
}

PINGS: Cases = {
    "an empty ping": (frame(PING), [PingFrame(b"")]),
    "a ping with text": (frame(PING, b"Hello"), [PingFrame(b"Hello")]),
    "a ping with bytes": (frame(PING, b"\x00\xff\xfe\xfd"), [PingFrame(b"\x00\xff\xfe\xfd")]),
    "a ping of 125 bytes": (frame(PING, b"\xfe" * 125), [PingFrame(b"\xfe" * 125)]),
    "a ping of 126 bytes": (frame(PING, bytes(126)), [1002]),
    "a ping of 65,536 bytes": (frame(PING, bytes(65_536)), [1002]),
    "a pong of 126 bytes": (frame(PONG, bytes(126)), [1002]),
    "a pong that nobody asked for": (frame(PONG, b"here"), [PongFrame()]),
    "ten pings": (b"".join(frame(PING, b"%d" % n) for n in range(10)), [PingFrame(b"%d" % n) for n in range(10)]),
}

RESERVED: Cases = {
    **{
        f"reserved bits {bits:03b} on opcode {opcode}": (
            frame(TEXT, b"a") + frame(opcode, b"b", reserved=bits) + frame(PING),
            [Data(b"a"), 1002],
        )
        for bits in range(1, 8)
        for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
    },
    **{
        f"reserved opcode {opcode} with {len(payload)} bytes": (frame(opcode, payload) + frame(PING), [1002])
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
        for payload in (b"", b"payload")
    },
}

FRAGMENTS: Cases = {
    "a ping in two": (frame(PING, b"a", fin=False) + frame(CONTINUATION, b"b"), [1002]),
    "a pong in two": (frame(PONG, b"a", fin=False) + frame(CONTINUATION, b"b"), [1002]),
    "a close in two": (frame(CLOSE, fin=False), [1002]),
    "a text in two": (message(TEXT, b"a", b"b"), [Data(b"a"), Data(b"b")]),
    "a text in empty parts": (message(TEXT, b"", b"", b""), [Data(b"")] * 3),
    "a ping between": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"b"),
        [Data(b"a"), PingFrame(b"p"), Data(b"b")],
    ),
    "a close between": (frame(TEXT, b"a", fin=False) + close(1000), [Data(b"a"), CloseFrame(1000, "")]),
    "a continuation first": (frame(CONTINUATION, b"a"), [1002]),
    "an open continuation first": (frame(CONTINUATION, b"a", fin=False), [1002]),
    "a continuation behind a whole message": (frame(TEXT, b"a") + frame(CONTINUATION, b"b"), [Data(b"a"), 1002]),
    "a text inside a text": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), [Data(b"a"), 1002]),
    "a binary inside a text": (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False), [Data(b"a"), 1002]),
    "a text inside a binary": (frame(BINARY, b"a", fin=False) + frame(TEXT, b"b"), [Data(b"a"), 1002]),
}

BAD_UTF8 = {
    "a lone continuation byte": b"\x80",
    "a start byte alone": b"\xc3(",
    "a byte that never occurs": b"\xff",
    "an overlong slash in two": b"\xc0\xaf",
    "an overlong slash in three": b"\xe0\x80\xaf",
    "an overlong slash in four": b"\xf0\x80\x80\xaf",
    "an overlong end of two": b"\xc1\xbf",
    "an overlong NUL": b"\xc0\x80",
    "a high surrogate": b"\xed\xa0\x80",
    "a low surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "a start of five": b"\xf8\x88\x80\x80\x80",
    "a start of six": b"\xfc\x84\x80\x80\x80\x80",
    "a truncated two": b"\xc3",
    "a truncated three": b"\xe2\x82",
    "a truncated four": b"\xf0\x9f\x98",
    "in the middle": "κόσμε".encode() + b"\xed\xa0\x80edited",
}
GOOD_UTF8 = (
    "κόσμε",
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffe",
    "\uffff",
    "\U0010ffff",
    "👂🏽",
)

TEXTS: Cases = {
    **{f"bad UTF-8: {name}": (frame(TEXT, text), [1007]) for name, text in BAD_UTF8.items()},
    **{f"binary is no text: {name}": (frame(BINARY, text), [Data(text)]) for name, text in BAD_UTF8.items()},
    **{
        f"good UTF-8: {text!a}": (
            frame(TEXT, text.encode()) + message(TEXT, *bytewise(text.encode())),
            [Data(text.encode()), *map(Data, bytewise(text.encode()))],
        )
        for text in GOOD_UTF8
    },
    "a fault is found before the message ends": (frame(TEXT, b"\xf4\x90", fin=False), [1007]),
    "a surrogate over two fragments": (message(TEXT, b"\xed\xa0", b"\x80"), [Data(b"\xed\xa0"), 1007]),
    "a surrogate that is never finished": (message(TEXT, b"\xed\xa0", b""), [Data(b"\xed\xa0"), 1007]),
    "a fault over two fragments": (message(TEXT, b"\xf4", b"\x90\x80\x80"), [Data(b"\xf4"), 1007]),
    "ASCII inside a character": (message(TEXT, b"\xe2\x82", b"a"), [Data(b"\xe2\x82"), 1007]),
    "an end inside a character": (message(TEXT, b"\xe2\x82", b""), [Data(b"\xe2\x82"), 1007]),
    "a character around a ping": (
        frame(TEXT, b"\xe2", fin=False) + frame(PING, b"\xff") + frame(CONTINUATION, b"\x82\xac"),
        [Data(b"\xe2"), PingFrame(b"\xff"), Data(b"\x82\xac")],
    ),
    "nothing is left over for the next message": (
        message(TEXT, b"\xe2\x82", b"\xac") + frame(TEXT, b"\xac"),
        [Data(b"\xe2\x82"), Data(b"\xac"), 1007],
    ),
    "binary fragments are no text": (message(BINARY, b"\xff", b"\xc3"), [Data(b"\xff"), Data(b"\xc3")]),
}

CLOSES: Cases = {
    "a close without a code": (frame(CLOSE), [CloseFrame(None, "")]),
    "a close of one byte": (frame(CLOSE, b"\x03"), [1002]),
    "a reason of 123 bytes": (close(1000, b"*" * 123), [CloseFrame(1000, "*" * 123)]),
    "a reason of 124 bytes": (close(1000, b"*" * 124), [1002]),
    "a reason beyond ASCII": (close(1000, GREETING), [CloseFrame(1000, GREETING.decode())]),
    "a reason that is not UTF-8": (close(1000, b"\xed\xa0\x80"), [1007]),
    "a reason that is cut inside a character": (close(1000, b"\xe2\x82"), [1007]),
    "a text behind the close": (close(1000) + frame(TEXT, b"late"), [CloseFrame(1000, "")]),
    "a ping behind the close": (close(1000) + frame(PING), [CloseFrame(1000, "")]),
    "two closes": (close(1000) + close(1001), [CloseFrame(1000, "")]),
    "rubbish behind the close": (close(1000) + b"\xff" * 100, [CloseFrame(1000, "")]),
    "a text behind a violation": (frame(3) + frame(TEXT, b"late"), [1002]),
    **{
        f"close code {code}": (close(code), [CloseFrame(code, "")])
        for code in (*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999)
    },
    **{
        f"refused close code {code}": (close(code), [1002])
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
}

CASES: Cases = FRAMING | MASKS_AND_LENGTHS | PINGS | RESERVED | FRAGMENTS | TEXTS | CLOSES


@pytest.mark.parametrize(("stream", "expected"), CASES.values(), ids=CASES)
def test_a_case_has_its_reaction_whole_and_byte_by_byte(stream: bytes, expected: Sequence[Event | int]) -> None:
    assert reaction(FrameReader(MAX_PAYLOAD_BYTES).feed(stream)) == expected
    if len(stream) < 100_000:
        assert reaction(read(FrameReader(MAX_PAYLOAD_BYTES), bytewise(stream))) == expected


@pytest.mark.parametrize("size", [5, 200])
def test_a_payload_that_looks_like_a_frame_stays_a_payload(size: int) -> None:
    inner = frame(BINARY, b"x" * size)
    outer = frame(BINARY, inner, mask=bytes(4))
    reader = FrameReader(MAX_PAYLOAD_BYTES)
    assert read(reader, [outer[: -len(inner)], inner, inner]) == [Data(inner), Data(b"x" * size)]


def test_a_frame_is_judged_as_soon_as_its_header_is_there() -> None:
    for start, code in ((b"\x81\x05", 1002), (b"\xf1\x80", 1002), (header(FIN | TEXT, MAX_PAYLOAD_BYTES + 1), 1009)):
        assert reaction(FrameReader(MAX_PAYLOAD_BYTES).feed(start)) == [code]


def test_the_limit_is_that_of_each_frame_and_control_frames_have_their_own() -> None:
    reader = FrameReader(10)
    assert reader.feed(message(TEXT, b"x" * 10, b"y" * 10)) == [Data(b"x" * 10), Data(b"y" * 10)]
    assert reader.feed(frame(PING, b"z" * 125)) == [PingFrame(b"z" * 125)]
    assert reaction(reader.feed(frame(BINARY, b"x" * 11))) == [1009]


@pytest.mark.parametrize("size", [11, 200])
def test_the_limit_holds_for_a_whole_message_in_one_read(size: int) -> None:
    assert reaction(FrameReader(size - 1).feed(frame(TEXT, b"x" * size))) == [1009]
    assert reaction(FrameReader(size).feed(frame(TEXT, b"x" * size))) == [Data(b"x" * size)]
