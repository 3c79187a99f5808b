"""The buffer of stateful reconnect alone: numbers, acknowledgements, bounds."""

import pytest

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.signalr.connection import HubLimits
from protocol.signalr.resume import ResumeBuffer


def _after_sending(*frames: bytes, limit_bytes: int = 100) -> ResumeBuffer:
    buffer = ResumeBuffer(limit_bytes)
    for frame in frames:
        buffer.sent(frame)
    return buffer


def test_a_new_buffer_starts_at_1_and_holds_nothing() -> None:
    buffer = ResumeBuffer()
    assert (buffer.first_sequence_id, buffer.replay(), buffer.held_bytes) == (1, b"", 0)
    assert not buffer.is_full
    assert buffer.ack_due() is None


def test_an_ack_frees_everything_up_to_its_number() -> None:
    buffer = _after_sending(b"one", b"three", b"four")
    buffer.acknowledged(2)
    assert (buffer.first_sequence_id, buffer.replay(), buffer.held_bytes) == (3, b"four", 4)
    buffer.acknowledged(1)
    buffer.acknowledged(0)
    assert (buffer.first_sequence_id, buffer.replay(), buffer.held_bytes) == (3, b"four", 4)
    buffer.acknowledged(3)
    assert (buffer.first_sequence_id, buffer.replay(), buffer.held_bytes) == (4, b"", 0)


def test_an_ack_beyond_what_was_sent_is_the_peers_mistake() -> None:
    buffer = _after_sending(b"one")
    with pytest.raises(RemoteProtocolError):
        buffer.acknowledged(2)
    assert buffer.replay() == b"one"


def test_a_buffer_holds_its_limit_and_one_message_at_most() -> None:
    buffer = _after_sending(b"x" * 60, b"y" * 40, b"z" * 500)
    assert buffer.is_full
    with pytest.raises(LocalProtocolError):
        buffer.sent(b"!")
    assert (buffer.held_bytes, len(buffer.replay())) == (600, 600)
    buffer.acknowledged(3)
    buffer.sent(b"!")
    assert buffer.replay() == b"!"


@pytest.mark.parametrize(("size", "is_full"), [(100_000, False), (100_001, True)])
def test_the_default_limit_is_100_000_bytes(size: int, is_full: bool) -> None:
    buffer = ResumeBuffer()
    buffer.sent(b"x" * size)
    assert buffer.is_full is is_full
    assert HubLimits().resume_buffer_bytes == 100_000


def _after_receiving(count: int) -> ResumeBuffer:
    buffer = ResumeBuffer()
    assert all(buffer.received() for _ in range(count))
    return buffer


def test_an_ack_is_due_once_for_all_that_came() -> None:
    buffer = _after_receiving(3)
    assert buffer.ack_due() == 3
    assert buffer.ack_due() is None


def test_nothing_is_received_between_the_loss_of_the_link_and_the_sequence() -> None:
    buffer = _after_receiving(3)
    buffer.link_lost()
    assert not buffer.received()
    buffer.sequence(4)
    assert buffer.received()
    assert buffer.ack_due() == 4


def test_duplicates_are_dropped_and_acknowledged_again() -> None:
    buffer = _after_receiving(3)
    assert buffer.ack_due() == 3
    buffer.link_lost()
    buffer.sequence(2)
    assert buffer.ack_due() is None
    assert [buffer.received() for _ in range(3)] == [False, False, True]
    assert buffer.ack_due() == 4


@pytest.mark.parametrize("sequence_id", [0, 5, 2**63 - 1])
def test_a_sequence_that_leaves_a_gap_is_the_peers_mistake(sequence_id: int) -> None:
    buffer = _after_receiving(3)
    buffer.link_lost()
    with pytest.raises(RemoteProtocolError):
        buffer.sequence(sequence_id)
    assert buffer.awaits_sequence


def test_a_second_cut_in_the_middle_of_a_replay_is_no_gap() -> None:
    buffer = _after_receiving(10)
    buffer.link_lost()
    buffer.sequence(1)
    assert not buffer.received()
    # Meanwhile the Ack of all ten arrived, so the peer goes on with its eleventh.
    buffer.link_lost()
    buffer.sequence(11)
    assert buffer.received()
