"""Single values: typed, free, encoded, and carried from one format to the other."""

import json
import math
from datetime import datetime
from typing import Annotated, Any, Literal

import msgpack  # type: ignore[import-untyped]  # the library ships no types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw, Struct
from msgspec.msgpack import Ext

from protocol.errors import BadArgument, LocalProtocolError, RemoteProtocolError
from protocol.signalr.codec import CODECS, JSON, MESSAGEPACK, Codec, codec_for, transcode
from protocol.signalr.messages import Completion, Invocation
from protocol.signalr.prescan import ScanLimits

from .plain import body_of

both = pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=lambda codec: codec.name)


class Step(Struct, forbid_unknown_fields=True):
    gain_ddb: Annotated[int, Meta(ge=0, le=900)]
    ear: Literal["left", "right"] = "left"


@both
def test_a_binder_gives_typed_values(codec: Codec) -> None:
    assert codec.binder(Step)(codec.encode_value({"gain_ddb": 55})) == Step(55)
    assert codec.binder(int)(codec.encode_value(7)) == 7
    assert codec.binder(bytes)(codec.encode_value(b"\x00\xff")) == b"\x00\xff"
    moment = datetime.fromisoformat("2026-05-04T03:02:01.500+00:00")
    assert codec.binder(datetime)(codec.encode_value(moment)) == moment


@both
@pytest.mark.parametrize("expected", [Any, object])
def test_a_binder_of_anything_gives_the_free_value(codec: Codec, expected: Any) -> None:
    value = {"a": [1, 2.5, None, True, "\u00f6"]}
    assert codec.binder(expected)(codec.encode_value(value)) == value


@both
def test_a_binder_of_raw_gives_the_value_untouched(codec: Codec) -> None:
    raw = codec.encode_value([1])
    assert codec.binder(Raw)(raw) is raw
    assert codec.encode_value(raw) is raw


@both
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"gain_ddb": 4711}, "Expected `int` <= 900 - at `$.gain_ddb`"),
        ({"gain_ddb": "4711"}, "Expected `int`, got `str` - at `$.gain_ddb`"),
        ({"gain_ddb": 1, "ear": "4711"}, "Invalid value - at `$.ear`"),
        ({"gain_ddb": 1, "x4711": 1}, "Object contains an unknown field"),
        ({}, "Object missing required field `gain_ddb`"),
        ("4711", "Expected `object`, got `str`"),
    ],
)
def test_a_bad_argument_names_the_path_and_never_the_value(codec: Codec, value: object, message: str) -> None:
    with pytest.raises(BadArgument) as failure:
        codec.binder(Step)(codec.encode_value(value))
    assert failure.value.public_message == message
    assert "4711" not in str(failure.value)


@both
@pytest.mark.parametrize("types", [(), (str,), (Raw,), (Any,), (Step,), (str, int), (Raw, str, Any)])
@pytest.mark.parametrize("rest", [None, Raw, int])
@pytest.mark.parametrize("given_number", range(5))
def test_the_arguments_of_a_call_are_what_their_binders_say(
    codec: Codec, types: tuple[Any, ...], rest: Any, given_number: int
) -> None:
    values: dict[Any, object] = {str: "x", int: 7, Any: [1], Raw: {"a": 1}, Step: {"gain_ddb": 5}, None: 1}
    kinds = (*types, *(given_number - len(types)) * (rest,))
    given = tuple(codec.encode_value(values[kind]) for kind in kinds)[:given_number]
    decode = codec.arguments(types, rest)
    if len(given) < len(types) or (len(given) > len(types) and rest is None):
        with pytest.raises(BadArgument, match=f"{len(types)} arguments expected, {len(given)} given"):
            decode(given)
        return
    assert decode(given) == [codec.binder(kind)(raw) for kind, raw in zip(kinds, given, strict=True)]
    for place, kind in enumerate(kinds):
        if kind in (str, int, Step):
            bad = codec.encode_value([4711])
            with pytest.raises(BadArgument) as of_one:
                codec.binder(kind)(bad)
            with pytest.raises(BadArgument) as of_all:
                decode((*given[:place], bad, *given[place + 1 :]))
            assert of_all.value.public_message == of_one.value.public_message


@both
@pytest.mark.parametrize("types", [(Any,), (str, Any)])
def test_an_argument_that_is_no_value_is_a_bad_one(codec: Codec, types: tuple[Any, ...]) -> None:
    with pytest.raises(BadArgument):
        codec.arguments(types)((codec.encode_value("x"), Raw(b"\xc1"))[-len(types) :])


@both
def test_a_free_value_that_is_no_value_is_a_bad_argument(codec: Codec) -> None:
    with pytest.raises(BadArgument):
        codec.free(Raw(b"\xc1"))


@both
@pytest.mark.parametrize("value", [object(), "\ud800", {"a": {1, object()}}])
def test_what_cannot_be_encoded_is_our_own_error(codec: Codec, value: object) -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode(Invocation("m", (value,)))


def test_a_value_inside_itself_is_our_own_error() -> None:
    endless: list[object] = []
    endless.append(endless)
    for codec in (JSON, MESSAGEPACK):
        with pytest.raises(LocalProtocolError):
            codec.encode_value(endless)


def test_a_completion_has_a_result_or_an_error() -> None:
    with pytest.raises(ValueError, match="exclude"):
        Completion("1", result=None, error="x")


def test_limits_of_a_codec_are_settings() -> None:
    body = body_of(JSON.encode(Invocation("m", ([[1]],))), JSON)
    assert JSON.decode(body) is not None
    with pytest.raises(RemoteProtocolError, match="deeper than 3"):
        codec_for("json", ScanLimits(depth=3)).decode(body)


def test_free_messagepack_values_are_exact_to_the_nanosecond() -> None:
    for value in (msgpack.Timestamp(2**33, 999_999_999), msgpack.Timestamp(-(2**62), 1), Ext(5, b"abc"), b"\x00"):
        raw = MESSAGEPACK.encode_value([value])
        assert MESSAGEPACK.free(raw) == [value]


def test_a_timestamp_can_be_sent_as_json() -> None:
    assert bytes(JSON.encode_value([msgpack.Timestamp(0, 1)])) == b'["1970-01-01T00:00:00.000000001Z"]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\x00\xff", '"AP8="'),
        (msgpack.Timestamp(0, 0), '"1970-01-01T00:00:00.000Z"'),
        (msgpack.Timestamp(1_700_000_000, 5), '"2023-11-14T22:13:20.000000005Z"'),
        (msgpack.Timestamp(1_700_000_000, 120_000_000), '"2023-11-14T22:13:20.120Z"'),
        (msgpack.Timestamp(-1, 500_000), '"1969-12-31T23:59:59.000500Z"'),
        (msgpack.Timestamp(-62_135_596_800, 0), '"0001-01-01T00:00:00.000Z"'),
        (msgpack.Timestamp(2**62, 7), '"4611686018427387904.000000007"'),
        (msgpack.ExtType(5, b"\x00\xff"), '"AP8="'),
        (math.nan, "null"),
        ([math.inf, -math.inf, 1.5], "[null,null,1.5]"),
        ({5: "a", None: "b", True: "c"}, '{"5":"a","null":"b","true":"c"}'),
        ({2: 0, 1.5: 0, False: 0, b"\xff": 0}, '{"2":0,"1.5":0,"false":0,"/w==":0}'),
        ({1: "first", "1": "last"}, '{"1":"last"}'),
        (2**64 - 1, "18446744073709551615"),
        ("a\x1eb\u2028", '"a\\u001eb\u2028"'),
    ],
)
def test_messagepack_values_become_json(value: object, text: str) -> None:
    raw = Raw(msgpack.packb(value))
    assert bytes(transcode(raw, MESSAGEPACK, JSON)).decode() == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"9" * 64, 1e64),
        (b"18446744073709551615", 2**64 - 1),
        (b'{"a":[1,{"b":99999999999999999999}]}', {"a": [1, {"b": 1e20}]}),
        (b'"\\u001e\\u0000"', "\x1e\x00"),
        (b"1e-999", 0.0),
        (b"null", None),
    ],
)
def test_json_values_become_messagepack(text: bytes, value: object) -> None:
    assert msgpack.unpackb(transcode(Raw(text), JSON, MESSAGEPACK)) == value


keys = st.text(max_size=5) | st.integers(-(2**63), 2**64 - 1) | st.none() | st.booleans() | st.binary(max_size=4)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 999_999_999))
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8))
)
foreign = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=15
)
common = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def _received(codec: Codec, encoded: bytes) -> Raw | None:
    """The value as it arrives inside a stream item, None if the codec refuses it."""
    body = b'{"type":2,"invocationId":"1","item":' + encoded + b"}" if codec is JSON else b"\x94\x02\x80\xa11" + encoded
    try:
        message = codec.decode(body)
    except RemoteProtocolError:
        return None
    item = msgspec.structs.asdict(message)["item"] if message is not None else None
    assert isinstance(item, Raw)
    return item


@given(value=common)
def test_what_both_formats_have_survives_the_way_there_and_back(value: Any) -> None:
    there = transcode(JSON.encode_value(value), JSON, MESSAGEPACK)
    assert MESSAGEPACK.free(there) == value
    assert JSON.free(transcode(there, MESSAGEPACK, JSON)) == value


@given(value=foreign)
def test_every_accepted_messagepack_value_becomes_valid_json_without_the_terminator(value: Any) -> None:
    raw = _received(MESSAGEPACK, msgpack.packb(value))
    if raw is not None:
        written = bytes(transcode(raw, MESSAGEPACK, JSON))
        json.loads(written)
        assert b"\x1e" not in written


@given(encoded=st.binary(max_size=30))
def test_any_accepted_bytes_can_be_transcoded(encoded: bytes) -> None:
    for codec in CODECS.values():
        raw = _received(codec, encoded)
        if raw is not None:
            for target in CODECS.values():
                transcode(raw, codec, target)


@given(number=st.from_regex(r"\A-?(0|[1-9][0-9]{0,80})(\.[0-9]{1,80})?([eE][+-]?[0-9]{1,4})?\Z"))
def test_any_accepted_json_number_can_be_transcoded(number: str) -> None:
    raw = _received(JSON, number.encode())
    if raw is not None:
        read = msgpack.unpackb(transcode(raw, JSON, MESSAGEPACK))
        assert read == pytest.approx(float(number))
        assert math.isfinite(read)
