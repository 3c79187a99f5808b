"""What the scans refuse, and that they agree with slower and simpler readers."""

import json
import math
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]  # the library ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.signalr.prescan import ScanLimits, scan_json, scan_messagepack
from protocol.signalr.values import unpack

LIMITS = ScanLimits()
SMALL = ScanLimits(depth=3, keys=4, number_chars=8)


def _verdict(scan: Callable[[bytes, ScanLimits], None], body: bytes, limits: ScanLimits = LIMITS) -> str | None:
    try:
        scan(body, limits)
    except RemoteProtocolError as error:
        return error.public_message
    return None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a":[1,2.5e3,-0.1,true,null,"x"]}',
        '{"a":{"b":1},"c":{"b":1}}',
        '[[["[[[["]]]',
        '["' + "[" * 50 + '"]',
        '["\\"[[[[[[\\\\"]',
        '{"http://x":"y:z","t":"12:30:00:00:00:00:00"}',
        '["' + "9" * 500 + '"]',
        "[1e308,1E+100,1e-999]",
        "[" + "7" * 64 + "]",
        '["\u00f6\u1234\U0001f600"]',
    ],
)
def test_json_that_only_looks_suspicious_passes(text: str) -> None:
    assert _verdict(scan_json, text.encode()) is None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[" * 33 + b"]" * 33, "nested deeper than 32"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "nested deeper than 32"),
        (b'{"a":[' * 17 + b"]}" * 17, "nested deeper than 32"),
        (b"[" * 100_000, "nested deeper than 32"),
        (b'{"a":1,"a":1}', "the same key twice"),
        (b'{"a":1,"\\u0061":1}', "the same key twice"),
        (b'{"a":1,"a" :1}', "the same key twice"),
        (b'[{"x":[{"":0,"":0}]}]', "the same key twice"),
        (b"[" + b"9" * 65 + b"]", "out of range"),
        (b"[-" + b"9" * 5_000 + b"]", "out of range"),
        (b"[0." + b"1" * 70 + b"]", "out of range"),
        (b"[1e400]", "out of range"),
        (b"[-1E+0309]", "out of range"),
        (b'["\xff"]', "not valid UTF-8"),
        (b'["\xed\xa0\x80"]', "not valid UTF-8"),
        (b'["\xc0\xaf"]', "not valid UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'["a\x00b"]', "not valid JSON"),
        (b'{"a":1', "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_json_is_refused_with_a_reason(body: bytes, error: str) -> None:
    assert error in (_verdict(scan_json, body) or "")


def test_json_keys_are_counted_over_all_objects() -> None:
    objects = [{f"k{n}": 1} for n in range(1_000)]
    assert _verdict(scan_json, json.dumps(objects).encode()) is None
    assert "more than 1000 keys" in (_verdict(scan_json, json.dumps([*objects, {"k": 1}]).encode()) or "")


def test_json_limits_are_settings() -> None:
    for fits, too_much in [
        ("[[[]]]", "[[[[]]]]"),
        ('{"a":null,"b":null,"c":[],"d":{}}', '[{"a":null,"b":null,"c":null},{"d":null,"e":null}]'),
        ("[12345678]", "[123456789]"),
    ]:
        assert _verdict(scan_json, fits.encode(), SMALL) is None
        assert _verdict(scan_json, too_much.encode(), SMALL) is not None


def _depth(value: object) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(_depth, inside), default=0)


def _keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if isinstance(value, list) else 0


def _numbers(value: object) -> int:
    if isinstance(value, dict | list):
        return max(map(_numbers, value.values() if isinstance(value, dict) else value), default=0)
    return len(json.dumps(value)) if isinstance(value, int | float) and not isinstance(value, bool) else 0


texts = st.text(max_size=6) | st.sampled_from(['"', "\\", ":", '":', "[{", "}]", "\u00e9", "1e999"])
scalars = (
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


@given(value=values, ascii_only=st.booleans())
def test_the_json_scan_agrees_with_a_reader_that_counts(value: Any, ascii_only: bool) -> None:
    within = _depth(value) <= 3 and _keys(value) <= 4 and _numbers(value) <= 8
    verdict = _verdict(scan_json, json.dumps(value, ensure_ascii=ascii_only).encode("utf-8"), SMALL)
    assert (verdict is None) == within


@given(value=values)
def test_the_messagepack_scan_agrees_with_a_reader_that_counts(value: Any) -> None:
    within = _depth(value) <= 3 and _keys(value) <= 4
    assert (_verdict(scan_messagepack, msgpack.packb(value), SMALL) is None) == within


@given(body=st.binary(max_size=60))
def test_the_messagepack_scan_accepts_only_what_the_library_reads(body: bytes) -> None:
    if _verdict(scan_messagepack, body) is None:
        unpack(body)


@given(value=values, position=st.integers(min_value=0), byte=st.integers(0, 255))
def test_a_mutated_messagepack_value_is_refused_or_still_readable(value: Any, position: int, byte: int) -> None:
    body = bytearray(msgpack.packb(value))
    body[position % len(body)] = byte
    if _verdict(scan_messagepack, bytes(body)) is None:
        unpack(bytes(body))


@pytest.mark.parametrize(
    "value",
    [None, 0, -1, -33, 2**63, 1.5, "", "x" * 31, "x" * 32, "\u00f6" * 200, "x" * 70_000, b"", b"\xff" * 300]
    + [bytes(70_000), msgpack.ExtType(5, b"abc"), msgpack.ExtType(6, bytes(300)), msgpack.Timestamp(1, 5)]
    + [msgpack.ExtType(1, bytes(size)) for size in (1, 2, 4, 8, 16, 70_000)]
    + [list(range(15)), list(range(16)), [0] * 70_000, {n: n for n in range(20)}, {b"a": 1, "a": 2, None: 3}],
)
def test_every_messagepack_format_is_walked_to_its_end(value: object) -> None:
    body = msgpack.packb(value)
    assert _verdict(scan_messagepack, body) is None
    assert _verdict(scan_messagepack, body + b"\x00") is not None
    for end in {0, 1, len(body) // 2, len(body) - 1} - {len(body)}:
        assert _verdict(scan_messagepack, body[:end]) is not None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"\x91" * 33 + b"\x90", "nested deeper than 32"),
        (b"\x81\x00" * 100_000, "nested deeper than 32"),
        (b"\x82\xa1a\x01\xa1a\x01", "the same key twice"),
        (b"\x82\xa1a\x01\xd9\x01a\x01", "the same key twice"),
        (b"\x82\x01\x01\xcd\x00\x01\x01", "the same key twice"),
        (b"\x81\x90\x01", "no scalar"),
        (b"\x81\x80\x01", "no scalar"),
        (b"\x81\xd4\x05a\x01", "no scalar"),
        (b"\xa1\xff", "not valid UTF-8"),
        (b"\xd9\x01\xff", "not valid UTF-8"),
        (b"\xa3\xed\xa0\x80", "not valid UTF-8"),
        (b"\xd4\xff\x00", "timestamp"),
        (b"\xd8\xff" + bytes(16), "timestamp"),
        (b"\xd7\xff" + b"\xff" * 8, "timestamp"),
        (b"\xc7\x0c\xff" + b"\xff" * 12, "timestamp"),
        (b"\xc7\x00\xff", "timestamp"),
        (b"\xc1", "never uses"),
        (b"\xde\x03\xe9", "more than 1000 keys"),
        (b"\xdf\xff\xff\xff\xff", "more than 1000 keys"),
        (b"\xdd\xff\xff\xff\xff", "cut off"),
        (b"\xc6\xff\xff\xff\xff", "cut off"),
        (b"\xc8\xff", "cut off"),
        (b"\xdb", "cut off"),
        (b"", "cut off"),
        (b"\x01\x01", "something follows"),
    ],
)
def test_messagepack_is_refused_with_a_reason(body: bytes, error: str) -> None:
    assert error in (_verdict(scan_messagepack, body) or "")


def test_a_thousand_arrays_that_claim_more_than_they_hold_cost_no_memory() -> None:
    body = struct.pack(">BI", 0xDD, 200_000) * 1_000
    tracemalloc.start()
    verdict = _verdict(scan_messagepack, body)
    wide = _verdict(scan_messagepack, struct.pack(">BI", 0xDD, 200_000) + bytes(5) * 3_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert verdict is not None
    assert wide is not None
    assert peak < 100_000


def test_nan_is_a_messagepack_number_like_any_other() -> None:
    assert _verdict(scan_messagepack, msgpack.packb([math.nan, math.inf])) is None
