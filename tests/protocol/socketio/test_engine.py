"""Engine.IO packets, and every way in which a session's transport may change."""

import itertools

import msgspec
import pytest

from protocol.errors import RemoteProtocolError, TooManyPackets
from protocol.socketio.engine import (
    TRANSITIONS,
    Happening,
    Kind,
    Packet,
    State,
    next_state,
    open_packet,
    packet_of_frame,
    packets_of_body,
)

CASES = [
    (b"4hello", [Packet(Kind.MESSAGE, b"hello")]),
    (b"4a\x1e4b\x1e3", [Packet(Kind.MESSAGE, b"a"), Packet(Kind.MESSAGE, b"b"), Packet(Kind.PONG, b"")]),
    (b"4\x1ebAQIDBA==", [Packet(Kind.MESSAGE, b""), Packet(Kind.MESSAGE, b"\x01\x02\x03\x04", binary=True)]),
    (b"b", [Packet(Kind.MESSAGE, b"", binary=True)]),
]


@pytest.mark.parametrize(("body", "packets"), CASES)
def test_a_body_holds_packets(body: bytes, packets: list[Packet]) -> None:
    assert packets_of_body(body, 3) == packets


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x1e",
        b"4a\x1e",
        b"\x1e4a",
        b"abc",
        b"7",
        b"9",
        b"-1",
        b"b!",
        b"bAQ",
        b"4\xff",
        b"4\xc3\x1e4\xa9",
    ],
)
def test_what_is_no_packet_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        packets_of_body(body, 3)


def test_packets_are_counted_before_anything_is_made_of_them() -> None:
    with pytest.raises(TooManyPackets):
        packets_of_body(b"\x1e" * 1_000_000, 3)
    with pytest.raises(TooManyPackets):
        packets_of_body(b"4\x1e4\x1e4\x1e4", 3)


def test_a_frame_is_one_packet() -> None:
    assert packet_of_frame(b"\x00\xff", binary=True) == Packet(Kind.MESSAGE, b"\x00\xff", binary=True)
    assert packet_of_frame(b"2probe", binary=False) == Packet(Kind.PING, b"probe")
    with pytest.raises(RemoteProtocolError):
        packet_of_frame(b"", binary=False)


def test_the_first_packet_says_everything() -> None:
    packet = open_packet("s", upgrades=("websocket",), ping_interval_s=0.3, ping_timeout_s=0.2, max_payload_bytes=10)
    assert packet[:1] == b"0"
    assert msgspec.json.decode(packet[1:]) == {
        "sid": "s",
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 10,
    }


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(State, Happening)))
def test_every_happening_in_every_state(state: State, happening: Happening) -> None:
    if happening is Happening.END:
        assert next_state(state, happening) is State.ENDED
    elif happening is Happening.PROBE_LOST:
        # Polling goes on; a session that has moved, or ended, does not care.
        assert next_state(state, happening) is (State.POLLING if state is State.PROBED else state)
    elif happening in TRANSITIONS[state]:
        expected = {
            (State.POLLING, Happening.PROBE): State.PROBED,
            (State.PROBED, Happening.UPGRADE): State.WEBSOCKET,
        }
        assert next_state(state, happening) is expected[state, happening]
    else:
        with pytest.raises(RemoteProtocolError, match=f"{happening.value} while {state.value}"):
            next_state(state, happening)
