"""Attempts: so many at once, then as many in each window, per key, and only so many keys."""

import pytest

from signaling.attempts import Attempts


def attempts(bounds: list[str], *, max_keys: int = 10) -> Attempts:
    return Attempts(
        limit=3, limit_bound="max_tries", window_s=30.0, max_keys=max_keys, keys_bound="max_keys", reached=bounds.append
    )


def test_so_many_may_come_at_once_and_the_next_one_waits() -> None:
    bounds: list[str] = []
    tried = attempts(bounds)
    assert [tried.wait_s("ann", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(10.0)]
    assert bounds == ["max_tries"]
    assert tried.wait_s("abe", 100.0) == 0.0


def test_who_waits_as_long_as_he_was_told_may_try_again_once() -> None:
    tried = attempts([])
    for _ in range(3):
        tried.wait_s("ann", 100.0)
    wait_s = tried.wait_s("ann", 104.0)
    assert wait_s == pytest.approx(6.0)
    assert tried.wait_s("ann", 104.0 + wait_s) == 0.0
    assert tried.wait_s("ann", 104.0 + wait_s) == pytest.approx(10.0)


def test_who_keeps_trying_is_not_kept_out_for_longer() -> None:
    tried = attempts([])
    for _ in range(3):
        tried.wait_s("ann", 100.0)
    for now_s in range(101, 110):
        assert tried.wait_s("ann", float(now_s)) > 0
    assert tried.wait_s("ann", 110.0) == 0.0


def test_in_no_window_are_there_more_than_twice_as_many() -> None:
    tried = attempts([])
    times = [now_s / 10 for now_s in range(1_000) if tried.wait_s("ann", now_s / 10) == 0.0]
    assert max(sum(start <= at < start + 30 for at in times) for start in times) == 6 - 1
    assert len(times) == 3 + 9


def test_after_a_window_of_rest_all_is_as_it_was() -> None:
    tried = attempts([])
    for start_s in (0.0, 30.0, 1_000.0):
        assert [tried.wait_s("ann", start_s) for _ in range(3)] == [0.0] * 3
        assert tried.wait_s("ann", start_s) > 0


def test_only_so_many_keys_are_remembered() -> None:
    bounds: list[str] = []
    tried = attempts(bounds, max_keys=2)
    for key in ("ann", "abe", "ann", "amy"):
        tried.wait_s(key, 0.0)
    assert (len(tried), bounds) == (2, ["max_keys"])
    # The one that tried longest ago was forgotten, the others are not.
    assert [tried.wait_s("ann", 0.0), tried.wait_s("ann", 0.0) > 0] == [0.0, True]
