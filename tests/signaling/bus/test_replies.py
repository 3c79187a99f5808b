"""Replies are read the same however they are cut, by hiredis and by the parser that takes its place."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.bus.replies import NOTHING, LinkLost, Parser, Refusal, Replies, new_parser, numbers_in

PARSERS = [Replies, new_parser]

Reply = None | int | bytes | Refusal | list[Any]

scalars = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=40),
    st.sampled_from(["NOPERM no permission", "MOVED 1 a:1", "WRONGPASS", "ERR unknown"]).map(Refusal),
)
replies = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def said(reply: Reply) -> bytes:
    """A reply as a server says it."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case Refusal():
            return b"-%b because\r\n" % reply.code.encode()
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(said, reply))


def plain(reply: Reply) -> object:
    """A reply that can be compared."""
    if isinstance(reply, list):
        return [plain(one) for one in reply]
    return ("refused", reply.code) if isinstance(reply, Refusal) else reply


def fed(parser: Parser, data: bytes) -> None:
    """All of it at once."""
    parser.feed(data, 0, len(data))


def taken(parser: Parser) -> list[object]:
    """All that is whole."""
    found = []
    while (reply := parser.gets()) is not NOTHING:
        found.append(plain(reply))
    return found


@pytest.mark.parametrize("make", PARSERS)
@given(expected=st.lists(replies, max_size=5), portion=st.integers(1, 60))
def test_replies_are_found_in_any_portions(make: Any, expected: list[Reply], portion: int) -> None:
    stream, parser = b"".join(map(said, expected)), make()
    found = []
    for start in range(0, len(stream), portion):
        parser.feed(stream, start, min(portion, len(stream) - start))
        found += taken(parser)
    assert found == [plain(reply) for reply in expected]


@pytest.mark.parametrize("make", PARSERS)
def test_a_line_is_a_reply_too(make: Any) -> None:
    parser = make()
    fed(parser, b"+OK\r\n*-1\r\n")
    assert taken(parser) == [b"OK", None]


@pytest.mark.parametrize("make", PARSERS)
@pytest.mark.parametrize("stream", [b"HTTP/1.1 400\r\n", b"*x\r\n"], ids=repr)
def test_what_is_no_reply_ends_the_connection(make: Any, stream: bytes) -> None:
    parser = make()
    fed(parser, stream)
    with pytest.raises(LinkLost, match="InvalidResponse"):
        parser.gets()


def test_ours_goes_no_deeper_than_a_server_does() -> None:
    parser = Replies()
    fed(parser, b"*1\r\n" * 20 + b":1\r\n")
    with pytest.raises(LinkLost, match="InvalidResponse"):
        parser.gets()


def test_without_hiredis_ours_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hiredis", None)
    assert type(new_parser()) is Replies


def test_the_code_of_a_refusal_is_a_word() -> None:
    assert [Refusal(text).code for text in ("NOPERM no", "12 no", "")] == ["NOPERM", "ERR", "ERR"]


@given(expected=st.lists(replies, max_size=5), cut=st.integers(0, 3))
def test_numbers_are_counted_only_where_there_is_nothing_else(expected: list[Reply], cut: int) -> None:
    stream = b"".join(map(said, expected))
    stream = stream[: len(stream) - cut]
    parser = new_parser()
    fed(parser, stream)
    found = taken(parser)
    if numbers_in(stream):
        assert len(found) == numbers_in(stream)
        assert all(type(one) is int for one in found)
        assert not parser.has_data()
    else:
        assert parser.has_data() or not found or not all(type(one) is int and one >= 0 for one in found)


@pytest.mark.parametrize(
    ("stream", "numbers"), [(b":1\r\n" * 16, 16), (b":1\r\n:2", 0), (b":1\r\n+PONG\r\n", 0), (b"", 0)]
)
def test_the_answers_to_a_batch_are_counted_at_once(stream: bytes, numbers: int) -> None:
    assert numbers_in(stream) == numbers


@pytest.mark.parametrize("make", PARSERS)
def test_a_parser_knows_that_it_holds_the_beginning_of_a_reply(make: Any) -> None:
    parser = make()
    assert not parser.has_data()
    fed(parser, b":1")
    assert parser.gets() is NOTHING
    assert parser.has_data()
    fed(parser, b"\r\n")
    assert parser.gets() == 1
    assert not parser.has_data()
