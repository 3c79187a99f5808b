"""The hand at the slider: steady whatever the server does, and within every limit however long it goes on."""

from collections import defaultdict
from itertools import pairwise

import pytest

from clients.virtual_aid.memory import factory_image
from fitting.budgets import Held, budgets
from fitting.capability import sheet
from fitting.digest import content_digests
from fitting.limits import GAIN_PATHS
from fitting.model import apply_patch, band_values, content_from_images, ear_program
from fitting.safety import Kernel
from loadtest.slider import MAX_JOINED, MAX_MOVES_PER_S, STEP_DDB, Slider, Sweep
from protocol.contract.base import EARS
from protocol.contract.fitting import Content
from tests.fitting.changes import change_of

SHEET = sheet("ref10")
BANDS = len(SHEET.bands_hz)
PLACES = 2 * BANDS


def worn() -> Content:
    return content_from_images({ear: factory_image(ear, SHEET.bands_hz) for ear in EARS})


def gains(content: Content) -> list[int]:
    """Every gain of both ears, in one list."""
    parts = [ear_program(content.programs[0], ear) for ear in EARS]
    return [value for part in parts if part is not None for path in GAIN_PATHS for value in band_values(part, path)]


def test_moves_come_at_a_steady_rate_and_none_is_forgotten_while_the_server_is_slow() -> None:
    slider = Slider(4)
    slider.start(100.0)
    assert slider.wait_s(100.1) == pytest.approx(0.15)
    assert slider.take(100.2) == pytest.approx((0, 100.25))
    assert slider.take(100.26) == pytest.approx((1, 100.25))
    # Nobody took the moves at 100.5, 100.75 and 101.0; the oldest of them is what has waited.
    assert slider.take(101.1) == pytest.approx((3, 100.5))
    assert slider.wait_s(101.3) == 0.0
    assert slider.take(101.3) == pytest.approx((1, 101.25))


def test_the_first_move_comes_within_the_first_interval() -> None:
    slider = Slider(2)
    slider.start(10.0, 0.5)
    assert slider.wait_s(10.0) == pytest.approx(0.25)


@pytest.mark.parametrize("rate", [0, -1, MAX_MOVES_PER_S + 0.1, float("nan")])
def test_a_rate_that_no_hand_has_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="at most 12"):
        Slider(rate)


@pytest.mark.parametrize("moves", [1, 3, MAX_JOINED, 40])
def test_every_patch_is_accepted_for_ever_and_stays_within_one_decibel_of_the_base(moves: int) -> None:
    base = content = worn()
    sweep, session = Sweep(base), [Held(0.0, base)]
    for number in range(1, 3 * PLACES):
        before, content = content, apply_patch(content, sweep.patch(content, moves))
        now_s = number / MAX_MOVES_PER_S
        known = budgets(now_s, session=session, active=(Held(0.0, base),))
        # Without an audiogram on file, and with every budget: as the server judges a device of a load test.
        report = Kernel().check(change_of(content, before, budgets=known, audiogram=None))
        assert report.refusals == ()
        assert "K8" in report.rules
        assert content_digests(content) != content_digests(before)
        assert all(0 <= now - then <= STEP_DDB for now, then in zip(gains(content), gains(base), strict=True))
        session.append(Held(now_s, content))


def test_no_band_rises_by_more_than_6_db_in_10_s_at_the_highest_rate() -> None:
    """Counted as the sum of all rises, the strictest way to read such a limit."""
    content, sweep = worn(), Sweep(worn())
    history = [gains(content)]
    for _ in range(int(60 * MAX_MOVES_PER_S)):
        content = apply_patch(content, sweep.patch(content, 1))
        history.append(gains(content))
    rises: dict[int, list[float]] = defaultdict(list)
    for number, (before, after) in enumerate(pairwise(history)):
        for place, (then, now) in enumerate(zip(before, after, strict=True)):
            if now > then:
                rises[place].append(number / MAX_MOVES_PER_S)
    assert len(rises) == len(history[0])
    for times_s in rises.values():
        within = max(sum(start <= at < start + 10 for at in times_s) for start in times_s)
        assert within * STEP_DDB <= 60


def test_a_sweep_goes_on_from_what_the_aids_hold_after_a_change_that_did_not_come_about() -> None:
    base = worn()
    sweep = Sweep(base)
    for _ in range(PLACES):
        # Not one of these is accepted.
        sweep.patch(base, 1)
    raised = apply_patch(base, sweep.patch(base, 1))
    assert sum(gains(raised)) == sum(gains(base)) + len(GAIN_PATHS) * STEP_DDB
