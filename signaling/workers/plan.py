"""What becomes of one child of the supervisor, a worker or the embedded Valkey, as a table; time is an argument.

This module must not know what a process is. Read ``TRANSITIONS`` first, then ``step``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from protocol.errors import LocalProtocolError

__all__ = ["TRANSITIONS", "Act", "ChildEvent", "ChildLimits", "ChildState", "Life", "begin", "step"]


class ChildState(Enum):
    """Where a child is. ``GONE`` is the end: nobody starts it again."""

    STARTING = auto()
    UP = auto()
    BACKING_OFF = auto()
    DRAINING = auto()
    GONE = auto()


class ChildEvent(Enum):
    """What can happen to it.

    ``READY``: it says that it works, for the first time or still. ``ENDED``: its process has ended. ``LOOPED``: the
    same, once too often or before it had ever worked. ``DUE``: what it is in has lasted for its time. ``STOP``:
    everything is to end.
    """

    READY = auto()
    ENDED = auto()
    LOOPED = auto()
    DUE = auto()
    STOP = auto()


class Act(Enum):
    """What is to be done about it. ``GIVE_UP``: the whole server ends."""

    NOTHING = auto()
    START = auto()
    TERMINATE = auto()
    KILL = auto()
    GIVE_UP = auto()


_S, _E = ChildState, ChildEvent
# What is missing cannot happen: none that has no process ends or speaks.
TRANSITIONS: Final[Mapping[ChildState, Mapping[ChildEvent, tuple[ChildState, Act]]]] = {
    _S.STARTING: {
        _E.READY: (_S.UP, Act.NOTHING),
        _E.ENDED: (_S.BACKING_OFF, Act.NOTHING),
        _E.LOOPED: (_S.GONE, Act.GIVE_UP),
        _E.DUE: (_S.STARTING, Act.KILL),
        _E.STOP: (_S.DRAINING, Act.TERMINATE),
    },
    _S.UP: {
        _E.READY: (_S.UP, Act.NOTHING),
        _E.ENDED: (_S.BACKING_OFF, Act.NOTHING),
        _E.LOOPED: (_S.GONE, Act.GIVE_UP),
        _E.DUE: (_S.UP, Act.KILL),
        _E.STOP: (_S.DRAINING, Act.TERMINATE),
    },
    _S.BACKING_OFF: {
        _E.DUE: (_S.STARTING, Act.START),
        _E.STOP: (_S.GONE, Act.NOTHING),
    },
    _S.DRAINING: {
        # It had said so before it was told to end.
        _E.READY: (_S.DRAINING, Act.NOTHING),
        _E.ENDED: (_S.GONE, Act.NOTHING),
        _E.LOOPED: (_S.GONE, Act.NOTHING),
        _E.DUE: (_S.DRAINING, Act.KILL),
        _E.STOP: (_S.DRAINING, Act.NOTHING),
    },
    _S.GONE: {
        _E.STOP: (_S.GONE, Act.NOTHING),
    },
}


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """``start_s``: until it must work. ``end_s``: between being told to end and being killed. ``hang_s``: until it must
    have said once more that it works.

    ``back_off_s``: the longest wait before it is started again; the first is a fiftieth of it. ``max_restarts`` within
    ``window_s``; one more, and it is given up.
    """

    start_s: float
    end_s: float
    hang_s: float
    back_off_s: float
    max_restarts: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Life:
    """One child. ``due_s``: when what it is in has lasted for its time, None: it may last.

    ``ends_s``: when its process ended unasked, the latest last, those within the window. ``restarts``: how often it was
    started again in all. ``has_worked``: whether it has ever been up.
    """

    state: ChildState
    due_s: float | None
    ends_s: tuple[float, ...] = ()
    restarts: int = 0
    has_worked: bool = False


def begin(now_s: float, limits: ChildLimits) -> Life:
    """A child that is being started for the first time."""
    return Life(ChildState.STARTING, now_s + limits.start_s)


def step(life: Life, event: ChildEvent, now_s: float, limits: ChildLimits) -> tuple[Life, Act]:
    """What follows. Raises LocalProtocolError for what cannot happen."""
    is_unasked = event is ChildEvent.ENDED and life.state in (ChildState.STARTING, ChildState.UP)
    if is_unasked:
        recent = tuple(at_s for at_s in life.ends_s if now_s - at_s < limits.window_s)
        life = replace(life, ends_s=(*recent, now_s))
        if not life.has_worked or len(life.ends_s) > limits.max_restarts:
            event = ChildEvent.LOOPED
    try:
        state, act = TRANSITIONS[life.state][event]
    except KeyError:
        raise LocalProtocolError(f"a child that is {life.state.name} cannot be {event.name}") from None
    return _entered(life, state, act, now_s, limits), act


def _entered(life: Life, state: ChildState, act: Act, now_s: float, limits: ChildLimits) -> Life:
    if state is life.state and act is Act.NOTHING and state is not ChildState.UP:
        return life
    due_s: float | None = None
    if state is ChildState.STARTING:
        due_s = now_s + limits.start_s
    elif state is ChildState.UP:
        due_s = now_s + limits.hang_s
    elif state is ChildState.BACKING_OFF:
        due_s = now_s + _wait_s(len(life.ends_s), limits)
    elif state is ChildState.DRAINING:
        due_s = now_s + limits.end_s
    return replace(
        life,
        state=state,
        due_s=due_s,
        restarts=life.restarts + (act is Act.START),
        has_worked=life.has_worked or state is ChildState.UP,
    )


def _wait_s(ends: int, limits: ChildLimits) -> float:
    """Twice as long each time, so that what cannot work does not take the machine from what does."""
    return min(limits.back_off_s, limits.back_off_s / 50 * 2.0 ** min(ends - 1, 30))
