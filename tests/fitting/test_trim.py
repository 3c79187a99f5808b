"""Trimming lowers to what the kernel accepts, and never raises."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.limits import ClinicLimits
from fitting.model import band_values
from fitting.safety import Kernel
from fitting.trim import trim
from protocol.contract.fitting import BAND_PATHS, EarProgram
from tests.fitting.changes import change_of
from tests.fitting.contents import OTC6, REF10, content, flat, with_band

N7 = STANDARD_AUDIOGRAMS["N7"]
GAINS = st.lists(st.integers(0, 90).map(lambda step: step * 10), min_size=6, max_size=6).map(tuple)
MPOS = st.lists(st.integers(80, 140).map(lambda step: step * 10), min_size=6, max_size=6).map(tuple)


def test_a_target_that_keeps_the_rules_is_left_alone() -> None:
    assert trim("right", flat(), REF10) == (flat(), ())


def test_a_band_far_above_its_neighbours_is_lowered_to_20_db_over_them() -> None:
    peak = with_band(flat(), 4, g50_ddb=450, g65_ddb=400, g80_ddb=350)
    lowered, trims = trim("right", peak, REF10)
    # At 50 dB SPL: neighbours have 20 dB, so 40 are left; at 65 and 80: 15 and 10 leave 35 and 30.
    assert lowered == with_band(flat(), 4, g50_ddb=400, g65_ddb=350, g80_ddb=300)
    assert [(t.rule, t.band, t.value, t.limit) for t in trims] == [
        ("K4", 4, 450, 400),
        ("K4", 4, 400, 350),
        ("K4", 4, 350, 300),
    ]


def test_an_over_the_counter_aid_gets_no_more_output_than_its_sheet() -> None:
    lowered, trims = trim("right", flat(OTC6, mpo_ddb=1_320), OTC6)
    assert lowered.mpo_ddb == (1_110,) * 6
    assert {t.rule for t in trims} == {"K1"}


@settings(deadline=None)
@given(GAINS, GAINS, GAINS, MPOS)
def test_any_target_is_lowered_to_what_the_kernel_accepts(
    g50: tuple[int, ...], g65: tuple[int, ...], g80: tuple[int, ...], mpo: tuple[int, ...]
) -> None:
    target = EarProgram(g50_ddb=g50, g65_ddb=g65, g80_ddb=g80, mpo_ddb=mpo)
    lowered, trims = trim("left", target, OTC6)
    change = change_of(content(OTC6, left=lowered), None, sheet=OTC6, origin="first_fit", audiogram=N7)
    assert Kernel().check(change).refusals == ()
    moved = 0
    for path in BAND_PATHS:
        pairs = list(zip(band_values(target, path), band_values(lowered, path), strict=True))
        assert all(after <= before for before, after in pairs)
        moved += sum(after < before for before, after in pairs)
    assert len(trims) == moved


def test_what_was_measured_at_the_ear_is_kept() -> None:
    loudness = (950, None, *(None,) * 8)
    stable = (None, 200, *(None,) * 8)
    lowered, trims = trim("right", flat(), REF10, loudness_ddb=loudness, max_stable_gain_ddb=stable)
    assert lowered == with_band(with_band(flat(), 0, mpo_ddb=950), 1, g50_ddb=170)
    assert [(t.rule, t.band, t.value, t.limit, t.source) for t in trims] == [
        ("K3", 0, 1_000, 950, "loudness level on file"),
        ("K6", 1, 200, 170, "feedback measurement"),
    ]
    known = change_of(
        content(right=lowered),
        content(right=flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800)),
        origin="first_fit",
        loudness_ddb={"right": loudness},
        max_stable_gain_ddb={(1, "right"): stable},
    )
    assert Kernel().check(known).refusals == ()


def test_an_ear_that_whistles_at_any_gain_gets_the_least_there_is() -> None:
    lowered, trims = trim("right", flat(), REF10, max_stable_gain_ddb=(10, *(None,) * 9))
    assert (lowered.g50_ddb[0], lowered.g65_ddb[0], lowered.g80_ddb[0]) == (0, 0, 0)
    assert {(t.rule, t.limit) for t in trims if t.band == 0} == {("K6", 0)}


def test_what_is_no_level_is_left_as_it_was() -> None:
    directional = msgspec.structs.replace(flat(g50_ddb=700), mic="pinna", nr_ddb=60)
    lowered, _ = trim("right", directional, REF10)
    assert (lowered.mic, lowered.nr_ddb) == ("pinna", 60)


def test_a_clinics_limits_are_trimmed_to() -> None:
    tight = ClinicLimits(
        mpo_ceiling_ddb=950, max_fall_ddb=30, max_ratio_tenths=12, max_neighbour_ddb=30, feedback_margin_ddb=60
    )
    peak = with_band(flat(), 4, g50_ddb=450, g65_ddb=400, g80_ddb=350)
    lowered, trims = trim("right", peak, REF10, tight, max_stable_gain_ddb=(None,) * 9 + (200,))
    assert {t.source for t in trims} == {"clinic policy"}
    assert {t.rule for t in trims} == {"K2", "K4", "K6"}
    silent = content(right=flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800))
    assert Kernel().check(change_of(content(right=lowered), silent, origin="first_fit", limits=tight)).refusals == ()


@settings(deadline=None)
@given(GAINS, GAINS, GAINS, MPOS, st.lists(st.none() | st.integers(0, 1_300), min_size=12, max_size=12))
def test_any_target_is_lowered_to_what_was_measured(
    g50: tuple[int, ...], g65: tuple[int, ...], g80: tuple[int, ...], mpo: tuple[int, ...], measured: list[int | None]
) -> None:
    target = EarProgram(g50_ddb=g50, g65_ddb=g65, g80_ddb=g80, mpo_ddb=mpo)
    loudness, stable = tuple(measured[:6]), tuple(measured[6:])
    lowered, _ = trim("left", target, OTC6, loudness_ddb=loudness, max_stable_gain_ddb=stable)
    silent = content(OTC6, left=flat(OTC6, g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800))
    known = change_of(
        content(OTC6, left=lowered),
        silent,
        sheet=OTC6,
        origin="first_fit",
        audiogram=N7,
        loudness_ddb={"left": loudness},
        max_stable_gain_ddb={(1, "left"): stable},
    )
    # K12 alone may still find an MPO at the aid's greatest where no more was asked for.
    assert {f.rule for f in Kernel().check(known).refusals} <= {"K12"}
