"""The states of a hub connection and what moves it between them, the same for server and client.

Messages, pings and keep-alives change nothing, so they are not in the table. This module must not know
bytes or clocks. Read ``TRANSITIONS`` first.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from protocol.errors import LocalProtocolError

__all__ = ["TRANSITIONS", "Kind", "State", "next_state"]


class State(Enum):
    """Where a connection stands. Detached: its socket died, and the peer may come back with another."""

    AWAITING_HANDSHAKE = auto()
    OPEN = auto()
    DETACHED = auto()
    CLOSED = auto()


class Kind(Enum):
    """What can move a connection from one state to another."""

    HANDSHAKE_ACCEPTED = auto()
    HANDSHAKE_REFUSED = auto()
    PEER_CLOSED = auto()
    PEER_BROKE_PROTOCOL = auto()
    TIMED_OUT = auto()
    CLOSED_HERE = auto()
    DETACHED = auto()
    ATTACHED = auto()


TRANSITIONS: Final[Mapping[State, Mapping[Kind, State]]] = MappingProxyType(
    {
        State.AWAITING_HANDSHAKE: {
            Kind.HANDSHAKE_ACCEPTED: State.OPEN,
            Kind.HANDSHAKE_REFUSED: State.CLOSED,
            Kind.PEER_CLOSED: State.CLOSED,
            Kind.TIMED_OUT: State.CLOSED,
            Kind.CLOSED_HERE: State.CLOSED,
        },
        State.OPEN: {
            Kind.PEER_CLOSED: State.CLOSED,
            Kind.PEER_BROKE_PROTOCOL: State.CLOSED,
            Kind.TIMED_OUT: State.CLOSED,
            Kind.CLOSED_HERE: State.CLOSED,
            Kind.DETACHED: State.DETACHED,
            # The new socket often comes before the old one is seen to be dead.
            Kind.ATTACHED: State.OPEN,
        },
        State.DETACHED: {
            Kind.TIMED_OUT: State.CLOSED,
            Kind.CLOSED_HERE: State.CLOSED,
            Kind.ATTACHED: State.OPEN,
        },
        State.CLOSED: {},
    }
)


def next_state(state: State, kind: Kind) -> State:
    """One step through the table. Raises LocalProtocolError for a pair that is not in it."""
    try:
        return TRANSITIONS[state][kind]
    except KeyError:
        raise LocalProtocolError(f"{kind.name} cannot happen in state {state.name}") from None
