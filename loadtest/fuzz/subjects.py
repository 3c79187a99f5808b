"""What is fuzzed without a network: codecs, splitters, handshake, upgrade and frames. ``hub_subject`` has the rest.

Each subject makes steps and judges what comes of them; the same steps in other portions must give the same. Read
``Subject`` first.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw
from multidict import CIMultiDict

from protocol.errors import BadArgument, RemoteProtocolError
from protocol.signalr.codec import CODECS, JSON, MESSAGEPACK, transcode
from protocol.signalr.connection import HubConnection, HubLimits
from protocol.signalr.framing import JsonSplitter, MessagePackSplitter, Splitter
from protocol.websocket.frames import FrameReader
from protocol.websocket.upgrade import UpgradeRefused, accept_upgrade

from .frame_input import MAX_EMPTY_FRAMES, MAX_PAYLOAD_BYTES, FrameInput, request_headers
from .hub_input import FORMATS, Format, HubInput
from .steps import Meaning, Step, Wrong, chunks, damage

__all__ = ["Codecs", "Frames", "Handshakes", "Splitters", "Subject", "Upgrades"]

MAX_MESSAGE_BYTES: Final = 2_048


class Subject(Protocol):
    """Something that reads what a client sends."""

    name: str

    def steps(self, rng: random.Random) -> list[Step]:
        """A new case."""
        ...

    def run(self, steps: Sequence[Step], rng: random.Random) -> None:
        """Raises Wrong, or whatever a subject must not raise. ``rng`` only divides the stream."""
        ...


class Codecs:
    """Bodies to messages and back, and their values to the other format."""

    name = "codecs"

    def steps(self, rng: random.Random) -> list[Step]:
        """See ``Subject``. What is done with each body is named by its format."""
        protocol: Format = rng.choice(FORMATS)
        made = HubInput(protocol, rng, max_message_bytes=MAX_MESSAGE_BYTES)
        return [replace(made.step(), do=protocol) for _ in range(8)]

    def run(self, steps: Sequence[Step], _rng: random.Random) -> None:
        """See ``Subject``. Both codecs see every body; the one that it was not made for must only not fall over."""
        for step in steps:
            is_json = step.do == "json"
            self._decode("json", step.data[:-1], step.meaning if is_json else None)
            start = next((at for at, byte in enumerate(step.data[:5]) if byte < 0x80), 0) + 1
            self._decode("messagepack", step.data[start:], None if is_json else step.meaning)

    def _decode(self, name: str, body: bytes, meaning: Meaning | None) -> None:
        codec = CODECS[name]
        try:
            message = codec.decode(body)
        except RemoteProtocolError:
            if meaning is not None and meaning.what != "break":
                raise Wrong(f"{name} refused {meaning.what}: {body[:80]!r}") from None
            return
        if meaning is not None and meaning.what == "break" and len(body) < MAX_MESSAGE_BYTES:
            raise Wrong(f"{name} took {body[:80]!r}")
        if message is None:
            return
        again = codec.decode(_unframed(codec.encode(message), binary=codec.binary))
        if again is None or codec.encode(again) != codec.encode(message):
            raise Wrong(f"{name}: {type(message).__name__} does not come back")
        for value in _values(message):
            other = transcode(value, codec, MESSAGEPACK if codec is JSON else JSON)
            for expected in (object, int, str, list[float]):
                _bound(codec.binder(expected), value)
                _bound((MESSAGEPACK if codec is JSON else JSON).binder(expected), other)


def _bound(bind: Any, value: Raw) -> None:
    with suppress(BadArgument):
        bind(value)


def _values(message: msgspec.Struct) -> list[Raw]:
    fields = [getattr(message, name, ()) for name in ("arguments", "item", "result")]
    flat = [*fields[0], *fields[1:]] if isinstance(fields[0], tuple) else fields
    return [value for value in flat if isinstance(value, Raw)]


def _unframed(framed: bytes, *, binary: bool) -> bytes:
    return framed[next(at for at, byte in enumerate(framed) if byte < 0x80) + 1 :] if binary else framed[:-1]


class Splitters:
    """One stream in many portions: always the same bodies and the same end."""

    name = "splitters"

    def steps(self, rng: random.Random) -> list[Step]:
        """See ``Subject``."""
        made = HubInput(rng.choice(FORMATS), rng, max_message_bytes=MAX_MESSAGE_BYTES)
        return [made.step() for _ in range(12)]

    def run(self, steps: Sequence[Step], rng: random.Random) -> None:
        """See ``Subject``. Every stream goes through both splitters."""
        stream = b"".join(step.data for step in steps)
        for kind in (JsonSplitter, MessagePackSplitter):
            at_once = self._bodies(kind(MAX_MESSAGE_BYTES), [stream])
            in_parts = self._bodies(kind(MAX_MESSAGE_BYTES), list(chunks(stream, rng)))
            if at_once != in_parts:
                raise Wrong(f"{kind.__name__}: other bodies in other portions")
            if any(len(body) >= MAX_MESSAGE_BYTES for body in at_once[0]):
                raise Wrong(f"{kind.__name__}: a body above the limit")

    def _bodies(self, splitter: Splitter, portions: list[bytes]) -> tuple[list[bytes], str | None]:
        bodies: list[bytes] = []
        for portion in portions:
            try:
                bodies += splitter.feed(portion)
            except RemoteProtocolError as error:
                return bodies, error.public_message
        return bodies, splitter.failure.public_message if splitter.failure else None


class Handshakes:
    """The first message, good, known to be refused, or damaged."""

    name = "handshake"

    def steps(self, rng: random.Random) -> list[Step]:
        """See ``Subject``."""
        good = rng.choice((b'{"protocol":"json","version":1}', b'{"version":2,"protocol":"messagepack","x":[1]}'))
        bad = rng.choice(
            (b"", b"{}", b"[]", b'{"protocol":"x","version":1}', b'{"protocol":"json","version":3}', b"x" * 3_000)
        )
        chance = rng.random()
        if chance < 0.3:
            return [Step("data", good + b"\x1e", Meaning("Opened"))]
        if chance < 0.6:
            return [Step("data", bad + b"\x1e", Meaning("Refused"))]
        return [Step("data", damage(good + b"\x1e", rng))]

    def run(self, steps: Sequence[Step], rng: random.Random) -> None:
        """See ``Subject``."""
        stream = b"".join(step.data for step in steps)
        limits = HubLimits(max_message_bytes=MAX_MESSAGE_BYTES)
        heard = []
        for portions in ([stream], list(chunks(stream, rng))):
            connection = HubConnection(limits, now=0.0)
            names = [type(event).__name__ for part in portions for event in connection.receive_data(part, 1.0)]
            heard.append(names[:1])
            if "Refused" in names and (names != ["Refused"] or connection.receive_data(stream, 2.0)):
                raise Wrong(f"something came behind a refusal: {names}")
        if heard[0] != heard[1]:
            raise Wrong(f"{heard[0]} at once and {heard[1]} in parts")
        meaning = steps[0].meaning if len(steps) == 1 else None
        if heard[0] not in ([], ["Opened"], ["Refused"]) or (meaning is not None and heard[0] != [meaning.what]):
            raise Wrong(f"the handshake {stream[:80]!r} gave {heard[0]}")


class Upgrades:
    """The request before the frames: taken only if it is beyond doubt, refused without an echo."""

    name = "upgrade"

    def steps(self, rng: random.Random) -> list[Step]:
        """See ``Subject``. A step is a header field."""
        return [Step("field", f"{name}: {value}".encode()) for name, value in request_headers(rng)]

    def run(self, steps: Sequence[Step], _rng: random.Random) -> None:
        """See ``Subject``."""
        fields = [step.data.decode().partition(": ") for step in steps]
        headers = CIMultiDict((name, value) for name, _, value in fields)
        answer = accept_upgrade("GET", (1, 1), headers)
        if isinstance(answer, UpgradeRefused):
            if answer.status not in (400, 426) or any(_echoes(answer.reason, value) for _, _, value in fields):
                raise Wrong(f"refused with {answer.status} {answer.reason!r}")
            return
        counts = {
            name: len(headers.getall(name, [])) for name in ("Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
        }
        if set(counts.values()) != {1} or headers["Sec-WebSocket-Version"] != "13" or "Transfer-Encoding" in headers:
            raise Wrong(f"an upgrade with {fields!r:.200}")
        if not answer.startswith(b"HTTP/1.1 101 ") or answer.count(b"\r\n\r\n") != 1:
            raise Wrong(f"the answer {answer!r:.80}")


def _echoes(reason: str, value: str) -> bool:
    # Shorter ones may be words of the reason itself.
    return len(value) > len("websocket") and value in reason


class Frames:
    """What comes behind the upgrade: RFC 6455 to the letter, in any portions, and nothing behind the end."""

    name = "frames"

    def steps(self, rng: random.Random) -> list[Step]:
        """See ``Subject``."""
        made = FrameInput(rng)
        return [made.step() for _ in range(10)]

    def run(self, steps: Sequence[Step], rng: random.Random) -> None:
        """See ``Subject``."""
        stream = b"".join(step.data for step in steps)
        at_once, in_parts = self._read([stream]), self._read(list(chunks(stream, rng)))
        if at_once != in_parts:
            raise Wrong("other frames in other portions")
        expected: list[object] = []
        for step in steps:
            if step.meaning is None:
                break
            expected += step.meaning.detail if isinstance(step.meaning.detail, tuple) else ()
        ends = next((at for at, event in enumerate(expected) if _kind(event) in ("CloseFrame", "Violation")), None)
        if ends is not None:
            expected = expected[: ends + 1]
        elif len(expected) < len(at_once):
            # What follows damaged bytes is not known.
            at_once = at_once[: len(expected)] if any(step.meaning is None for step in steps) else at_once
        if at_once != expected:
            raise Wrong(f"expected {expected!r:.200}, got {at_once!r:.200}")

    def _read(self, portions: list[bytes]) -> list[object]:
        reader = FrameReader(MAX_PAYLOAD_BYTES, max_empty_frames=MAX_EMPTY_FRAMES)
        events: list[object] = []
        for portion in portions:
            for event in reader.feed(portion):
                fields = list(msgspec.structs.astuple(event))
                if type(event).__name__ == "Violation":
                    fields = fields[:1]
                events.append((type(event).__name__, *fields))
        if any(_kind(event) in ("CloseFrame", "Violation") for event in events[:-1]):
            raise Wrong("something came behind the end")
        return events


def _kind(event: object) -> object:
    return event[0] if isinstance(event, tuple) else event
