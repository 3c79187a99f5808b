"""When a server is left alone: every (state, happening) pair, and the pauses."""

from itertools import product

import pytest

from protocol.errors import LocalProtocolError
from signaling.bus.breaker import MAX_PAUSE_S, STEADY_S, TRANSITIONS, Breaker, Happening, State, pause_s, step, wait_s

IN = {state: Breaker(state) for state in State}
CLOSED = IN[State.CLOSED]


def after(breaker: Breaker, *happenings: Happening, now_s: float = 0.0, chance: float = 1.0) -> Breaker:
    for happening in happenings:
        breaker = step(breaker, happening, now_s=now_s, chance=chance)
    return breaker


@pytest.mark.parametrize(("state", "happening"), list(product(State, Happening)))
def test_every_pair_is_in_the_table_or_an_error_that_names_both(state: State, happening: Happening) -> None:
    expected = TRANSITIONS[state].get(happening)
    if expected is not None:
        assert after(IN[state], happening).state is expected
        return
    with pytest.raises(LocalProtocolError, match=f"{happening.name} .* {state.name}"):
        after(IN[state], happening)


def test_it_begins_open_and_may_be_tried_at_once() -> None:
    assert (Breaker().state, wait_s(Breaker(), 0.0)) == (State.OPEN, 0.0)


def test_three_late_answers_in_a_row_open_it_and_two_do_not() -> None:
    two = after(CLOSED, Happening.LATE, Happening.LATE)
    assert two.state is State.CLOSED
    assert after(two, Happening.ANSWERED, Happening.LATE, Happening.LATE).state is State.CLOSED
    assert after(two, Happening.LATE).state is State.OPEN


def test_one_late_answer_is_enough_while_it_is_tried() -> None:
    assert after(IN[State.TRYING], Happening.LATE).state is State.OPEN


def test_what_comes_late_while_it_is_open_makes_the_pause_no_longer() -> None:
    opened = after(CLOSED, Happening.LOST)
    assert after(opened, *[Happening.LATE] * 50, Happening.ANSWERED, now_s=9.0) == opened


def test_pauses_double_up_to_a_second_and_begin_anew_once_it_was_closed_for_a_while() -> None:
    breaker, now_s, pauses = after(CLOSED, Happening.LOST), 0.0, []
    for _ in range(40):
        pauses.append(wait_s(breaker, now_s))
        now_s += pauses[-1]
        breaker = after(breaker, Happening.TIME_UP, Happening.LOST, now_s=now_s)
    assert pauses[:6] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0])
    assert max(pauses) == pytest.approx(MAX_PAUSE_S)
    well = after(breaker, Happening.TIME_UP, Happening.ANSWERED)
    assert wait_s(after(well, Happening.LOST), 0.0) == pytest.approx(MAX_PAUSE_S)
    # However often it has answered since.
    later = after(well, Happening.ANSWERED, Happening.LATE, Happening.ANSWERED, now_s=STEADY_S - 0.1)
    assert wait_s(after(later, Happening.LOST, now_s=STEADY_S), STEADY_S) == pytest.approx(0.05)


def test_one_that_is_lost_as_soon_as_it_is_there_is_left_alone_for_longer_each_time() -> None:
    breaker, now_s, pauses = after(CLOSED, Happening.LOST), 0.0, []
    for _ in range(8):
        pauses.append(wait_s(breaker, now_s))
        now_s += pauses[-1]
        breaker = after(breaker, Happening.TIME_UP, Happening.ANSWERED, now_s=now_s)
        now_s += STEADY_S / 2
        breaker = after(breaker, Happening.LOST, now_s=now_s)
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_a_pause_is_drawn_from_all_of_its_length() -> None:
    assert [pause_s(0, chance) for chance in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.025, 0.05])


def test_only_what_is_open_is_waited_for() -> None:
    assert wait_s(after(CLOSED, Happening.LOST, Happening.TIME_UP, now_s=10.0), 10.0) == 0.0
