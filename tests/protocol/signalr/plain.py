"""Messages as plain objects that compare by value: decoded values in the place of raw ones."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Raw

from protocol.signalr.codec import CODECS, Codec
from protocol.signalr.connection import HubConnection, HubLimits, Opened
from protocol.signalr.events import Event
from protocol.signalr.handshake import HandshakeRequest, encode_request

BOTH = ("json", "messagepack")


def plain(event: object, codec: Codec) -> object:
    """``event`` as (name, fields); other events than messages are plain already."""
    if not isinstance(event, msgspec.Struct):
        return event
    fields = msgspec.structs.asdict(event)
    return type(event).__name__, {name: _value(field, codec) for name, field in fields.items()}


def _value(field: object, codec: Codec) -> object:
    if isinstance(field, Raw):
        return codec.free(field)
    if isinstance(field, tuple):
        return [_value(item, codec) for item in field]
    return field


def body_of(framed: bytes, codec: Codec) -> bytes:
    """The body of one framed message, taken apart by hand and not by the splitters."""
    if not codec.binary:
        assert framed.endswith(b"\x1e")
        return framed[:-1]
    prefix = next(index for index, byte in enumerate(framed) if byte < 0x80) + 1
    return framed[prefix:]


def opened(protocol: str, limits: HubLimits | None = None, *, version: int = 1, **options: Any) -> HubConnection:
    """A server connection behind its handshake, at time 0."""
    connection = HubConnection(limits or HubLimits(), now=0.0, **options)
    (event,) = connection.receive_data(encode_request(HandshakeRequest(protocol, version)), 0.0)
    assert isinstance(event, Opened)
    return connection


def chunks(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    """``stream`` cut at the given places."""
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(places):
        yield stream[start:end]


def frame(body: bytes, protocol: str) -> bytes:
    """A short or long body with its framing, written without the code under test."""
    if protocol == "json":
        return body + b"\x1e"
    size = len(body)
    prefix = []
    while size >= 0x80:
        prefix.append(size % 0x80 + 0x80)
        size //= 0x80
    return bytes([*prefix, size]) + body


def events_of(protocol: str, stream: bytes, cuts: list[int]) -> list[object]:
    """What a fresh connection makes of ``stream``, in chunks."""
    connection = opened(protocol)
    events: list[Event] = []
    for chunk in chunks(stream, cuts):
        events += connection.receive_data(chunk, 1.0)
    return [plain(event, CODECS[protocol]) for event in events]
