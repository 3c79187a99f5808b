"""When the push service is left alone: every (state, happening) pair, and the pauses."""

from itertools import product

import pytest

from protocol.errors import LocalProtocolError
from signaling.push_breaker import MAX_PAUSE_S, TRANSITIONS, Breaker, Happening, State, step, wait_s

OPEN = Breaker(State.OPEN, pauses=1, until_s=10.0)
TRYING = Breaker(State.TRYING, pauses=1, until_s=10.0)
IN = {State.CLOSED: Breaker(), State.OPEN: OPEN, State.TRYING: TRYING}


def after(breaker: Breaker, *happenings: Happening, now_s: float = 0.0, held_s: float = 0.0) -> Breaker:
    for happening in happenings:
        breaker = step(breaker, happening, now_s=now_s, held_s=held_s)
    return breaker


@pytest.mark.parametrize(("state", "happening"), list(product(State, Happening)))
def test_every_pair_is_in_the_table_or_an_error_that_names_both(state: State, happening: Happening) -> None:
    expected = TRANSITIONS[state].get(happening)
    if expected is not None:
        assert step(IN[state], happening, now_s=20.0).state is expected
        return
    with pytest.raises(LocalProtocolError, match=f"{happening.name} .* {state.name}"):
        step(IN[state], happening, now_s=20.0)


def test_five_failures_in_a_row_open_it() -> None:
    four = after(Breaker(), *[Happening.FAILED] * 4)
    assert (four.state, wait_s(four, 0.0)) == (State.CLOSED, 0.0)
    five = after(four, Happening.FAILED)
    assert (five.state, wait_s(five, 0.0), wait_s(five, 4.0), wait_s(five, 6.0)) == (State.OPEN, 5.0, 1.0, 0.0)


def test_an_answer_between_failures_begins_the_count_anew() -> None:
    assert after(Breaker(), *[Happening.FAILED] * 4, Happening.ANSWERED, *[Happening.FAILED] * 4).state is State.CLOSED


def test_a_send_that_was_cancelled_changes_no_count() -> None:
    four = after(Breaker(), *[Happening.FAILED] * 4)
    assert after(four, Happening.GIVEN_UP) == four


def test_pauses_double_up_to_a_minute_and_begin_anew_after_an_answer() -> None:
    breaker, now_s, pauses = after(Breaker(), *[Happening.FAILED] * 5), 0.0, []
    for _ in range(40):
        pauses.append(wait_s(breaker, now_s))
        now_s += pauses[-1]
        breaker = after(breaker, Happening.TIME_UP, Happening.FAILED, now_s=now_s)
    assert pauses[:6] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert max(pauses) == MAX_PAUSE_S
    now_s += 60.0
    well = after(breaker, Happening.TIME_UP, Happening.ANSWERED, now_s=now_s)
    assert wait_s(after(well, *[Happening.FAILED] * 5, now_s=now_s), now_s) == 5.0


def test_one_tries_and_the_others_wait() -> None:
    assert wait_s(after(OPEN, Happening.TIME_UP, now_s=10.0), 10.0) == 5.0


def test_a_try_that_was_cancelled_leaves_the_next_one_free() -> None:
    cancelled = after(OPEN, Happening.TIME_UP, Happening.GIVEN_UP, now_s=10.0)
    assert wait_s(cancelled, 10.0) == 0.0


def test_the_late_failures_of_one_outage_make_its_pause_no_longer() -> None:
    opened = after(Breaker(), *[Happening.FAILED] * 5)
    assert after(opened, *[Happening.FAILED] * 10, now_s=1.0) == opened


def test_what_the_service_asks_for_is_kept_to_and_bounded() -> None:
    held = after(Breaker(), Happening.HELD, now_s=100.0, held_s=20.0)
    assert wait_s(held, 100.0) == 20.0
    assert after(held, Happening.ANSWERED, now_s=101.0) == held
    assert wait_s(after(held, Happening.HELD, now_s=101.0, held_s=1.0), 101.0) == 19.0
    assert wait_s(after(Breaker(), Happening.HELD, now_s=0.0, held_s=3_600.0), 0.0) == MAX_PAUSE_S


def test_a_service_that_asks_for_a_second_again_and_again_is_left_alone_for_longer() -> None:
    breaker, now_s, pauses = after(Breaker(), Happening.HELD, held_s=1.0), 0.0, []
    for _ in range(4):
        pauses.append(wait_s(breaker, now_s))
        now_s += pauses[-1]
        breaker = after(breaker, Happening.TIME_UP, Happening.HELD, now_s=now_s, held_s=1.0)
    assert pauses == [1.0, 5.0, 10.0, 20.0]
