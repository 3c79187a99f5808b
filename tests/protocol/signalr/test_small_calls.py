"""Small calls are not looked over as a whole: it must never show, whatever they hold."""

import random
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.fuzz.hub_input import HubInput
from protocol.errors import RemoteProtocolError
from protocol.signalr import json_codec, msgpack_codec, prescan
from protocol.signalr.codec import Codec
from protocol.signalr.json_codec import JsonCodec
from protocol.signalr.messages import Invocation
from protocol.signalr.msgpack_codec import MessagePackCodec
from protocol.signalr.prescan import ScanLimits

# The third lets so little pass that the short way could not be taken.
LIMITS = [ScanLimits(), ScanLimits(depth=3, keys=6), ScanLimits(depth=1, keys=3, number_chars=8)]
any_limits = st.sampled_from(LIMITS)


class LooksAtAllOfJson(JsonCodec):
    """The codec without its short way."""

    def __init__(self, limits: ScanLimits) -> None:
        super().__init__(limits)
        self._small_bytes = -1


class LooksAtAllOfMessagePack(MessagePackCodec):
    """The codec without its short way."""

    def __init__(self, limits: ScanLimits) -> None:
        super().__init__(limits)
        self._small_bytes = -1


def _verdict(codec: Codec, body: bytes) -> str | bytes | None:
    """The error, or the message as bytes: what was received as raw values is in them as it came."""
    try:
        message = codec.decode(body)
    except RemoteProtocolError as error:
        return error.public_message
    return None if message is None else codec.encode(message)


def _agree_on_json(body: bytes, limits: ScanLimits) -> None:
    assert _verdict(JsonCodec(limits), body) == _verdict(LooksAtAllOfJson(limits), body)


def _agree_on_messagepack(body: bytes, limits: ScanLimits) -> None:
    assert _verdict(MessagePackCodec(limits), body) == _verdict(LooksAtAllOfMessagePack(limits), body)


# JSON

spaces = st.sampled_from([b"", b"", b"", b" ", b"\n\t"])
hostile_values = st.sampled_from(
    [
        *(b"1e400", b"-1E400", b"1e5", b"1E5", b"-0", b"0.5", b"01", b"NaN", b"true", b"false", b"null", b"tru", b""),
        *(b"9" * 60, b"9" * 61, b"9" * 64, b"9" * 65, b"-" + b"9" * 64, b"1." + b"5" * 70, b"9" * 400),
        *(b'"\\ud800"', b'"\\u00e9"', b'"\\q"', b'"a\x00b"', b'"\xff"', b'"\xed\xa0\x80"', '"é:{["'.encode()),
        *(b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a":1,"a" :2}', b'{"a:":1,"a:":1}', b'{"a":":","b":1}'),
        *(b'{"a":{"a":1}}', b'{"a":[]}', b'{"a":1e400}', b'{"a":%s}' % (b"9" * 70), b'{"a":"9%s"}' % (b"9" * 70)),
        *(b"[]", b"[[]]", b'[{"a":1,"a":1}]', b'{"a":1}}', b'{"a":1,}', b"{}", b'{"\\ud800":1}', b'{"a":1 }', b" 1"),
        b'{"a":1,"b":2,"c":3,"d":4,"e":5}',
    ]
)
good_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
).map(msgspec.json.encode)
values = hostile_values | good_values
lists = st.lists(values, max_size=3).map(lambda given: b"[" + b",".join(given) + b"]")
texts = st.sampled_from([b'"Echo"', b'"1"', b'""', b'"\\u0045cho"', '"ö"'.encode(), b'"a:b"', b"null", b"5", b'"\xff"'])
members = st.one_of(
    st.tuples(st.just(b'"type"'), st.sampled_from([b"1", b"1", b"1", b"1.0", b"01", b"6", b"2", b"99", b'"1"'])),
    st.tuples(st.sampled_from([b'"target"', b'"targ\\u0065t"', b'"invocationId"']), texts),
    st.tuples(st.just(b'"arguments"'), lists),
    st.tuples(st.sampled_from([b'"streamIds"', b'"headers"', b'"x"', b'""']), values),
    st.tuples(st.just(b'"headers"'), st.sampled_from([b"{}", b"null", b'{"a":"b"}', b'{"a":"b","a":"c"}'])),
    st.tuples(st.just(b'"streamIds"'), st.sampled_from([b"[]", b"null", b'["1"]', b"[1]"])),
)
a_call = st.tuples(
    st.just((b'"type"', b"1")),
    st.tuples(st.just(b'"target"'), st.just(b'"Echo"') | texts),
    st.tuples(st.just(b'"arguments"'), lists),
).map(list)


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    """What is nearly a call, in any order, with anything twice."""
    found = draw(a_call) + draw(st.lists(members, max_size=2))
    space = draw(spaces)
    pairs = [key + space + b":" + value for key, value in draw(st.permutations(found))]
    return draw(spaces) + b"{" + (space + b",").join(pairs) + b"}" + draw(st.sampled_from([b"", b"", b" ", b"}", b"x"]))


@settings(max_examples=1_000, deadline=None)
@given(body=json_bodies(), limits=any_limits)
def test_whatever_json_a_call_is_made_of_the_short_way_agrees(body: bytes, limits: ScanLimits) -> None:
    _agree_on_json(body, limits)


@settings(max_examples=500, deadline=None)
@given(body=json_bodies(), position=st.integers(min_value=0), byte=st.integers(0, 255))
def test_damaged_json_is_judged_alike(body: bytes, position: int, byte: int) -> None:
    at = position % len(body)
    _agree_on_json(body[:at] + bytes((byte,)) + body[at + 1 :], LIMITS[0])


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":1,"target":"t","target":"Echo","arguments":[]}',
        b'{"type":1,"target":"Echo","arguments":["a"],"arguments":["b"]}',
        b'{"type":1,"type":1,"target":"Echo","arguments":[]}',
        b'{"type":1,"target":"Echo","arguments":[{"a":1,"a":1}]}',
        b'{"type":1,"target":"Echo","arguments":["' + b"\xff" + b'"]}',
        b'{"type":1,"target":"Echo","arguments":[1e400]}',
        b'{"type":1,"target":"Echo","arguments":[' + b"9" * 65 + b"]}",
        b'{"type":1,"target":"Echo","arguments":[{"a":' + b"9" * 65 + b"}]}",
        b'{"type":1,"target":"Echo","arguments":[' + b"[" * 31 + b"]" * 31 + b"]}",
        b'{"type":1,"target":"Echo","arguments":[' + b"[" * 450 + b"]" * 450 + b"]}",
    ],
)
def test_a_small_call_in_json_is_still_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        JsonCodec(ScanLimits()).decode(body)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a text with 'quotes', a time 12:30:00, http://a.b/c and [brackets]"],
        ["Hörgerät", "助听器"],
        [1, -2.5, True, False, None, "x"],
        [{"device": "d-17", "gainDdb": 15, "ear": "left", "band": 3, "on": True}],
        [{}],
        ["x" * 900],
    ],
)  # fmt: skip
@pytest.mark.parametrize("call_id", [{"invocationId": "12"}, {}])
def test_ordinary_calls_take_the_short_way(
    arguments: list[Any], call_id: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = msgspec.json.encode({"arguments": arguments, **call_id, "target": "Submit", "type": 1})
    monkeypatch.setattr(json_codec, "scan_json", _must_not_be_called)
    assert isinstance(JsonCodec(ScanLimits()).decode(body), Invocation)
    if not any(isinstance(argument, dict) for argument in arguments):
        packed = msgspec.msgpack.encode([1, {}, call_id.get("invocationId"), "Submit", arguments, []])
        monkeypatch.setattr(msgpack_codec, "scan_messagepack", _must_not_be_called)
        assert isinstance(MessagePackCodec(ScanLimits()).decode(packed), Invocation)


NESTED = [{"device": "d-17", "patch": {"slot": 1, "ops": [{"op": "set", "band": 3}, {"op": "add", "band": 4}]}}]


def test_of_other_small_calls_only_the_arguments_are_looked_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    for module, name in ((json_codec, "scan_json"), (msgpack_codec, "scan_messagepack")):
        monkeypatch.setattr(module, name, lambda body, _: seen.append(body))
    body = msgspec.json.encode({"type": 1, "target": "Submit", "arguments": NESTED})
    assert isinstance(JsonCodec(ScanLimits()).decode(body), Invocation)
    packed = msgspec.msgpack.encode([1, {}, None, "Submit", NESTED, []])
    assert isinstance(MessagePackCodec(ScanLimits()).decode(packed), Invocation)
    assert seen == [msgspec.json.encode(NESTED[0]), msgspec.msgpack.encode(NESTED[0])]


def _must_not_be_called(*_: object) -> None:
    pytest.fail("a whole look at an ordinary call")


# MessagePack

hostile_packed = st.sampled_from(
    [
        *(b"\xd9\x03abc", b"\xda\x00\x01a", b"\xdb\x00\x00\x00\x01a", b"\xa1\xff", b"\xd9\x02\xed\xa0", b"\xd9\x05a"),
        *(b"\xc4\x02\xff\xff", b"\xc7\x02\x05ab", b"\xd4\x05a", b"\xd6\xff\x00\x00\x00\x01", b"\xd7\xff" + b"\xff" * 8),
        *(b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdc\x00\x01\xc0", b"\xde\x00\x01\xa1a\xc0"),
        *(b"\x82\xa1a\x01\xa1a\x02", b"\x82\x01\xc0\xcb" + struct.pack(">d", 1.0) + b"\xc0", b"\x81\x90\xc0"),
        *(b"\x81\x80\xc0", b"\x82\xa1a\x01\xc4\x01a\x01", b"\x82\xc3\x01\x01\x01", b"\x81\xc7\x01\x05a\xc0"),
        *(b"\x91" * 40 + b"\xc0", b"\x81\xa1\xff\xc0", b"\xcb" + struct.pack(">d", float("nan")), b"", b"\xc0\xc0"),
        b"\x86" + b"".join(bytes((key, 0)) for key in range(6)),
    ]
)
packed_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=40)
packed_values = hostile_packed | st.recursive(
    packed_scalars | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(packed_scalars, inner, max_size=3),
    max_leaves=6,
).map(msgspec.msgpack.encode)
packed_lists = st.lists(packed_values, max_size=3).map(lambda given: bytes((0x90 | len(given),)) + b"".join(given))


@st.composite
def packed_bodies(draw: st.DrawFn) -> bytes:
    """What is nearly a call."""
    pick = draw
    items = [
        pick(st.sampled_from([b"\x01", b"\x01", b"\x01", b"\xcc\x01", b"\x02", b"\x63"])),
        pick(st.sampled_from([b"\x80", b"\x80", b"\xde\x00\x00", b"\x81\xa1a\xa1b", b"\x82\xa1a\xa1b\xa1a\xa1c"])),
        pick(st.sampled_from([b"\xc0", b"\xa1x", b"\xa0", b"\xd9\x01x", b"\xa1\xff", b"\x01"])),
        pick(st.sampled_from([b"\xa4Echo", b"\xd9\x01x", b"\xa0", b"\xa1\xff", b"\xa2\xc3\xb6"])),
        pick(
            packed_lists | st.sampled_from([b"\xdc\x00\x01\xc0", b"\xdd\xff\xff\xff\xff", b"\xdd\x00\x0f\xff\xff\xc0"])
        ),
        *pick(st.lists(st.sampled_from([b"\x90", b"\x90", b"\xc0", b"\x91\xa1s", b"\x91\xa1\xff"]), max_size=1)),
        *pick(st.lists(packed_values, max_size=1)),
    ]
    count = pick(st.sampled_from([len(items)] * 5 + [5, 6]))
    head = pick(st.sampled_from([bytes((0x90 | count,))] * 3 + [struct.pack(">BH", 0xDC, count)]))
    return head + b"".join(items) + pick(st.sampled_from([b"", b"", b"", b"\xc0"]))


@settings(max_examples=1_000, deadline=None)
@given(body=packed_bodies(), limits=any_limits)
def test_whatever_messagepack_a_call_is_made_of_the_short_way_agrees(body: bytes, limits: ScanLimits) -> None:
    _agree_on_messagepack(body, limits)


@settings(max_examples=500, deadline=None)
@given(body=packed_bodies(), position=st.integers(min_value=0), byte=st.integers(0, 255))
def test_damaged_messagepack_is_judged_alike(body: bytes, position: int, byte: int) -> None:
    at = position % len(body)
    _agree_on_messagepack(body[:at] + bytes((byte,)) + body[at + 1 :], LIMITS[0])


@settings(max_examples=1_000, deadline=None)
@given(value=packed_values | packed_bodies() | st.binary(max_size=60), limits=any_limits)
def test_what_the_library_finds_good_is_good_for_the_walk_as_well(value: bytes, limits: ScanLimits) -> None:
    if prescan._is_small_and_good(value, limits):
        assert prescan._walk(value, limits) == len(value)


def test_all_messages_of_the_fuzzer_are_judged_alike() -> None:
    for seed in range(300):
        rng, limits = random.Random(seed), LIMITS[seed % 3]
        for body in HubInput("json", rng, max_message_bytes=2_000).step().data.split(b"\x1e"):
            _agree_on_json(body, limits)
        packed = HubInput("messagepack", rng, max_message_bytes=2_000).step().data
        for body in (packed[1:], packed[2:]):
            _agree_on_messagepack(body, limits)


def test_a_header_that_lies_allocates_nothing_on_the_short_way() -> None:
    for claim in (2**20, 2**28, 2**32 - 1):
        body = b"\x96\x01\x80\xa1x\xa1t\xdd" + struct.pack(">I", claim) + b"\x90"
        with pytest.raises(RemoteProtocolError):
            MessagePackCodec(ScanLimits()).decode(body)
