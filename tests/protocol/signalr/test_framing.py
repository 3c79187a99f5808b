"""Cutting streams into messages."""

import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.signalr.framing import (
    JsonSplitter,
    MessagePackSplitter,
    Splitter,
    frame_json,
    frame_messagepack,
)

from .plain import chunks, frame

SPLITTERS: dict[str, Callable[[int], Splitter]] = {"json": JsonSplitter, "messagepack": MessagePackSplitter}
both = pytest.mark.parametrize("protocol", SPLITTERS)
bodies = st.lists(st.binary(max_size=300).map(lambda body: body.replace(b"\x1e", b"")), max_size=8)


def _feed(splitter: Splitter, stream: bytes, cuts: list[int]) -> tuple[list[bytes], str | None]:
    found: list[bytes] = []
    for chunk in chunks(stream, cuts):
        try:
            found += splitter.feed(chunk)
        except RemoteProtocolError as error:
            return found, error.public_message
    return found, None if splitter.failure is None else splitter.failure.public_message


@both
@given(bodies=bodies, cuts=st.lists(st.integers(min_value=0, max_value=3_000)))
def test_any_division_of_the_stream_gives_the_same_bodies(protocol: str, bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(body, protocol) for body in bodies)
    assert _feed(SPLITTERS[protocol](1_000), stream, cuts) == (bodies, None)


@both
@given(bodies=bodies, cuts=st.lists(st.integers(min_value=0, max_value=3_000)))
def test_a_message_over_the_limit_fails_behind_the_ones_before_it_however_it_is_divided(
    protocol: str, bodies: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(frame(body, protocol) for body in [*bodies, bytes(400), b"never"])
    found, error = _feed(SPLITTERS[protocol](350), stream, cuts)
    assert found == bodies
    assert error == "The maximum message size of 350B was exceeded."


@both
def test_the_limit_counts_the_framing(protocol: str) -> None:
    fits = frame(b"x" * 98 if protocol == "messagepack" else b"x" * 99, protocol)
    limit = len(fits)
    for cut in range(limit):
        assert len(_feed(SPLITTERS[protocol](limit), fits, [cut])[0]) == 1
        assert _feed(SPLITTERS[protocol](limit - 1), fits, [cut])[0] == []
    with pytest.raises(RemoteProtocolError, match=r"was exceeded\."):
        SPLITTERS[protocol](limit - 1).feed(fits)


@both
def test_a_broken_stream_stays_broken(protocol: str) -> None:
    splitter = SPLITTERS[protocol](10)
    good = frame(b"good", protocol)
    assert splitter.feed(good + frame(bytes(10), protocol)) == [b"good"]
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            splitter.feed(good)


@both
def test_an_endless_message_is_refused_before_it_is_held(protocol: str) -> None:
    splitter = SPLITTERS[protocol](32_768)
    endless = frame(bytes(2**20), protocol)[:-1]
    tracemalloc.start()
    _, error = _feed(splitter, endless, list(range(0, len(endless), 4_096)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error == "The maximum message size of 32768B was exceeded."
    assert peak < 150_000


@both
def test_many_messages_in_one_chunk_take_linear_time(protocol: str) -> None:
    def seconds(count: int) -> float:
        stream = frame(b"0123456789", protocol) * count
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            assert len(SPLITTERS[protocol](100).feed(stream)) == count
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(40_000) < 40 * seconds(4_000)


@both
def test_a_message_that_arrives_byte_by_byte_takes_linear_time(protocol: str) -> None:
    def seconds(size: int) -> float:
        stream = frame(bytes(size), protocol)
        splitter = SPLITTERS[protocol](2**20)
        began = time.perf_counter()
        for at in range(len(stream) - 1):
            assert splitter.feed(stream[at : at + 1]) == []
        assert splitter.feed(stream[-1:]) == [bytes(size)]
        return time.perf_counter() - began

    assert seconds(100_000) < 40 * seconds(10_000)


@pytest.mark.parametrize(
    ("size", "prefix"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001")],
)
def test_lengths_are_little_endian_groups_of_seven_bits(size: int, prefix: str) -> None:
    framed = frame_messagepack(bytes(size))
    assert framed == bytes.fromhex(prefix) + bytes(size)
    assert MessagePackSplitter(20_000).feed(framed) == [bytes(size)]


def test_a_length_may_be_written_wider_than_needed() -> None:
    assert MessagePackSplitter(100).feed(bytes.fromhex("818080800061")) == [b"a"]


@pytest.mark.parametrize("prefix", ["8080808008", "ffffffff0f", "808080808001", "8080808080"])
def test_a_length_beyond_31_bits_is_malformed(prefix: str) -> None:
    for cut in range(len(prefix) // 2):
        found, error = _feed(MessagePackSplitter(2**32), bytes.fromhex(prefix), [cut])
        assert (found, error) == ([], "The length prefix of a message is malformed.")


def test_json_frames_end_with_the_record_separator() -> None:
    assert frame_json(b"{}") == b"{}\x1e"


@both
@given(bodies=bodies, cuts=st.lists(st.integers(min_value=0, max_value=3_000)))
def test_one_that_looks_for_lone_messages_first_finds_the_same(
    protocol: str, bodies: list[bytes], cuts: list[int]
) -> None:
    one, other = SPLITTERS[protocol](250), SPLITTERS[protocol](250)
    for chunk in chunks(b"".join(frame(body, protocol) for body in bodies), cuts):
        lone = one.lone(chunk)
        # Two messages of JSON in one chunk pass for one with a separator in it, which its reader refuses.
        if lone is not None and b"\x1e" not in lone:
            assert other.feed(chunk) == [lone]
            continue
        found, error = _feed(one, chunk, [])
        assert _feed(other, chunk, []) == (found, error)


@both
@given(body=st.binary(max_size=2_000).map(lambda body: body.replace(b"\x1e", b"")))
def test_a_short_message_alone_is_found_whole_and_no_part_of_it(protocol: str, body: bytes) -> None:
    framed, splitter = frame(body, protocol), SPLITTERS[protocol](10_000)
    assert splitter.lone(framed) == body
    assert splitter.lone(framed[:-1]) is splitter.lone(b"") is None
    assert splitter.lone(framed + framed) == (None if protocol == "messagepack" else framed + body)
    assert SPLITTERS[protocol](len(framed) - 1).lone(framed) is None
    splitter.feed(framed[:1] if len(framed) > 1 else b"")
    assert len(framed) == 1 or splitter.lone(framed) is None


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 255, 256, 16_382, 16_383])
def test_of_every_short_length_one_message_alone_is_found(size: int) -> None:
    body = bytes(size)
    framed = frame_messagepack(body)
    splitter = MessagePackSplitter(20_000)
    assert splitter.lone(framed) == body == splitter.feed(framed)[0]
    assert MessagePackSplitter(len(framed) - 1).lone(framed) is None


def test_a_longer_message_alone_is_left_to_feed() -> None:
    framed = frame_messagepack(bytes(16_384))
    assert MessagePackSplitter(20_000).lone(framed) is None
    # A length may be written with more bytes than it needs, as feed takes it.
    assert MessagePackSplitter(20_000).lone(b"\x81\x00x") == b"x" == MessagePackSplitter(20_000).feed(b"\x81\x00x")[0]
