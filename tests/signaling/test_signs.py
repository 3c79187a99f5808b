"""How slow a phone's link is: what was told lately counts, and one that was slow is forgotten soon."""

from typing import cast

import pytest

from fitting.mode import ModeLimits
from protocol.contract.sessions import Heartbeat
from signaling.flows.phones import Phone
from signaling.flows.watch import Watch
from signaling.hub import Caller

LIMITS = ModeLimits()


def phone(*told: tuple[float, int]) -> Phone:
    found = Phone(cast(Caller, None), generation=1, settled=0, heard_s=0.0)
    for at_s, rtt_ms in told:
        found.beat(Heartbeat(device="d1", rtt_ms=rtt_ms), at_s)
    return found


@pytest.mark.parametrize(
    ("told", "now_s", "rtt_ms"),
    [
        ((), 0.0, None),
        (((0.0, 9_000),), 9.9, 9_000),
        # Nothing newer is known.
        (((0.0, 9_000),), 60.0, 9_000),
        (((0.0, 9_000), (5.0, 100)), 9.9, 9_000),
        (((0.0, 9_000), (5.0, 100)), 10.0, 100),
        # One in twenty is the other 5 %.
        (((0.0, 9_000), *((0.1 * n, 100) for n in range(1, 20))), 5.0, 100),
        (((0.0, 9_000), (0.1, 9_000), *((0.1 * n, 100) for n in range(2, 20))), 5.0, 9_000),
    ],
)
def test_the_round_trips_of_the_last_seconds_count_and_the_newest(
    told: tuple[tuple[float, int], ...], now_s: float, rtt_ms: int | None
) -> None:
    assert phone(*told).recent_rtt_ms(now_s, 10.0) == rtt_ms


def test_a_link_is_slow_since_it_was_first_seen_to_be_and_for_as_long_as_it_stays_so() -> None:
    watch, carried = Watch(1, "ann", "live", 0.0, 0.0, 0.0), phone((0.0, 9_000))
    seen = [watch.signs(carried, now_s, LIMITS).slow_s for now_s in (1.0, 4.0)]
    carried.beat(Heartbeat(device="d1", rtt_ms=100), 5.0)
    seen += [watch.signs(carried, now_s, LIMITS).slow_s for now_s in (9.0, 10.0)]
    carried.beat(Heartbeat(device="d1", rtt_ms=1_501), 12.0)
    seen += [watch.signs(carried, 12.0, LIMITS).slow_s, watch.signs(None, 13.0, LIMITS).slow_s]
    seen.append(watch.signs(carried, 14.0, LIMITS).slow_s)
    assert seen == [0.0, 3.0, 8.0, None, 0.0, None, 0.0]


def test_a_round_trip_at_the_limit_is_none_too_slow() -> None:
    watch = Watch(1, "ann", "live", 0.0, 0.0, 0.0)
    assert watch.signs(phone((0.0, LIMITS.rtt_to_go_on_ms)), 1.0, LIMITS).slow_s is None


def test_one_answer_that_was_late_keeps_live_work_from_beginning_for_seconds_only() -> None:
    """Of a phone that has slept between a sign of life and its answer."""
    carried = phone((0.0, 36_000), *((5.0 * n, 100) for n in range(1, 5)))
    assert carried.signs(19.9).rtt_p95_ms == 36_000
    assert carried.signs(20.0).rtt_p95_ms == 100
