"""What comes over a WebSocket before and behind the upgrade, good and with a known fault, written by hand.

A fragmented message is one step, so that leaving a step out leaves the others valid. It must not know readers. Read
``FrameInput.step`` first.
"""

import random
from collections.abc import Callable
from typing import Final

from .steps import Meaning, Step, damage

__all__ = ["MAX_EMPTY_FRAMES", "MAX_PAYLOAD_BYTES", "FrameInput", "request_headers"]

MAX_PAYLOAD_BYTES: Final = 4_096
MAX_EMPTY_FRAMES: Final = 20
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN: Final = 0x80
CODES: Final = (1000, 1001, 1011, 1014, 3000, 4999)
SIZES: Final = (1, 2, 5, 100, 125, 126, 127, 300, 511, 512, 513, MAX_PAYLOAD_BYTES)
Event = tuple[object, ...]


class FrameInput:
    """Steps of bytes for one connection."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def step(self) -> Step:
        """Good frames, mostly."""
        chance = self._rng.random()
        if chance < 0.85:
            return self.good()
        if chance < 0.93:
            code, data = self._rng.choice(FAULTS)(self)
            return Step("data", data, Meaning("frames", detail=(("Violation", code),)))
        return Step("data", damage(self.good().data, self._rng))

    def good(self) -> Step:
        """A whole message, a fragmented one with control frames in between, or a control frame."""
        kind = self._rng.random()
        frames = self._message() if kind < 0.75 else [self._control()] if kind < 0.97 else [self._goodbye()]
        data = b"".join(frame for frame, _ in frames)
        return Step("data", data, Meaning("frames", detail=tuple(event for _, event in frames)))

    def frame(self, first: int, payload: bytes) -> bytes:
        """One masked frame."""
        size = len(payload)
        if size < 126:
            head = bytes((first, FIN | size))
        elif size < 0x10000:
            head = bytes((first, FIN | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, FIN | 127)) + size.to_bytes(8, "big")
        mask = self._rng.randbytes(4)
        return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    def _message(self) -> list[tuple[bytes, Event]]:
        binary = self._rng.random() < 0.5
        size = self._rng.choice(SIZES)
        payload = self._rng.randbytes(size) if binary else ("aé\U0001f9bb" * size).encode()[:size]
        if not binary:
            payload = payload.decode(errors="ignore").encode() or b"a"
        opcode = BINARY if binary else TEXT
        if self._rng.random() < 0.6:
            return [(self.frame(FIN | opcode, payload), ("Data", payload))]
        cut = self._rng.randint(0, len(payload))
        frames: list[tuple[bytes, Event]] = [(self.frame(opcode, payload[:cut]), ("Data", payload[:cut]))]
        if self._rng.random() < 0.5:
            frames.append(self._control())
        rest = payload[cut:]
        frames.append((self.frame(FIN, rest), ("Data", rest)))
        return frames

    def _control(self) -> tuple[bytes, Event]:
        payload = self._rng.randbytes(self._rng.choice((0, 1, 4, 125)))
        if self._rng.random() < 0.5:
            return self.frame(FIN | PING, payload), ("PingFrame", payload)
        return self.frame(FIN | PONG, payload), ("PongFrame",)

    def _goodbye(self) -> tuple[bytes, Event]:
        if self._rng.random() < 0.3:
            return self.frame(FIN | CLOSE, b""), ("CloseFrame", None, "")
        code, reason = self._rng.choice(CODES), self._rng.choice(("", "bye", "ö" * 40))
        return self.frame(FIN | CLOSE, code.to_bytes(2, "big") + reason.encode()), ("CloseFrame", code, reason)


def _first(first: int, code: int = 1002, payload: bytes = b"x") -> Callable[[FrameInput], tuple[int, bytes]]:
    return lambda source: (code, source.frame(first, payload))


def _raw(code: int, data: bytes) -> Callable[[FrameInput], tuple[int, bytes]]:
    return lambda _: (code, data)


def _close(code: int) -> Callable[[FrameInput], tuple[int, bytes]]:
    return _first(FIN | CLOSE, payload=code.to_bytes(2, "big"))


# RFC 6455, sections 5 and 7.4.
FAULTS: Final[tuple[Callable[[FrameInput], tuple[int, bytes]], ...]] = (
    _raw(1002, b"\x81\x03abc"),
    *(_first(FIN | opcode) for opcode in (3, 7, 11, 15)),
    *(_first(FIN | TEXT | bit) for bit in (0x40, 0x20, 0x10)),
    *(_first(opcode) for opcode in (CLOSE, PING, PONG)),
    _first(FIN),
    _first(0),
    _first(FIN | PING, payload=bytes(126)),
    _first(FIN | CLOSE, payload=b"\x03"),
    *map(_close, (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)),
    _first(FIN | CLOSE, 1007, b"\x03\xe8\xff"),
    _first(FIN | TEXT, 1007, b"\xc3("),
    _first(FIN | TEXT, 1007, b"\xed\xa0\x80" * 50),
    _raw(1002, b"\x82\xfe\x00\x05\x00\x00\x00\x00hello"),
    _raw(1002, b"\x82\xff" + bytes(7) + b"\x05" + bytes(9)),
    _raw(1002, b"\x82\xff\x80" + bytes(12)),
    _raw(1009, b"\x82\xff\x7f" + bytes([255] * 7) + bytes(4)),
    _raw(1009, b"\x82\xfe\x10\x01" + bytes(4)),
)


def request_headers(rng: random.Random) -> list[tuple[str, str]]:
    """The fields of an upgrade request; often with something missing, doubled or changed."""
    fields = [
        ("Host", "localhost"),
        ("Connection", rng.choice(("Upgrade", "keep-alive, upgrade"))),
        ("Upgrade", rng.choice(("websocket", "WebSocket"))),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ]
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(len(fields))
        name, value = fields[at]
        match rng.randrange(5):
            case 0 if len(fields) > 1:
                del fields[at]
            case 1:
                fields.append(fields[at])
            case 2:
                fields[at] = (name, damage(value.encode(), rng).decode("latin-1"))
            case 3:
                fields.append((rng.choice(("Content-Length", "Transfer-Encoding")), rng.choice(("0", "5", "chunked"))))
            case _:
                fields[at] = (name, rng.choice(("", "12", "h2c", "é", "x" * 9_000, "\x00", "a,b,,")))
    return fields
