"""When the push service is left alone: after an outage has shown, and for as long as the service itself asks for it.

Whatever is to be sent meanwhile is told at once to come later, so that an outage costs one request now and then and no
queue. A pause doubles with every try that fails, up to a minute; one try at a time finds out whether it is over. Pure:
time is an argument. Read ``TRANSITIONS`` first, then ``step``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from protocol.errors import LocalProtocolError

__all__ = ["MAX_PAUSE_S", "TRANSITIONS", "Breaker", "Happening", "State", "step", "wait_s"]

# So many failures in a row are an outage and no bad luck.
_FAILURES: Final = 5
_FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 60.0
_MAX_DOUBLINGS: Final = 8


class State(Enum):
    """Closed: pushes flow, as a current does. Open: none does. Trying: one is on its way to find out."""

    CLOSED = auto()
    OPEN = auto()
    TRYING = auto()


class Happening(Enum):
    """What moves it.

    ANSWERED: the service did its work, whatever it said. FAILED: it did not. TRIPPED: one failure too many in a row.
    HELD: it asked to be left alone. TIME_UP: a push is due and the pause is over. GIVEN_UP: a send was cancelled.
    """

    ANSWERED = auto()
    FAILED = auto()
    TRIPPED = auto()
    HELD = auto()
    TIME_UP = auto()
    GIVEN_UP = auto()


TRANSITIONS: Final[Mapping[State, Mapping[Happening, State]]] = MappingProxyType(
    {
        State.CLOSED: {
            Happening.ANSWERED: State.CLOSED,
            Happening.FAILED: State.CLOSED,
            Happening.TRIPPED: State.OPEN,
            Happening.HELD: State.OPEN,
            Happening.GIVEN_UP: State.CLOSED,
        },
        # What began before it opened says nothing of the time since.
        State.OPEN: {
            Happening.ANSWERED: State.OPEN,
            Happening.FAILED: State.OPEN,
            Happening.HELD: State.OPEN,
            Happening.TIME_UP: State.TRYING,
            Happening.GIVEN_UP: State.OPEN,
        },
        State.TRYING: {
            Happening.ANSWERED: State.CLOSED,
            Happening.FAILED: State.OPEN,
            Happening.HELD: State.OPEN,
            Happening.GIVEN_UP: State.OPEN,
        },
    }
)


@dataclass(frozen=True, slots=True)
class Breaker:
    """``failures`` in a row while closed, ``pauses`` in a row since it was, ``until_s`` the end of the pause."""

    state: State = State.CLOSED
    failures: int = 0
    pauses: int = 0
    until_s: float = 0.0


def wait_s(breaker: Breaker, now_s: float) -> float:
    """Seconds until a push may be sent, 0 if it may now; while one finds out, the first pause."""
    if breaker.state is State.CLOSED:
        return 0.0
    if breaker.state is State.TRYING:
        return _FIRST_PAUSE_S
    return max(0.0, breaker.until_s - now_s)


def step(breaker: Breaker, happening: Happening, *, now_s: float, held_s: float = 0.0) -> Breaker:
    """The breaker after ``happening``; ``held_s``: for how long the service asked to be left alone.

    Raises LocalProtocolError, which names both, for a pair that is not in the table.
    """
    failures = breaker.failures + 1 if happening is Happening.FAILED else 0
    if breaker.state is State.CLOSED and failures >= _FAILURES:
        happening = Happening.TRIPPED
    try:
        state = TRANSITIONS[breaker.state][happening]
    except KeyError:
        raise LocalProtocolError(f"{happening.name} cannot happen to a breaker that is {breaker.state.name}") from None
    if state is State.CLOSED:
        # A send that was cancelled says nothing of the service, good or bad.
        return breaker if happening is Happening.GIVEN_UP else Breaker(failures=failures)
    if state is State.TRYING or happening is Happening.GIVEN_UP:
        return replace(breaker, state=state)
    return _opened(breaker, happening, now_s, held_s)


def _opened(breaker: Breaker, happening: Happening, now_s: float, held_s: float) -> Breaker:
    """Open for a while: as long as was asked for, and longer each time that a try has failed."""
    own_s, pauses = 0.0, breaker.pauses
    if breaker.state is State.TRYING or happening is Happening.TRIPPED:
        own_s, pauses = _FIRST_PAUSE_S * 2.0 ** min(pauses, _MAX_DOUBLINGS), pauses + 1
    until_s = now_s + min(max(own_s, held_s), MAX_PAUSE_S)
    return Breaker(State.OPEN, pauses=pauses, until_s=max(breaker.until_s, until_s))
