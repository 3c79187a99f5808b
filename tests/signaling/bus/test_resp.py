"""The wire of Redis: both parsers say the same of every reply in any portions, and a code never quotes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.bus.resp import NOTHING, BrokenReplies, ParsedReplies, Refusal, Replies, new_replies, pack

PARSERS = [new_replies, ParsedReplies]
Value = Any


def test_commands_are_arrays_of_bulk_strings() -> None:
    assert pack([(b"PING",), (b"PUBLISH", b"c", b"\r\n\x00")]) == (
        b"*1\r\n$4\r\nPING\r\n*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$3\r\n\r\n\x00\r\n"
    )


def wire_of(value: Value) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, Refusal):
        return b"-%b some more\r\n" % value.code.encode()
    return b"*%d\r\n" % len(value) + b"".join(map(wire_of, value))


def plain(value: Value) -> Value:
    if isinstance(value, Refusal):
        return ("refused", value.code)
    return [plain(one) for one in value] if isinstance(value, list) else value


def said(replies: Replies, wire: bytes, cuts: list[int]) -> list[Value]:
    found: list[Value] = []
    ends = sorted({cut % (len(wire) + 1) for cut in cuts} | {len(wire)})
    start = 0
    for end in ends:
        replies.feed(wire[start:end])
        start = end
        while (value := replies.gets()) is not NOTHING:
            found.append(plain(value))
    return found


LEAVES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=40)
    | st.sampled_from([Refusal("MOVED 7 here"), Refusal("NOPERM secret")])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@given(st.lists(VALUES, max_size=6), st.lists(st.integers(0, 2_000), max_size=12))
def test_both_parsers_say_what_was_said_in_any_portions(values: list[Value], cuts: list[int]) -> None:
    wire = b"".join(map(wire_of, values))
    wanted = [plain(value) for value in values]
    for make in PARSERS:
        assert said(make(), wire, cuts) == wanted


@pytest.mark.parametrize("make", PARSERS)
@pytest.mark.parametrize("wire", [b"!what\r\n", b":seven\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_reply_breaks_off(make: Callable[[], Replies], wire: bytes) -> None:
    replies = make()
    replies.feed(wire)
    with pytest.raises(BrokenReplies):
        replies.gets()


def test_simple_strings_are_bytes_and_a_missing_array_is_none() -> None:
    for make in PARSERS:
        assert said(make(), b"+PONG\r\n*-1\r\n", []) == [b"PONG", None]


def test_the_code_of_a_refusal_is_a_word_and_nothing_of_the_rest() -> None:
    assert Refusal("WRONGPASS invalid username-password pair").code == "WRONGPASS"
    assert Refusal("'s3crt' is no command").code == "refused"
