"""What becomes of a child: every pair of state and event, how long it waits, and when it is given up."""

import pytest

from protocol.errors import LocalProtocolError
from signaling.workers.plan import TRANSITIONS, Act, ChildEvent, ChildLimits, ChildState, Life, begin, step

LIMITS = ChildLimits(start_s=30.0, end_s=15.0, hang_s=15.0, back_off_s=5.0, max_restarts=3, window_s=60.0)
NOW_S = 1_000.0
UP = Life(ChildState.UP, None, has_worked=True)
_S, _E = ChildState, ChildEvent
# Written out again, by hand: the table must say this and nothing else.
EXPECTED = {
    (_S.STARTING, _E.READY): (_S.UP, Act.NOTHING),
    (_S.STARTING, _E.ENDED): (_S.BACKING_OFF, Act.NOTHING),
    (_S.STARTING, _E.LOOPED): (_S.GONE, Act.GIVE_UP),
    (_S.STARTING, _E.DUE): (_S.STARTING, Act.KILL),
    (_S.STARTING, _E.STOP): (_S.DRAINING, Act.TERMINATE),
    (_S.UP, _E.READY): (_S.UP, Act.NOTHING),
    (_S.UP, _E.ENDED): (_S.BACKING_OFF, Act.NOTHING),
    (_S.UP, _E.LOOPED): (_S.GONE, Act.GIVE_UP),
    (_S.UP, _E.DUE): (_S.UP, Act.KILL),
    (_S.UP, _E.STOP): (_S.DRAINING, Act.TERMINATE),
    (_S.BACKING_OFF, _E.DUE): (_S.STARTING, Act.START),
    (_S.BACKING_OFF, _E.STOP): (_S.GONE, Act.NOTHING),
    (_S.DRAINING, _E.READY): (_S.DRAINING, Act.NOTHING),
    (_S.DRAINING, _E.ENDED): (_S.GONE, Act.NOTHING),
    (_S.DRAINING, _E.LOOPED): (_S.GONE, Act.NOTHING),
    (_S.DRAINING, _E.DUE): (_S.DRAINING, Act.KILL),
    (_S.DRAINING, _E.STOP): (_S.DRAINING, Act.NOTHING),
    (_S.GONE, _E.STOP): (_S.GONE, Act.NOTHING),
}


@pytest.mark.parametrize("event", ChildEvent)
@pytest.mark.parametrize("state", ChildState)
def test_every_state_knows_every_event_or_says_that_it_cannot_be(state: ChildState, event: ChildEvent) -> None:
    life = Life(state, NOW_S, has_worked=True)
    expected = EXPECTED.get((state, event))
    if expected is None:
        assert event not in TRANSITIONS[state]
        with pytest.raises(LocalProtocolError, match=f"{state.name} cannot be {event.name}"):
            step(life, event, NOW_S, LIMITS)
        return
    after, act = step(life, event, NOW_S, LIMITS)
    assert (after.state, act) == expected


def test_what_a_state_waits_for_has_its_time() -> None:
    life = begin(NOW_S, LIMITS)
    assert life == Life(ChildState.STARTING, NOW_S + 30.0)
    up, _ = step(life, ChildEvent.READY, NOW_S + 1, LIMITS)
    assert (up.due_s, up.has_worked) == (NOW_S + 16, True)
    # It says so again; killed, it is killed again if that has not ended it.
    assert step(up, ChildEvent.READY, NOW_S + 2, LIMITS)[0].due_s == NOW_S + 17
    assert step(up, ChildEvent.DUE, NOW_S + 16, LIMITS)[0].due_s == NOW_S + 31
    draining, _ = step(up, ChildEvent.STOP, NOW_S + 2, LIMITS)
    assert draining.due_s == NOW_S + 17
    # Said twice it is no later; killed, it is killed again if that has not ended it.
    assert step(draining, ChildEvent.STOP, NOW_S + 3, LIMITS)[0].due_s == NOW_S + 17
    assert step(draining, ChildEvent.DUE, NOW_S + 17, LIMITS)[0].due_s == NOW_S + 32
    assert step(draining, ChildEvent.ENDED, NOW_S + 17, LIMITS)[0].due_s is None


def test_each_end_in_a_row_waits_twice_as_long_up_to_a_bound_and_then_it_is_given_up() -> None:
    limits = ChildLimits(start_s=30.0, end_s=15.0, hang_s=15.0, back_off_s=5.0, max_restarts=8, window_s=60.0)
    life, now_s, waits = UP, NOW_S, []
    for _ in range(8):
        life, act = step(life, ChildEvent.ENDED, now_s, limits)
        assert (life.state, act) == (ChildState.BACKING_OFF, Act.NOTHING)
        assert life.due_s is not None
        waits.append(round(life.due_s - now_s, 3))
        now_s = life.due_s
        life, act = step(life, ChildEvent.DUE, now_s, limits)
        assert act is Act.START
        life, _ = step(life, ChildEvent.READY, now_s, limits)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert life.restarts == 8
    life, act = step(life, ChildEvent.ENDED, now_s, limits)
    assert (life.state, act) == (ChildState.GONE, Act.GIVE_UP)


def test_ends_of_long_ago_do_not_count() -> None:
    life, now_s = UP, NOW_S
    for _ in range(50):
        life, act = step(life, ChildEvent.ENDED, now_s, LIMITS)
        assert act is Act.NOTHING
        assert life.due_s == pytest.approx(now_s + 0.1)
        life, _ = step(life, ChildEvent.DUE, now_s + 0.1, LIMITS)
        life, _ = step(life, ChildEvent.READY, now_s + 1, LIMITS)
        now_s += 60.0


def test_one_that_has_never_worked_is_not_tried_again() -> None:
    life, act = step(begin(NOW_S, LIMITS), ChildEvent.ENDED, NOW_S, LIMITS)
    assert (life.state, act) == (ChildState.GONE, Act.GIVE_UP)


def test_one_that_ends_as_it_was_told_to_is_not_counted() -> None:
    draining = Life(ChildState.DRAINING, NOW_S, ends_s=(NOW_S,) * 3, has_worked=True)
    life, act = step(draining, ChildEvent.ENDED, NOW_S, LIMITS)
    assert (life.state, act, len(life.ends_s)) == (ChildState.GONE, Act.NOTHING, 3)
