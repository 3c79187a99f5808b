"""Whole streams: however they are divided, and whatever somebody sends on purpose."""

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.websocket.events import CloseFrame, Data, Event, PingFrame, Violation
from protocol.websocket.frames import FrameReader

from .client import BINARY, CONTINUATION, FIN, MASK, PING, TEXT, close, frame, header, message, portions, reaction, read

KIB = 1024
MAX_PAYLOAD_BYTES = 64 * KIB
LARGE_BYTES = 2**20

payloads = st.binary(max_size=150) | st.text(max_size=40).map(str.encode)
masks = st.binary(min_size=4, max_size=4)
likely_frames = st.builds(
    frame, st.sampled_from([CONTINUATION, TEXT, BINARY, PING]), payloads, fin=st.booleans(), mask=masks
)
any_frames = st.builds(frame, st.integers(0, 15), payloads, fin=st.booleans(), reserved=st.integers(0, 7), mask=masks)
whole_messages = st.builds(message, st.just(BINARY), payloads, payloads) | st.builds(
    frame, st.just(TEXT), st.text(max_size=100).map(str.encode)
)
streams = st.lists(whole_messages | likely_frames | any_frames | st.binary(max_size=12), max_size=8).map(b"".join)
cut_places = st.lists(st.integers(0, 2_000), max_size=12)


def divided(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


@settings(max_examples=400)
@given(stream=streams, cuts=cut_places)
def test_any_division_of_the_stream_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    whole = FrameReader(120, max_empty_frames=3).feed(stream)
    assert read(FrameReader(120, max_empty_frames=3), divided(stream, cuts)) == whole


def _stream_of(events: list[Event]) -> list[Event | int]:
    """What they come to when the border between two payloads does not count."""
    joined: list[Event | int] = []
    for event in reaction(events):
        last = joined[-1] if joined else None
        if isinstance(event, Data) and isinstance(last, Data):
            joined[-1] = Data(last.payload + event.payload)
        else:
            joined.append(event)
    return joined


@settings(max_examples=400)
@given(stream=streams, cuts=cut_places)
def test_whole_messages_taken_without_events_are_the_same_bytes(stream: bytes, cuts: list[int]) -> None:
    reader = FrameReader(120, max_empty_frames=3)
    events: list[Event] = []
    for chunk in divided(stream, cuts):
        lone = reader.lone(chunk)
        payload, rest = reader.leading(chunk) if lone is None else (lone, b"")
        events += [Data(payload)] if payload else []
        events += reader.feed(rest) if rest else []
    by_events = read(FrameReader(120, max_empty_frames=3), divided(stream, cuts))
    empty = Data(b"")
    assert [e for e in _stream_of(events) if e != empty] == [e for e in _stream_of(by_events) if e != empty]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 300, 500, 501])
@pytest.mark.parametrize("first", [0x81, 0x82, 0x01, 0x80, 0x89, 0x88, 0xC1, 0x83])
def test_a_lone_frame_is_what_its_event_would_have_been(first: int, size: int) -> None:
    mask, payload = b"\x01\x02\x03\x04", bytes(97 + n % 20 for n in range(size))
    masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    for head in (
        bytes([first, 0x80 | min(size, 127)]),
        bytes([first, 0xFE, *divmod(size, 256)]),
        bytes([first, size % 128]),
    ):
        stream = head + mask + masked
        lone = FrameReader(500).lone(stream)
        expected = [Data(payload)] if first in (0x81, 0x82) else []
        assert lone is None or FrameReader(500).feed(stream) == [Data(lone)] == expected
    whole = bytes([first, 0x80 | size] if size < 126 else [first, 0xFE, *divmod(size, 256)]) + mask + masked
    assert (FrameReader(500).lone(whole) is not None) == (first in (0x81, 0x82) and 0 < size <= 500)
    assert FrameReader(500).lone(whole[:-1]) is FrameReader(500).lone(whole + b"\x81") is None


@settings(max_examples=400)
@given(stream=streams | st.binary(max_size=300), cuts=cut_places)
def test_any_bytes_give_one_ending_at_most_and_nothing_behind_it(stream: bytes, cuts: list[int]) -> None:
    reader = FrameReader(120)
    events = read(reader, divided(stream, cuts))
    endings = [index for index, event in enumerate(events) if isinstance(event, Violation | CloseFrame)]
    assert endings in ([], [len(events) - 1])
    if endings:
        assert read(reader, [stream, frame(TEXT, b"late")]) == []


@given(sent=st.lists(payloads, max_size=8), mask=masks, cuts=cut_places)
def test_what_a_client_sends_arrives(sent: list[bytes], mask: bytes, cuts: list[int]) -> None:
    stream = b"".join(frame(BINARY, payload, mask=mask) for payload in sent)
    assert read(FrameReader(MAX_PAYLOAD_BYTES), divided(stream, cuts)) == list(map(Data, sent))


@settings(max_examples=400)
@given(text=st.text(max_size=20).map(str.encode) | st.binary(max_size=6), rest=st.binary(max_size=3), cuts=cut_places)
def test_a_fragmented_text_is_taken_exactly_if_it_is_utf8_as_a_whole(text: bytes, rest: bytes, cuts: list[int]) -> None:
    text += rest
    events = FrameReader(MAX_PAYLOAD_BYTES).feed(message(TEXT, *divided(text, cuts)))
    try:
        text.decode()
    except UnicodeDecodeError:
        assert reaction(events)[-1] == 1007
    else:
        assert b"".join(event.payload for event in events if isinstance(event, Data)) == text
        assert all(isinstance(event, Data) for event in events)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_empty_frames_in_a_row_are_bounded(opcode: int) -> None:
    empty = frame(opcode)
    assert reaction(FrameReader(100).feed(empty * 1001)) == [*[Data(b"")] * 1000, 1008]
    assert reaction(FrameReader(100, max_empty_frames=0).feed(empty)) == [1008]
    assert len(FrameReader(100).feed(empty * 100_000)) == 1001


def test_empty_fragments_in_a_row_are_bounded() -> None:
    fragments = frame(TEXT, b"a", fin=False) + frame(CONTINUATION, fin=False) * 1_001
    assert reaction(FrameReader(100).feed(fragments)) == [Data(b"a"), *[Data(b"")] * 1000, 1008]


@pytest.mark.parametrize("between", [frame(TEXT, b"a"), frame(BINARY, b"a") + frame(TEXT, b"b")])
@pytest.mark.parametrize("joined", [True, False])
def test_a_payload_ends_the_row_and_a_ping_does_not(between: bytes, *, joined: bool) -> None:
    def ends(*frames: bytes) -> bool:
        chunks = [b"".join(frames)] if joined else frames
        return reaction(read(FrameReader(100, max_empty_frames=3), chunks))[-1] == 1008

    empty = frame(TEXT)
    assert not ends(empty, empty, empty, between, empty, empty, empty)
    assert ends(empty, empty, empty, frame(PING, b"p"), empty)
    assert not ends(*[frame(PING)] * 100)


def grown_by(stream: bytes, chunk_bytes: int, reader: FrameReader) -> tuple[int, int]:
    """Bytes of memory that reading took, at its peak and when it was done; the events are dropped."""
    chunks = [stream[start : start + chunk_bytes] for start in range(0, len(stream), chunk_bytes)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for chunk in chunks:
        reader.feed(chunk)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before, after - before


FLOODS = {
    "headers that lie": header(FIN | TEXT, 2**40) + bytes(2**18),
    "unmasked frames": b"\x81\x05Hello" * 40_000,
    "whole frames": frame(TEXT, b"x" * 60) * 4_000,
    "fragments of one byte": frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) * 30_000,
    "fragments inside a character": frame(TEXT, b"\xf0", fin=False) + frame(CONTINUATION, fin=False) * 900,
    "empty frames": frame(TEXT) * 40_000,
    "pings": frame(PING, b"p" * 125) * 2_000,
    "bytes behind a close": close(1000) + bytes(2**18),
}


@pytest.mark.parametrize("stream", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("chunk_bytes", [61, 4 * KIB])
def test_a_flood_leaves_no_memory_behind(stream: bytes, chunk_bytes: int) -> None:
    reader = FrameReader(MAX_PAYLOAD_BYTES)
    peak, after = grown_by(stream, chunk_bytes, reader)
    # A read of 4 KiB holds some 600 events of 7 bytes on the wire.
    assert peak < 128 * KIB
    assert after < KIB


@pytest.mark.parametrize("chunk_bytes", [61, 4 * KIB, 64 * KIB])
def test_an_incomplete_frame_costs_a_portion_of_it_at_most(chunk_bytes: int) -> None:
    endless = header(FIN | BINARY, LARGE_BYTES) + MASK + bytes(LARGE_BYTES - 1)
    reader = FrameReader(LARGE_BYTES)
    peak, after = grown_by(endless, chunk_bytes, reader)
    assert after < 1.2 * 64 * KIB
    assert peak < 6 * 64 * KIB
    assert len(reader.feed(b"\x00")) == 1


@settings(max_examples=50, deadline=None)
@given(size=st.integers(65_530, 200_000), mask=st.binary(min_size=4, max_size=4), cuts=cut_places, fin=st.booleans())
def test_a_long_frame_is_the_same_in_portions(size: int, mask: bytes, cuts: list[int], fin: bool) -> None:
    payload = ("\u00e9\U0001f600" * (size // 6 + 1)).encode()[:size]
    stream = frame(PING, b"a") + frame(TEXT, payload, fin=fin, mask=mask) + frame(PING, b"b") + frame(3)
    reader = FrameReader(LARGE_BYTES)
    events = reaction(read(reader, divided(stream, [cut * 200 for cut in cuts])))
    ends_inside = fin and not _is_text(payload)
    behind: list[Event | int] = [1007] if ends_inside else [portions(payload)[-1], PingFrame(b"b"), 1002]
    assert events == [PingFrame(b"a"), *portions(payload)[:-1], *behind]


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_a_portion_that_is_no_text_ends_the_frame_where_it_is() -> None:
    stream = frame(TEXT, b"x" * 70_000 + b"\xff" + b"x" * 200_000)
    reader = FrameReader(LARGE_BYTES)
    assert reaction(reader.feed(stream[:150_000])) == [Data(b"x" * 65_536), 1007]
    assert reader.feed(stream[150_000:]) == []


def test_an_idle_reader_is_small() -> None:
    hello, large = frame(TEXT, b"hello"), frame(BINARY, b"x" * 5_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    readers = [FrameReader(MAX_PAYLOAD_BYTES) for _ in range(1_000)]
    for reader in readers:
        assert len(read(reader, [hello, hello + large[:3], large[3:2_000], large[2_000:]])) == 3
    each = (tracemalloc.get_traced_memory()[0] - before) / len(readers)
    tracemalloc.stop()
    print(f"\nan idle reader: {each:.0f} bytes")
    assert each < 160


def test_a_large_frame_byte_by_byte_is_not_quadratic() -> None:
    """Looking at all that is held for each byte would take 20 s."""
    stream = frame(BINARY, bytes(2**20))
    reader = FrameReader(2**20)
    started = time.process_time()
    events = read(reader, (stream[index : index + 1] for index in range(len(stream))))
    assert time.process_time() - started < 5.0
    assert events == portions(bytes(2**20))
