"""What the server writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError
from protocol.websocket.frames import binary_frame, close_frame, ping_frame, pong_frame, text_frame


def test_frames_are_those_of_the_rfc() -> None:
    """RFC 6455 section 5.7."""
    assert text_frame(b"Hello") == bytes.fromhex("810548656c6c6f")
    assert ping_frame(b"Hello") == bytes.fromhex("890548656c6c6f")
    assert pong_frame(b"Hello") == bytes.fromhex("8a0548656c6c6f")
    assert binary_frame(bytes(256)) == bytes.fromhex("827e0100") + bytes(256)
    assert binary_frame(bytes(65_536)) == bytes.fromhex("827f0000000000010000") + bytes(65_536)


@pytest.mark.parametrize(
    ("size", "start"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (1_023, "817e03ff"),
        (1_024, "817e0400"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_a_length_is_written_in_the_shortest_way(size: int, start: str) -> None:
    assert text_frame(b"x" * size) == bytes.fromhex(start) + b"x" * size


def test_a_close_frame_holds_code_and_reason() -> None:
    assert close_frame(1000) == b"\x88\x02\x03\xe8"
    assert close_frame(1011, "später") == b"\x88\x09\x03\xf3" + "später".encode()


@given(reason=st.text(min_size=20, max_size=200))
def test_a_long_reason_is_cut_between_characters(reason: str) -> None:
    written = close_frame(1000, reason)
    assert len(written) <= 2 + 125
    assert written[1] == len(written) - 2
    kept = written[4:].decode()
    assert reason.encode().startswith(kept.encode())
    assert kept == reason or len(kept.encode()) > 119


def test_a_reason_that_no_text_can_hold_does_not_keep_from_closing() -> None:
    assert close_frame(1000, "\ud800") == b"\x88\x03\x03\xe8?"


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_536, -1])
def test_a_code_that_may_not_be_sent_is_an_error_of_ours(code: int) -> None:
    with pytest.raises(LocalProtocolError):
        close_frame(code)


def test_a_control_frame_holds_125_bytes() -> None:
    for write in (ping_frame, pong_frame):
        assert write(bytes(125))[1] == 125
        with pytest.raises(LocalProtocolError):
            write(bytes(126))
