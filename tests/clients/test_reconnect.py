"""When a client tries again, and every (state, happening) pair."""

import itertools
import random

import pytest

from clients.reconnect import TRANSITIONS, Happening, Link, ReconnectPolicy, next_state


def test_a_delay_lies_anywhere_between_nothing_and_its_doubling_bound() -> None:
    policy = ReconnectPolicy(base_s=0.5, cap_s=30.0)
    bounds = [policy.delay_s(attempt, lambda _, high: high) for attempt in range(8)]
    assert bounds == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert policy.delay_s(3, lambda low, _: low) == 0.0


def test_delays_of_many_clients_spread_over_the_whole_range() -> None:
    policy, source = ReconnectPolicy(base_s=1.0, cap_s=30.0), random.Random(7)
    delays = [policy.delay_s(10, source.uniform) for _ in range(1_000)]
    assert min(delays) < 1.0
    assert max(delays) > 29.0
    assert 14.0 < sum(delays) / len(delays) < 16.0


def test_a_very_late_try_does_not_overflow() -> None:
    assert ReconnectPolicy().delay_s(1_000_000, lambda _, high: high) == 30.0


def test_zero_attempts_means_never_giving_up() -> None:
    assert not ReconnectPolicy(max_attempts=0).gives_up(1_000_000)
    assert not ReconnectPolicy(max_attempts=3).gives_up(2)
    assert ReconnectPolicy(max_attempts=3).gives_up(3)


@pytest.mark.parametrize(("state", "happening"), list(itertools.product(Link, Happening)))
def test_every_state_and_happening_is_in_the_table_or_an_error_that_names_both(
    state: Link, happening: Happening
) -> None:
    expected = TRANSITIONS[state].get(happening)
    if expected is not None:
        assert next_state(state, happening) is expected
        return
    with pytest.raises(RuntimeError, match=f"{happening.value} .* {state.value}"):
        next_state(state, happening)


def test_a_closed_client_stays_closed() -> None:
    assert set(TRANSITIONS[Link.CLOSED].values()) == {Link.CLOSED}
