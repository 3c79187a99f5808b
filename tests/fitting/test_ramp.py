"""What is restored comes back in steps: bounded, on the aid's grid, judged one by one."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.capability import CapabilitySheet
from fitting.limits import KERNEL_LIMITS
from fitting.model import band_values, ears_of
from fitting.ramp import RAMP_STEP_DDB, checked_ramp, ramp
from fitting.safety import Change, Kernel, SafetyReport
from fitting.slopes import breaches
from fitting.trim import trim
from protocol.contract.fitting import BAND_PATHS, Content, EarProgram, Program
from tests.fitting.changes import change_of
from tests.fitting.contents import BOTH, REF10, content, flat, with_band

SILENT = flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800)


def right(program: EarProgram) -> Content:
    return content(right=program)


def values(step: Content, path: Any = "g50Ddb") -> set[int]:
    part = step.programs[0].right
    assert isinstance(part, EarProgram)
    return set(band_values(part, path))


def test_a_rise_of_20_db_takes_four_steps_and_then_the_limit_follows() -> None:
    steps = ramp(right(SILENT), right(flat()), BOTH)
    assert [values(step) for step in steps] == [{60}, {120}, {180}, {200}, {200}, {200}, {200}, {200}]
    assert [values(step, "g80Ddb") for step in steps[:3]] == [{60}, {100}, {100}]
    assert [values(step, "mpoDdb") for step in steps] == [{800}] * 4 + [{860}, {920}, {980}, {1_000}]
    assert steps[-1] == right(flat())


@pytest.mark.parametrize("by", [-200, -10, 0, 10, 60])
def test_what_does_not_rise_by_more_than_6_db_is_one_step(by: int) -> None:
    wanted = right(flat(g50_ddb=200 + by))
    assert ramp(right(flat()), wanted, BOTH) == (wanted,)


def test_what_falls_falls_in_the_first_step() -> None:
    held = flat(g50_ddb=100, g65_ddb=100, g80_ddb=100, mpo_ddb=1_200)
    steps = ramp(right(held), right(flat(g50_ddb=300, g65_ddb=200, g80_ddb=50, mpo_ddb=900)), BOTH)
    assert [values(step) for step in steps] == [{160}, {220}, {280}, {300}]
    assert values(steps[0], "g80Ddb") == {50}
    assert values(steps[0], "mpoDdb") == {900}


def test_a_limit_that_rises_alone_needs_no_empty_step() -> None:
    steps = ramp(right(flat()), right(flat(mpo_ddb=1_100)), BOTH)
    assert [values(step, "mpoDdb") for step in steps] == [{1_060}, {1_100}]


def test_names_and_microphones_come_first_new_programs_and_ears_last() -> None:
    directional = msgspec.structs.replace(flat(), mic="omni", nr_ddb=60)
    wanted = content(right=directional, left=flat())
    music = Program(slot=2, name="Music", right=flat(), left=flat())
    renamed = msgspec.structs.replace(wanted.programs[0], name="Everyday")
    wanted = msgspec.structs.replace(wanted, programs=(renamed, music))
    steps = ramp(right(SILENT), wanted, BOTH)
    assert [len(step.programs) for step in steps] == [1] * 8 + [2]
    assert [ears_of(step) for step in steps] == [("right",)] * 8 + [("right", "left")]
    assert {step.programs[0].name for step in steps} == {"Everyday"}
    assert {step.programs[0].right.nr_ddb for step in steps if step.programs[0].right} == {60}
    assert steps[-1] == wanted


def test_steps_are_on_the_grid_of_the_aid_also_from_off_it_and_over_a_coarse_one() -> None:
    odd = ramp(right(flat(g50_ddb=205)), right(flat(g50_ddb=400)), BOTH)
    assert [values(step) for step in odd] == [{260}, {320}, {380}, {400}]
    coarse: dict[Any, CapabilitySheet] = {"right": replace(REF10, gain_step_ddb=100)}
    assert [values(step) for step in ramp(right(SILENT), right(flat(g50_ddb=300)), coarse)][:3] == [{100}, {200}, {300}]
    by_four: dict[Any, CapabilitySheet] = {"right": replace(REF10, gain_step_ddb=40)}
    assert [values(step) for step in ramp(right(SILENT), right(flat(g50_ddb=120)), by_four)][:3] == [{40}, {80}, {120}]


def test_a_smaller_step_makes_more_of_them() -> None:
    assert len(ramp(right(flat()), right(flat(g50_ddb=300)), BOTH, step_ddb=20)) == 5


def test_every_step_is_judged_on_the_one_before() -> None:
    kernel = Recording()
    made = change_of(right(flat()), right(SILENT), restores_active=True)
    whole = checked_ramp(kernel, made)
    assert whole.report.accepted
    assert len(whole.steps) == 8
    assert [change.base for change in kernel.seen[1:]] == [made.base, *whole.steps[:-1]]
    assert [change.candidate for change in kernel.seen[1:]] == list(whole.steps)
    assert all(change.context is made.context for change in kernel.seen)


class Recording(Kernel):
    """The kernel, with what it was asked. ``refuse_at`` counts from the check of the whole, 0."""

    def __init__(self, refuse_at: int | None = None) -> None:
        self.seen: list[Change] = []
        self._refuse_at = refuse_at

    def check(self, change: Change) -> SafetyReport:
        self.seen.append(change)
        report = super().check(change)
        if len(self.seen) - 1 != self._refuse_at:
            return report
        spoilt = msgspec.structs.replace(right(flat()), bands_hz=(1,))
        return super().check(replace(change, candidate=spoilt))


def test_a_step_that_is_refused_refuses_all() -> None:
    made = change_of(right(flat()), right(SILENT), restores_active=True)
    kernel = Recording(refuse_at=3)
    refused = checked_ramp(kernel, made)
    assert (refused.steps, refused.report.accepted, len(kernel.seen)) == ((), False, 4)


def test_what_may_not_be_at_all_is_not_ramped() -> None:
    too_loud = change_of(right(flat(mpo_ddb=1_330)), right(SILENT), restores_active=True)
    refused = checked_ramp(Kernel(), too_loud)
    assert refused.steps == ()
    assert {f.rule for f in refused.report.refusals} >= {"K1", "K2"}
    no_restore = change_of(right(flat()), right(SILENT))
    assert {f.rule for f in checked_ramp(Kernel(), no_restore).report.refusals} == {"K7", "K8"}
    first = change_of(right(SILENT), None, origin="first_fit")
    assert checked_ramp(Kernel(), first).steps == (right(SILENT),)
    assert checked_ramp(Kernel(), replace(first, origin="fitting")).steps == ()


LEVELS = st.lists(st.integers(0, 60).map(lambda step: step * 10), min_size=10, max_size=10).map(tuple)
MPOS = st.lists(st.integers(80, 124).map(lambda step: step * 10), min_size=10, max_size=10).map(tuple)
ANY = st.builds(EarProgram, g50_ddb=LEVELS, g65_ddb=LEVELS, g80_ddb=LEVELS, mpo_ddb=MPOS)
SOUND = ANY.map(lambda program: trim("right", program, REF10)[0])


@settings(max_examples=100, deadline=None)
@given(SOUND, SOUND)
def test_between_two_sound_curves_every_step_is_sound_and_small(held: EarProgram, wanted: EarProgram) -> None:
    before = held
    steps = ramp(right(held), right(wanted), BOTH)
    for step in steps:
        part = step.programs[0].right
        assert isinstance(part, EarProgram)
        assert list(breaches(part, KERNEL_LIMITS)) == []
        for path in BAND_PATHS:
            for was, now, end in zip(*(band_values(p, path) for p in (before, part, wanted)), strict=True):
                assert now <= was + RAMP_STEP_DDB
                assert min(was, end) <= now <= max(was, end)
                assert now % 10 == 0
        before = part
    assert steps[-1] == right(wanted)


@settings(max_examples=60, deadline=None)
@given(ANY, ANY)
def test_any_two_images_have_a_ramp_that_ends(held: EarProgram, wanted: EarProgram) -> None:
    steps = ramp(right(held), right(wanted), BOTH)
    assert steps[-1] == right(wanted)
    assert len(steps) <= 10 + 8
    assert with_band(held, 0) == held
