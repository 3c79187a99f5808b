"""When a server of the bus is left alone: while it answers too late, and after it was lost, for a while each time.

Meanwhile nothing is queued for it, so that an outage costs a try now and then and no memory. Pauses grow up to a
second, also for one that is lost again as soon as it is there, and are drawn from their whole length, so that pods do
not come back in step. Pure: time and chance are arguments. Read ``TRANSITIONS`` first, then ``step``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from protocol.errors import LocalProtocolError

__all__ = ["MAX_PAUSE_S", "STEADY_S", "TRANSITIONS", "Breaker", "Happening", "State", "pause_s", "step", "wait_s"]

# One late answer may be a stall of this process; so many in a row are none.
_LATE_IN_A_ROW: Final = 3
_FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 1.0
STEADY_S: Final = 2.0
"""What was there for so long does not come and go."""
_MAX_DOUBLINGS: Final = 8


class State(Enum):
    """Closed: messages flow, as a current does. Open: none does. Trying: one question finds out."""

    CLOSED = auto()
    OPEN = auto()
    TRYING = auto()


class Happening(Enum):
    """What moves it.

    ANSWERED: everything that was sent has its answer. LATE: it did not in its time. TRIPPED: late once too often.
    LOST: no connection, or none any more. TIME_UP: the pause is over.
    """

    ANSWERED = auto()
    LATE = auto()
    TRIPPED = auto()
    LOST = auto()
    TIME_UP = auto()


TRANSITIONS: Final[Mapping[State, Mapping[Happening, State]]] = MappingProxyType(
    {
        State.CLOSED: {
            Happening.ANSWERED: State.CLOSED,
            Happening.LATE: State.CLOSED,
            Happening.TRIPPED: State.OPEN,
            Happening.LOST: State.OPEN,
        },
        # What was sent before it opened says nothing of now.
        State.OPEN: {
            Happening.ANSWERED: State.OPEN,
            Happening.LATE: State.OPEN,
            Happening.LOST: State.OPEN,
            Happening.TIME_UP: State.TRYING,
        },
        State.TRYING: {
            Happening.ANSWERED: State.CLOSED,
            Happening.LATE: State.OPEN,
            Happening.LOST: State.OPEN,
        },
    }
)


@dataclass(frozen=True, slots=True)
class Breaker:
    """It begins open, and may be tried at once.

    ``late``: answers in a row that were. ``pauses`` in a row since it was closed for a while, ``until_s``: the end of
    this one, or of that while.
    """

    state: State = State.OPEN
    late: int = 0
    pauses: int = 0
    until_s: float = float("-inf")


def wait_s(breaker: Breaker, now_s: float) -> float:
    """Seconds until it may be tried; 0 when it may now, or is not open."""
    return max(0.0, breaker.until_s - now_s) if breaker.state is State.OPEN else 0.0


def pause_s(pauses: int, chance: float) -> float:
    """How long to wait after so many waits in a row; ``chance`` is between 0 and 1."""
    return chance * min(_FIRST_PAUSE_S * 2.0 ** min(pauses, _MAX_DOUBLINGS), MAX_PAUSE_S)


def step(breaker: Breaker, happening: Happening, *, now_s: float, chance: float) -> Breaker:
    """The breaker after ``happening``. Raises LocalProtocolError, which names both, for a pair not in the table."""
    late = breaker.late + 1 if happening is Happening.LATE else 0
    if breaker.state is State.CLOSED and late >= _LATE_IN_A_ROW:
        happening = Happening.TRIPPED
    try:
        state = TRANSITIONS[breaker.state][happening]
    except KeyError:
        raise LocalProtocolError(f"{happening.name} cannot happen to a breaker that is {breaker.state.name}") from None
    if state is State.CLOSED:
        until_s = breaker.until_s if breaker.state is state else now_s + STEADY_S
        return Breaker(state, late, breaker.pauses, until_s)
    if state is State.TRYING or (breaker.state is State.OPEN and happening is not Happening.LOST):
        return replace(breaker, state=state)
    was_steady = breaker.state is State.CLOSED and now_s >= breaker.until_s
    pauses = 0 if was_steady else breaker.pauses
    return Breaker(state, pauses=pauses + 1, until_s=now_s + pause_s(pauses, chance))
