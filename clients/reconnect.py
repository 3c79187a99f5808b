"""When a client tries again, and which states a connection passes through on the way.

Without jitter, clients that one failing server dropped come back in one wave and fail again; full jitter
spreads them over the whole delay (Brooker, "Exponential Backoff And Jitter", 2015). Pure: knows no socket,
no clock and no task. Read ``ReconnectPolicy.delay_s`` first, then ``TRANSITIONS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["TRANSITIONS", "Happening", "Link", "ReconnectPolicy", "next_state"]

_MAX_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How long to wait before the next try.

    ``base_s``: upper bound of the first delay. ``cap_s``: upper bound of every delay.
    ``max_attempts``: tries in a row before giving up; 0 means never give up.
    ``from_start``: the first connect is tried again too, and ``start`` does not wait for it.
    """

    base_s: float = 0.5
    cap_s: float = 30.0
    max_attempts: int = 0
    from_start: bool = False

    def delay_s(self, attempt: int, uniform: Callable[[float, float], float]) -> float:
        """Seconds before try number ``attempt``, counted from 0: anywhere between nothing and the bound."""
        return uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(attempt, _MAX_DOUBLINGS)))

    def gives_up(self, attempt: int) -> bool:
        """Whether try number ``attempt``, counted from 0, is one too many."""
        return 0 < self.max_attempts <= attempt


class Link(Enum):
    """Where a client stands. A closed client stays closed; a new start is a new client."""

    IDLE = "idle"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class Happening(Enum):
    """What moves a client from one state to the next; LOST is also a start that waits for no link."""

    OPENED = "opened"
    LOST = "lost"
    ENDED = "ended"


TRANSITIONS: Final[dict[Link, dict[Happening, Link]]] = {
    Link.IDLE: {
        Happening.OPENED: Link.CONNECTED,
        Happening.LOST: Link.RECONNECTING,
        Happening.ENDED: Link.CLOSED,
    },
    Link.CONNECTED: {Happening.LOST: Link.RECONNECTING, Happening.ENDED: Link.CLOSED},
    Link.RECONNECTING: {Happening.OPENED: Link.CONNECTED, Happening.ENDED: Link.CLOSED},
    Link.CLOSED: {Happening.ENDED: Link.CLOSED},
}


def next_state(state: Link, happening: Happening) -> Link:
    """The state after ``happening``; raises ``RuntimeError`` that names both when the table has no row."""
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        raise RuntimeError(f"{happening.value} cannot happen to a client that is {state.value}") from None
