"""Which frame may come when: every state with every first byte."""

import copy

import pytest

from protocol.websocket.events import CloseFrame, Data, PingFrame, PongFrame, Violation
from protocol.websocket.frames import FrameReader
from protocol.websocket.states import TRANSITIONS, State

from .client import BINARY, CLOSE, CONTINUATION, FIN, MASK, MAX_PAYLOAD_BYTES, PING, PONG, TEXT, frame

LEADING_INTO = {
    State.BETWEEN_MESSAGES: b"",
    State.IN_TEXT: frame(TEXT, b"begun", fin=False),
    State.IN_BINARY: frame(BINARY, b"begun", fin=False),
    State.ENDED: frame(CLOSE),
}
EVENTS = {CONTINUATION: Data, TEXT: Data, BINARY: Data, CLOSE: CloseFrame, PING: PingFrame, PONG: PongFrame}


def in_state(state: State) -> FrameReader:
    reader = FrameReader(MAX_PAYLOAD_BYTES)
    reader.feed(LEADING_INTO[state])
    return reader


def state_of(reader: FrameReader) -> State:
    """Found from outside, by what the reader takes next."""
    if copy.copy(reader).feed(frame(TEXT, b"x")) == [Data(b"x")]:
        return State.BETWEEN_MESSAGES
    if copy.copy(reader).feed(frame(CONTINUATION, b"\xff")) == [Data(b"\xff")]:
        return State.IN_BINARY
    if copy.copy(reader).feed(frame(CONTINUATION, b"x")) == [Data(b"x")]:
        return State.IN_TEXT
    assert reader.feed(frame(PING)) == []
    return State.ENDED


def allowed(state: State, first: int) -> bool:
    """The rules of RFC 6455 sections 5.2, 5.4 and 5.5 as sentences."""
    opcode = first & 0x0F
    if state is State.ENDED or first & 0x70:
        return False
    if opcode in (CLOSE, PING, PONG):
        return first >= FIN
    inside = state in (State.IN_TEXT, State.IN_BINARY)
    return inside if opcode == CONTINUATION else opcode in (TEXT, BINARY) and not inside


@pytest.mark.parametrize("state", State)
def test_every_first_byte_is_taken_or_refused_as_the_rfc_says(state: State) -> None:
    for first in range(256):
        reader = in_state(state)
        events = reader.feed(bytes((first, 0x80)) + MASK)
        if allowed(state, first):
            assert [type(event) for event in events] == [EVENTS[first & 0x0F]]
            assert state_of(reader) is TRANSITIONS[state][first]
            continue
        assert first not in TRANSITIONS[state]
        assert state_of(reader) is State.ENDED
        if state is State.ENDED:
            assert events == []
        else:
            assert [event.code for event in events if isinstance(event, Violation)] == [1002]
            assert len(events) == 1


@pytest.mark.parametrize("state", State)
def test_the_frames_that_lead_into_a_state_do(state: State) -> None:
    assert state_of(in_state(state)) is state


def test_the_table_has_a_row_for_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_each_fault_is_named() -> None:
    named = {
        b"\xc1": "A reserved bit is set.",
        b"\x83": "The opcode is reserved.",
        b"\x8b": "The opcode is reserved.",
        b"\x09": "The control frame is fragmented.",
        b"\x80": "There is no message to continue.",
    }
    for first, detail in named.items():
        assert in_state(State.BETWEEN_MESSAGES).feed(first + b"\x80") == [Violation(1002, detail)]
    inside = in_state(State.IN_TEXT).feed(frame(TEXT, b"x"))
    assert inside == [Violation(1002, "A message begins inside another one.")]
