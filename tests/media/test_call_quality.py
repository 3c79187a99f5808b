"""Numbers of a call: what each says by itself, and that only what lasts is told; each pair of the table is walked."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.call_quality import TABLE, Lately, Seems, Tendency, Verdict, mean, middle, seems, step, verdict_of
from protocol.contract.calls import ReportQuality

GOOD, FAIR, BAD = Verdict(), Verdict("fair", ("lower_video",)), Verdict("bad", ("audio_only",))
TURNED = Verdict("fair", ("better_network",))
# Beside what was told, which is fair.
REPORTS = {Seems.SAME: FAIR, Seems.WORSE: BAD, Seems.BETTER: GOOD, Seems.OTHERWISE: TURNED}
PENDING = {Lately.WORSE_ONCE: BAD, Lately.BETTER_ONCE: GOOD, Lately.BETTER_TWICE: GOOD, Lately.TURNED_ONCE: TURNED}
TOLD = {
    (Lately.WORSE_ONCE, Seems.WORSE): BAD,
    (Lately.BETTER_TWICE, Seems.BETTER): GOOD,
    (Lately.TURNED_ONCE, Seems.OTHERWISE): TURNED,
}
ANEW = {
    Seems.SAME: Lately.STEADY,
    Seems.WORSE: Lately.WORSE_ONCE,
    Seems.BETTER: Lately.BETTER_ONCE,
    Seems.OTHERWISE: Lately.TURNED_ONCE,
}


def report(**numbers: Any) -> ReportQuality:
    return ReportQuality(visit="v", call_id="c", to=1, **{"loss_permille": 0, "jitter_ms": 5} | numbers)


@pytest.mark.parametrize("lately", Lately)
@pytest.mark.parametrize("seen", Seems)
def test_each_pair_of_the_table(lately: Lately, seen: Seems) -> None:
    assert TABLE[lately].keys() == set(Seems)
    after = step(Tendency(FAIR, lately, PENDING.get(lately, FAIR)), REPORTS[seen])
    if (lately, seen) in TOLD:
        assert after == Tendency(TOLD[lately, seen])
    elif (lately, seen) == (Lately.BETTER_ONCE, Seems.BETTER):
        assert (after.told, after.lately) == (FAIR, Lately.BETTER_TWICE)
    else:
        assert (after.told, after.lately) == (FAIR, ANEW[seen])


def after(*verdicts: Verdict, told: Verdict = GOOD) -> Verdict:
    tendency = Tendency(told)
    for one in verdicts:
        tendency = step(tendency, one)
    return tendency.told


def test_worse_is_told_sooner_than_better_and_once_is_never_told() -> None:
    assert after(BAD) == GOOD
    assert after(BAD, BAD) == BAD
    assert after(BAD, GOOD, BAD, GOOD, BAD) == GOOD
    assert after(GOOD, GOOD, told=BAD) == BAD
    assert after(GOOD, GOOD, GOOD, told=BAD) == GOOD


def test_what_is_told_of_several_is_what_all_of_them_bear_out() -> None:
    assert after(BAD, FAIR) == FAIR
    assert after(FAIR, BAD) == FAIR
    assert after(GOOD, FAIR, GOOD, told=BAD) == FAIR
    assert after(TURNED, TURNED, told=FAIR) == TURNED


@given(st.lists(st.sampled_from([GOOD, FAIR, BAD, TURNED]), max_size=40))
def test_nothing_is_told_twice_and_nothing_that_was_not_reported(verdicts: list[Verdict]) -> None:
    tendency, told = Tendency(), [GOOD]
    for number, one in enumerate(verdicts):
        before, tendency = tendency, step(tendency, one)
        if tendency.told != before.told:
            told.append(tendency.told)
            assert tendency.told in verdicts[max(0, number - 2) : number + 1]
            assert number >= 1
    assert all(one != other for one, other in pairwise(told))


@pytest.mark.parametrize(
    ("numbers", "grade", "advice"),
    [
        ({}, "good", ()),
        ({"frames_per_s": 25, "rtt_ms": 80}, "good", ()),
        ({"loss_permille": 40, "frames_per_s": 25}, "fair", ("lower_video",)),
        ({"loss_permille": 40}, "fair", ("better_network",)),
        ({"frames_per_s": 4}, "fair", ("lower_video",)),
        ({"loss_permille": 150, "frames_per_s": 12}, "bad", ("audio_only",)),
        ({"loss_permille": 150}, "bad", ("turn_tcp", "no_live_tuning")),
        ({"loss_permille": 150, "transport": "tcp"}, "bad", ("better_network", "no_live_tuning")),
        ({"rtt_ms": 900}, "bad", ("no_live_tuning",)),
        ({"rtt_ms": 900, "frames_per_s": 25, "loss_permille": 200}, "bad", ("audio_only", "no_live_tuning")),
        ({"rtt_ms": 400}, "fair", ()),
        ({"jitter_ms": 90}, "fair", ("better_network",)),
    ],
)
def test_what_one_report_says(numbers: dict[str, Any], grade: str, advice: tuple[str, ...]) -> None:
    assert verdict_of(report(**numbers)) == Verdict(grade, advice)  # type: ignore[arg-type]  # a test's own words


def test_how_verdicts_look_beside_each_other() -> None:
    assert [seems(FAIR, one) for one in (FAIR, BAD, GOOD, TURNED)] == [
        Seems.SAME,
        Seems.WORSE,
        Seems.BETTER,
        Seems.OTHERWISE,
    ]


def test_middles_and_means() -> None:
    assert (middle([]), middle([3]), middle([1, 9, 4])) == (None, 3, 4)
    assert (mean([]), mean([1, 2]), mean([1, 2, 6])) == (None, 2, 3)
