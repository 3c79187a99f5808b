"""Envelopes: nothing is heard that no pod has said, on another channel, twice, or long ago."""

import hmac
import struct

import pytest

from signaling.bus.envelope import HEAD_BYTES, MAX_STREAMS, Opener, Sealer
from tests.signaling.conftest import Clock

KEY, HERE, THERE = b"k" * 32, b"pod-here", b"pod-away"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opener(clock: Clock) -> Opener:
    return Opener(KEY, own=HERE, skew_s=300.0, clock=clock)


class Stream:
    """What one pod says over one connection."""

    def __init__(self, clock: Clock, *, key: bytes = KEY, sender: bytes = THERE, stream: bytes = b"stream-1") -> None:
        self._sealer = Sealer(key, sender=sender, stream=stream, clock=clock)

    def says(self, payload: bytes, channel: bytes = b"c") -> bytes:
        """As it travels."""
        return self._sealer.seal(channel, payload) + payload


def signed(head: bytes, payload: bytes = b"") -> bytes:
    """What somebody with the key may make of anything."""
    tag = hmac.digest(KEY, b"\x02" + (1).to_bytes(4, "big") + b"c" + head + payload, "sha256")
    return b"\x02" + tag + head + payload


@pytest.mark.parametrize("size", [1, 32, 63, 64, 65, 200])
def test_the_tag_is_that_of_hmac_sha256_for_keys_of_every_size(clock: Clock, size: int) -> None:
    key = bytes(range(size))
    wire = Stream(clock, key=key).says(b"x")
    assert wire[1:33] == hmac.digest(key, wire[:1] + (1).to_bytes(4, "big") + b"c" + wire[33:], "sha256")


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)), b"x" * 100_000], ids=len)
def test_what_is_sealed_is_opened(opener: Opener, clock: Clock, payload: bytes) -> None:
    assert opener.open(b"c", Stream(clock).says(payload)) == payload


def test_a_pod_does_not_hear_itself(opener: Opener, clock: Clock) -> None:
    assert opener.open(b"c", Stream(clock, sender=HERE).says(b"x")) == "own"


def test_another_key_and_another_channel_are_forgeries(opener: Opener, clock: Clock) -> None:
    assert opener.open(b"c", Stream(clock, key=b"l" * 32).says(b"x")) == "forged"
    wire = Stream(clock).says(b"x")
    assert opener.open(b"d", wire) == "forged"
    # Where one part ends and the next begins is signed too.
    assert opener.open(b"c" + THERE[:1], wire) == "forged"


def test_each_byte_counts(opener: Opener, clock: Clock) -> None:
    wire = Stream(clock).says(b"x")
    for place in range(len(wire)):
        spoilt = wire[:place] + bytes([wire[place] ^ 1]) + wire[place + 1 :]
        assert opener.open(b"c", spoilt) == ("version" if place == 0 else "forged")
        assert opener.open(b"c", wire[:place]) == ("version" if place == 0 else "forged")
    assert opener.open(b"c", wire) == b"x"


def test_what_is_heard_again_or_after_something_newer_is_a_replay(opener: Opener, clock: Clock) -> None:
    one = Stream(clock)
    first, second, third = (one.says(b"%d" % n) for n in range(3))
    assert opener.open(b"c", second) == b"1"
    assert [opener.open(b"c", wire) for wire in (first, second, third, third)] == [
        "replayed",
        "replayed",
        b"2",
        "replayed",
    ]


def test_streams_and_senders_are_numbered_apart(opener: Opener, clock: Clock) -> None:
    for sender in (THERE, b"pod-else"):
        for stream in (b"stream-1", b"stream-2"):
            wire = Stream(clock, sender=sender, stream=stream).says(b"x")
            assert opener.open(b"c", wire) == b"x"


@pytest.mark.parametrize("moved_s", [-301.0, 301.0])
def test_what_was_kept_back_is_too_old_and_a_clock_may_be_off_a_little(
    opener: Opener, clock: Clock, moved_s: float
) -> None:
    one = Stream(clock)
    wire, later = one.says(b"x"), one.says(b"y")
    clock.now_s += moved_s
    assert opener.open(b"c", wire) == "stale"
    clock.now_s -= moved_s / 2
    assert opener.open(b"c", later) == b"y"


def test_what_is_remembered_of_others_is_bounded(opener: Opener, clock: Clock) -> None:
    for number in range(MAX_STREAMS + 10):
        wire = Stream(clock, stream=number.to_bytes(8, "big")).says(b"x")
        assert opener.open(b"c", wire) == b"x"
    assert len(opener._streams) == MAX_STREAMS


def test_another_version_and_another_shape_are_not_heard(opener: Opener, clock: Clock) -> None:
    assert opener.open(b"c", b"") == "version"
    assert opener.open(b"c", b"\x01" + Stream(clock).says(b"x")[1:]) == "version"
    head = THERE + b"stream-1" + struct.pack(">Qd", 1, clock())
    assert opener.open(b"c", signed(head[:-1])) == "forged"
    assert opener.open(b"c", signed(head)) == b""


@pytest.mark.parametrize("date", [float("nan"), float("inf"), -float("inf")])
def test_a_date_that_is_none_is_not_heard(opener: Opener, date: float) -> None:
    assert opener.open(b"c", signed(THERE + b"stream-1" + struct.pack(">Qd", 1, date))) == "stale"


def test_the_head_is_as_long_as_it_is_said_to_be(clock: Clock) -> None:
    assert len(Stream(clock).says(b"")) == HEAD_BYTES
