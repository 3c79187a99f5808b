"""Hub messages in both formats, good ones and such whose fault is known, written without the codecs under test.

It must not know connections. Read ``HubInput.step`` first.
"""

import random
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from .steps import Meaning, Step, damage

__all__ = ["FORMATS", "Format", "HubInput"]

Format = Literal["json", "messagepack"]
FORMATS: Final[tuple[Format, ...]] = ("json", "messagepack")
TARGETS: Final = (
    "Echo",
    "echo",
    "Add",
    "Fail",
    "Sum",
    "Count",
    "CallMe",
    "JoinGroup",
    "ToGroup",
    "Whoami",
    "nope",
    "ö",
)
IDS: Final = ("0", "1", "2", "xyz", "s1", "ü" * 20)
TEXTS: Final = ("", "a", "\x1e", '"', "\\", "é", "\U0001f9bb", "x" * 130, "y" * 300)
NUMBERS: Final = (0, 1, -1, 127, 128, -33, 2**31, 2**53, -(2**63), 1.5, -0.0, 1e-9, 1e300)
BREAK: Final = Meaning("break")
SILENT: Final = Meaning("silent")
UNKNOWN_TYPES: Final = (0, 10, 99, -3, 2**31)
Message = dict[str, Any]


class HubInput:
    """Steps of bytes for one connection of one format."""

    def __init__(self, protocol: Format, rng: random.Random, *, max_message_bytes: int) -> None:
        self._json = protocol == "json"
        self._rng = rng
        self._max_message_bytes = max_message_bytes

    def step(self) -> Step:
        """A good message, mostly; one with a known fault, or damaged bytes, now and then."""
        chance = self._rng.random()
        if chance < 0.9:
            return self.good()
        return self.faulty() if chance < 0.96 else Step("data", damage(self.good().data, self._rng))

    def good(self) -> Step:
        """What a client may send."""
        kind = self._rng.choices(range(10), (4, 12, 4, 4, 3, 2, 3, 0.2, 1, 1))[0]
        number = self._rng.choice((0, 1, 1, 2, 2, 3, 5, 9, 2**40))
        message = self._message(kind, number)
        return Step("data", self._framed(self._body(message)), self._meaning(kind, number))

    def sequence(self, number: int) -> Step:
        """What a client says first on a new socket."""
        body = self._body({"type": 9, "sequenceId": number})
        return Step("data", self._framed(body), Meaning("sequence", number))

    def faulty(self) -> Step:
        """What must end the connection (SignalR HubProtocol: what a message must hold; limits of the server)."""
        make = self._rng.choice(JSON_FAULTS if self._json else MESSAGEPACK_FAULTS)
        if self._rng.random() < 0.1:
            return Step("data", self._framed(self._body(self._too_large())), BREAK)
        return Step("data", self._framed(make(self)), BREAK)

    def any_message(self) -> Message:
        """One that a fault is to be put into: with a target, arguments and an id."""
        return self._message(self._rng.choice((1, 4)), 0)

    def _too_large(self) -> Message:
        return {"type": 1, "target": "Echo", "arguments": ["z" * self._max_message_bytes]}

    def _message(self, kind: int, number: int) -> Message:
        pick = self._rng.choice
        message: Message = {"type": kind}
        if kind == 0:
            message = {"type": pick(UNKNOWN_TYPES), "anything": self._value(2)}
        elif kind in (1, 4):
            message |= {"target": pick(TARGETS), "arguments": [self._value(3) for _ in range(self._rng.randrange(4))]}
            if kind == 4 or self._rng.random() < 0.7:
                message["invocationId"] = pick(IDS)
            if self._rng.random() < 0.2:
                message["streamIds"] = [pick(IDS)]
        elif kind in (2, 3, 5):
            message["invocationId"] = pick(IDS)
            if kind == 2:
                message["item"] = self._value(3)
            elif kind == 3:
                message |= pick(({"result": self._value(3)}, {"error": pick(TEXTS)}, {}))
        elif kind in (8, 9):
            message["sequenceId"] = number
        if self._rng.random() < 0.1 and kind in range(1, 6):
            message["headers"] = {"traceparent": "00-1-2-01"}
        return message

    def _value(self, depth: int) -> Any:
        pick, rng = self._rng.choice, self._rng
        if depth and rng.random() < 0.3:
            if rng.random() < 0.5:
                return [self._value(depth - 1) for _ in range(rng.randrange(4))]
            return {f"{pick(('a', 'ö', '__proto__', ''))}{n}": self._value(depth - 1) for n in range(rng.randrange(4))}
        plain = (None, True, False, pick(NUMBERS), pick(TEXTS))
        return pick(plain if self._json else (*plain, rng.randbytes(5), msgspec.msgpack.Ext(5, b"ext")))

    def _meaning(self, kind: int, number: int) -> Meaning:
        if kind in (0, 6):
            return SILENT
        return Meaning(
            {7: "close", 8: "ack", 9: "sequence"}.get(kind, "message"),
            number if kind in (8, 9) else kind,
        )

    def _body(self, message: Message) -> bytes:
        if not self._json:
            return msgspec.msgpack.encode(as_array(message))
        items = list(message.items())
        # The order of the properties is free.
        self._rng.shuffle(items)
        return msgspec.json.encode(dict(items))

    def _framed(self, body: bytes) -> bytes:
        return body + b"\x1e" if self._json else length_prefix(len(body)) + body


def as_array(message: Message) -> list[Any]:
    """The MessagePack layout of the specification."""
    kind, headers, call_id = message["type"], message.get("headers", {}), message.get("invocationId")
    if kind in (1, 4):
        return [kind, headers, call_id, message["target"], message["arguments"], message.get("streamIds", [])]
    if kind == 2:
        return [2, headers, call_id, message["item"]]
    if kind == 3:
        if "error" in message:
            return [3, headers, call_id, 1, message["error"]]
        return [3, headers, call_id, 3, message["result"]] if "result" in message else [3, headers, call_id, 2]
    if kind == 5:
        return [5, headers, call_id]
    if kind == 7:
        return [7, None, False]
    return [kind, message["sequenceId"]] if kind in (8, 9) else [kind]


def length_prefix(size: int) -> bytes:
    """An unsigned LEB128 number."""
    prefix = bytearray()
    while size >= 0x80:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*prefix, size))


def _changed(**changes: object) -> Callable[[HubInput], bytes]:
    """A JSON message with other properties; None takes one away."""

    def make(source: HubInput) -> bytes:
        message = {**source.any_message(), **changes}
        return msgspec.json.encode({name: value for name, value in message.items() if value is not None})

    return make


def _with(argument: bytes) -> Callable[[HubInput], bytes]:
    return lambda _: b'{"type":1,"target":"Echo","arguments":[' + argument + b"]}"


_OTHER_KINDS: Final[tuple[tuple[str, object], ...]] = (
    *(("type", "1"), ("type", [1]), ("type", {}), ("type", True)),
    *(("target", 1), ("target", ["Echo"])),
    *(("arguments", "x"), ("arguments", 1), ("arguments", {"0": 1})),
)
JSON_FAULTS: Final[tuple[Callable[[HubInput], bytes], ...]] = (
    *(_changed(**{name: None}) for name in ("type", "target", "arguments")),
    *(_changed(**{name: other}) for name, other in _OTHER_KINDS),
    _changed(invocationId=7),
    *(lambda _, body=body: body for body in (b"", b"[]", b"1", b'"x"', b"null", b"{", b"\xff", b'{"type":6}x', b"{}")),
    lambda _: b'{"type":3,"invocationId":"1","result":1,"error":"both"}',
    lambda _: b'{"type":3,"result":1}',
    lambda _: b'{"type":2,"invocationId":"1"}',
    lambda _: b'{"type":5}',
    lambda _: b'{"type":8}',
    lambda _: b'{"type":6,"type":1}',
    *map(_with, (b"NaN", b"1e999", b'{"a":1,"a":2}', b'"\\ud800"', b'"\xff"', b"01", b"'a'", b"1,", b"9" * 400)),
    _with(b"[" * 40 + b"]" * 40),
)


def _array(*items: object) -> Callable[[HubInput], bytes]:
    return lambda _: msgspec.msgpack.encode(items)


def _cut(source: HubInput) -> bytes:
    return msgspec.msgpack.encode(as_array(source.any_message()))[:-1]


def _longer(source: HubInput) -> bytes:
    return msgspec.msgpack.encode(as_array(source.any_message())) + b"\xc0"


_BROKEN_ARRAYS: Final[tuple[tuple[object, ...], ...]] = (
    (),
    ("1",),
    (None,),
    (1, {}),
    (1, {}, "1", 5, [], []),
    (1, {}, "1", "Echo", 5, []),
    (2, {}, "1"),
    (3, {}, "1", 4, 1),
    (3, {}, "1", 3),
    (3, {}, "1", 1, 5),
    (4, {}, None, "Count", [], []),
    (5, {}),
    (8,),
    (8, "1"),
    (8, -1),
    (9, None),
)
MESSAGEPACK_FAULTS: Final[tuple[Callable[[HubInput], bytes], ...]] = (
    _cut,
    _longer,
    *(_array(*items) for items in _BROKEN_ARRAYS),
    *(lambda _, body=body: body for body in (b"", b"\x06", b"\x81\x06\xc0", b"\xc1", b"\xdd\xff\xff\xff\xff")),
    lambda _: b"\x96\x01\x80\xc0\xa4Echo\x91\xa2\xc3\x28\x90",
    lambda _: b"\x96\x01\x80\xc0\xa4Echo\x91\x82\xa1a\x01\xa1a\x02\x90",
    lambda _: b"\x96\x01\x80\xc0\xa4Echo\x91" + b"\x91" * 40 + b"\xc0\x90",
)
