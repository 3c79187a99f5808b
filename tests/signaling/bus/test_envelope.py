"""Envelopes: nothing is heard that no pod has said, on another channel, twice, or long ago."""

import hmac

import msgspec
import pytest

from signaling.bus.envelope import MAX_STREAMS, Kind, Opened, Opener, Sealer
from tests.signaling.conftest import Clock

KEY, HERE, THERE = b"k" * 32, b"pod-here", b"pod-away"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opener(clock: Clock) -> Opener:
    return Opener(KEY, own=HERE, skew_s=300.0, clock=clock)


def sealer(clock: Clock, *, key: bytes = KEY, sender: bytes = THERE, stream: bytes = b"stream-1") -> Sealer:
    return Sealer(key, sender=sender, stream=stream, clock=clock)


@pytest.mark.parametrize("size", [1, 32, 63, 64, 65, 200])
def test_the_tag_is_that_of_hmac_sha256_for_keys_of_every_size(clock: Clock, size: int) -> None:
    key = bytes(range(size))
    wire = sealer(clock, key=key).seal(b"c", Kind.MESSAGE, b"x")
    signed = wire[:1] + (1).to_bytes(4, "big") + b"c" + wire[1:9] + wire[41:]
    assert wire[9:41] == hmac.digest(key, signed, "sha256")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)), b"x" * 100_000], ids=len)
def test_what_is_sealed_is_opened(opener: Opener, clock: Clock, kind: Kind, payload: bytes) -> None:
    assert opener.open(b"c", sealer(clock).seal(b"c", kind, payload)) == Opened(kind, payload)


def test_a_pod_does_not_hear_itself(opener: Opener, clock: Clock) -> None:
    assert opener.open(b"c", sealer(clock, sender=HERE).seal(b"c", Kind.MESSAGE, b"x")) == "own"


def test_another_key_and_another_channel_are_forgeries(opener: Opener, clock: Clock) -> None:
    assert opener.open(b"c", sealer(clock, key=b"l" * 32).seal(b"c", Kind.MESSAGE, b"x")) == "forged"
    wire = sealer(clock).seal(b"c", Kind.MESSAGE, b"x")
    assert opener.open(b"d", wire) == "forged"
    # Where one part ends and the next begins is signed too.
    assert opener.open(b"c" + THERE[:1], wire) == "forged"


def test_each_byte_counts(opener: Opener, clock: Clock) -> None:
    wire = sealer(clock).seal(b"c", Kind.MESSAGE, b"x")
    for place in range(len(wire)):
        spoilt = wire[:place] + bytes([wire[place] ^ 1]) + wire[place + 1 :]
        assert opener.open(b"c", spoilt) == ("version" if place == 0 else "forged")
        assert opener.open(b"c", wire[:place]) == ("version" if place == 0 else "forged")
    assert opener.open(b"c", wire) == Opened(Kind.MESSAGE, b"x")


def test_what_is_heard_again_or_after_something_newer_is_a_replay(opener: Opener, clock: Clock) -> None:
    one = sealer(clock)
    first, second, third = (one.seal(b"c", Kind.MESSAGE, b"%d" % n) for n in range(3))
    assert opener.open(b"c", second) == Opened(Kind.MESSAGE, b"1")
    assert [opener.open(b"c", wire) for wire in (first, second, third, third)] == [
        "replayed",
        "replayed",
        Opened(Kind.MESSAGE, b"2"),
        "replayed",
    ]


def test_streams_and_senders_are_numbered_apart(opener: Opener, clock: Clock) -> None:
    for sender in (THERE, b"pod-else"):
        for stream in (b"stream-1", b"stream-2"):
            wire = sealer(clock, sender=sender, stream=stream).seal(b"c", Kind.MESSAGE, b"x")
            assert isinstance(opener.open(b"c", wire), Opened)


@pytest.mark.parametrize("moved_s", [-301.0, 301.0])
def test_what_was_kept_back_is_too_old_and_a_clock_may_be_off_a_little(
    opener: Opener, clock: Clock, moved_s: float
) -> None:
    one = sealer(clock)
    wire, later = one.seal(b"c", Kind.MESSAGE, b"x"), one.seal(b"c", Kind.MESSAGE, b"y")
    clock.now_s += moved_s
    assert opener.open(b"c", wire) == "stale"
    clock.now_s -= moved_s / 2
    assert opener.open(b"c", later) == Opened(Kind.MESSAGE, b"y")


def test_what_is_remembered_of_others_is_bounded(opener: Opener, clock: Clock) -> None:
    for number in range(MAX_STREAMS + 10):
        wire = sealer(clock, stream=number.to_bytes(8, "big")).seal(b"c", Kind.MESSAGE, b"x")
        assert isinstance(opener.open(b"c", wire), Opened)
    assert len(opener._streams) == MAX_STREAMS


def test_another_version_and_another_shape_are_not_heard(opener: Opener, clock: Clock) -> None:
    assert opener.open(b"c", b"") == "version"
    assert opener.open(b"c", b"\x02" + sealer(clock).seal(b"c", Kind.MESSAGE, b"x")[1:]) == "version"
    from signaling.bus import envelope

    body = msgspec.msgpack.encode((7, b"stream-1", 1, clock(), b"x"))
    assert opener.open(b"c", b"\x01" + THERE + envelope._Tagger(KEY).tag(b"c", THERE, body) + body) == "unreadable"
