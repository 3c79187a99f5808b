"""Which frame may come when, as a table (RFC 6455 sections 5.2 and 5.4).

The first byte of a frame holds all that decides it: the final bit, three reserved bits and the opcode.
This module must not know lengths, masks or payloads. Read ``TRANSITIONS`` first.
"""

from enum import IntEnum
from typing import Final

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "FIN",
    "OPCODE",
    "PING",
    "PONG",
    "TEXT",
    "TRANSITIONS",
    "State",
    "why_not",
]

FIN: Final = 0x80
_RESERVED_BITS: Final = 0x70
OPCODE: Final = 0x0F
CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8  # this and what follows are control frames
PING: Final = 9
PONG: Final = 10


class State(IntEnum):
    """Where a reader stands between two frames."""

    BETWEEN_MESSAGES = 0
    IN_TEXT = 1
    IN_BINARY = 2
    ENDED = 3


def _inside_message(state: State) -> dict[int, State]:
    return {
        CONTINUATION: state,
        FIN | CONTINUATION: State.BETWEEN_MESSAGES,
        FIN | PING: state,
        FIN | PONG: state,
        FIN | CLOSE: State.ENDED,
    }


# A first byte that is missing is a protocol error.
TRANSITIONS: Final[dict[State, dict[int, State]]] = {
    State.BETWEEN_MESSAGES: {
        TEXT: State.IN_TEXT,
        BINARY: State.IN_BINARY,
        FIN | TEXT: State.BETWEEN_MESSAGES,
        FIN | BINARY: State.BETWEEN_MESSAGES,
        FIN | PING: State.BETWEEN_MESSAGES,
        FIN | PONG: State.BETWEEN_MESSAGES,
        FIN | CLOSE: State.ENDED,
    },
    State.IN_TEXT: _inside_message(State.IN_TEXT),
    State.IN_BINARY: _inside_message(State.IN_BINARY),
    State.ENDED: {},
}


def why_not(first: int) -> str:
    """What is wrong with a first byte that the table does not have."""
    opcode = first & OPCODE
    if first & _RESERVED_BITS:
        return "A reserved bit is set."
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        return "The opcode is reserved."
    if opcode >= CLOSE:
        return "The control frame is fragmented."
    if opcode == CONTINUATION:
        return "There is no message to continue."
    return "A message begins inside another one."
