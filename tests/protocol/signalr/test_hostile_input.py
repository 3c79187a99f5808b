"""Bytes that somebody sends on purpose: one ``Broken`` at most, nothing raised, little memory."""

import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.signalr.codec import CODECS
from protocol.signalr.connection import Broken, HubConnection, HubLimits, Refused, State
from protocol.signalr.messages import Completion, Invocation, StreamInvocation

from .plain import BOTH, chunks, frame, opened

both = pytest.mark.parametrize("protocol", BOTH)


def _json(argument: bytes) -> tuple[str, bytes]:
    return "json", b'{"type":1,"target":"m","arguments":[' + argument + b"]}"


def _messagepack(argument: bytes) -> tuple[str, bytes]:
    return "messagepack", b"\x96\x01\x80\xc0\xa1m\x91" + argument + b"\x90"


HOSTILE = {
    "depth 10^5": _json(b"[" * 15_000 + b"]" * 15_000),
    "objects of depth 5,000": _json(b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    "open brackets": ("json", b"[" * 30_000),
    "duplicate key": _json(b'{"a":1,"a":2}'),
    "duplicate key, escaped": _json(b'{"a":1,"\\u0061":2}'),
    "duplicate target": ("json", b'{"type":1,"target":"m","target":"n","arguments":[]}'),
    "1,001 keys": _json(b"{" + b",".join(b'"%d":0' % n for n in range(1_001)) + b"}"),
    "5,000 digits": _json(b"9" * 5_000),
    "1e400": _json(b"1e400"),
    "-1e400": _json(b"-1e400"),
    "NaN": _json(b"NaN"),
    "Infinity": _json(b"-Infinity"),
    "high surrogate alone": _json(b'"\\ud800"'),
    "low surrogate alone": _json(b'"\\udc00 and a few more letters"'),
    "surrogates in the wrong order": _json(b'"\\udc00\\ud800"'),
    "surrogate as a key": _json(b'{"\\ud800":1}'),
    "byte order mark": ("json", b'\xef\xbb\xbf{"type":6}'),
    "UTF-16": ("json", '{"type":6}'.encode("utf-16")),
    "NUL behind the message": ("json", b'{"type":6}\x00'),
    "NUL inside a text": _json(b'"\x00"'),
    "broken UTF-8 in an argument": _json(b'"\xff"'),
    "broken UTF-8 in an ignored property": ("json", b'{"type":6,"x":"\xc3("}'),
    "overlong UTF-8": _json(b'"\xc0\xae"'),
    "surrogates as UTF-8": _json(b'"\xed\xa0\x80"'),
    "comments": _json(b"1/**/"),
    "trailing comma": _json(b"1,"),
    "leading zero": _json(b"01"),
    "single quotes": _json(b"'a'"),
    "arrays of depth 10^4": ("messagepack", b"\x91" * 10_000),
    "maps of depth 10^4": ("messagepack", b"\x81\xa0" * 10_000),
    "array32 that lies": _messagepack(b"\xdd\xff\xff\xff\xff"),
    "map32 that lies": _messagepack(b"\xdf\xff\xff\xff\xff"),
    "1,000 array32 that lie": ("messagepack", struct.pack(">BI", 0xDD, 200_000) * 1_000),
    "30 nested array32 that lie": ("messagepack", struct.pack(">BI", 0xDD, 200_000) * 30 + bytes(30_000)),
    "text that lies": _messagepack(b"\xdb\xff\xff\xff\xff"),
    "binary that lies": _messagepack(b"\xc6\x7f\xff\xff\xff"),
    "extension that lies": _messagepack(b"\xc9\x7f\xff\xff\xff\x05"),
    "reserved byte": _messagepack(b"\xc1"),
    "timestamp of 3 bytes": _messagepack(b"\xc7\x03\xff\x00\x00\x00"),
    "timestamp with too many nanoseconds": _messagepack(b"\xd7\xff" + b"\xff" * 8),
    "text that is not UTF-8": _messagepack(b"\xa2\xc3\x28"),
    "ignored text that is not UTF-8": ("messagepack", b"\x92\x06\xa1\xff"),
    "duplicate key in a map": _messagepack(b"\x82\xa1a\x01\xa1a\x02"),
    "duplicate key in two encodings": _messagepack(b"\x82\xa1a\x01\xda\x00\x01a\x02"),
    "array as a key": _messagepack(b"\x81\x91\x01\x02"),
    "trailing byte": ("messagepack", b"\x91\x06\x06"),
    "length 0": ("messagepack", b""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_gives_one_broken_and_little_memory(name: str) -> None:
    protocol, body = HOSTILE[name]
    connection = opened(protocol)
    framed = frame(body, protocol)
    tracemalloc.start()
    events = [event for chunk in chunks(framed, [1, 700]) for event in connection.receive_data(chunk, 1.0)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(event) for event in events] == [Broken]
    assert connection.state is State.CLOSED
    assert peak < 2 * 2**20


def test_an_extension_of_an_unknown_kind_is_data_like_any_other() -> None:
    connection = opened("messagepack")
    for code in (0, 127, 128, 254):
        protocol, body = _messagepack(b"\xd4" + bytes([code]) + b"x")
        (event,) = connection.receive_data(frame(body, protocol), 1.0)
        assert isinstance(event, Invocation)
        connection.codec.free(event.arguments[0])  # type: ignore[arg-type]  # a received value is a Raw


@pytest.mark.parametrize("prefix", [b"\x80\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff\x08", b"\xff\xff\xff\xff\x07"])
def test_a_hostile_length_prefix_gives_one_broken(prefix: bytes) -> None:
    (event,) = opened("messagepack").receive_data(prefix + bytes(100), 1.0)
    assert isinstance(event, Broken)


@both
def test_the_largest_allowed_messages_stay_affordable(protocol: str) -> None:
    """No 32 KiB of nested or tiny values may cost more than a few MiB while they are judged."""
    connection = opened(protocol)
    many: object = [[] for _ in range(10_000)] if protocol == "json" else [[] for _ in range(32_000)]
    framed = connection.codec.encode(Invocation("m", (many,)))
    tracemalloc.start()
    (event,) = connection.receive_data(framed, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(event, Invocation)
    assert peak < 4 * 2**20


def _check(connection: HubConnection, data: bytes, cuts: list[int]) -> None:
    events = [event for chunk in chunks(data, cuts) for event in connection.receive_data(chunk, 1.0)]
    ends = [index for index, event in enumerate(events) if isinstance(event, Broken | Refused)]
    assert ends in ([], [len(events) - 1])
    if ends:
        assert connection.state is State.CLOSED
        assert connection.receive_data(data, 1.0) == []


cut_places = st.lists(st.integers(min_value=0, max_value=1_000), max_size=4)


@given(data=st.binary(max_size=200), cuts=cut_places)
def test_random_bytes_instead_of_a_handshake_never_raise(data: bytes, cuts: list[int]) -> None:
    _check(HubConnection(HubLimits(), now=0.0), data, cuts)


@both
@settings(max_examples=150)
@given(data=st.binary(max_size=200), cuts=cut_places)
def test_random_bytes_never_raise(protocol: str, data: bytes, cuts: list[int]) -> None:
    _check(opened(protocol), data, cuts)


VALID = {
    protocol: b"".join(
        codec.encode(message)
        for message in (
            Invocation("method", ({"a": [1, 2.5, "\u00f6"], "b": {"c": None}}, b"\x00\xff"), "xyz"),
            Completion("1", {"n": 2**40}),
            StreamInvocation("2", "s", (["x"] * 20,), ("3", "4"), {"h": "v"}),
        )
    )
    for protocol, codec in CODECS.items()
}


@both
@settings(max_examples=200)
@given(
    edits=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4),
    cuts=cut_places,
)
def test_mutated_frames_never_raise(protocol: str, edits: list[tuple[int, bytes, int]], cuts: list[int]) -> None:
    data = VALID[protocol]
    for place, inserted, removed in edits:
        at = place % len(data) if data else 0
        data = data[:at] + inserted + data[at + removed :]
    _check(opened(protocol), data, cuts)
