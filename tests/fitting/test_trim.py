"""Trimming lowers to what the kernel accepts, and never raises."""

from hypothesis import given
from hypothesis import strategies as st

from fitting.audiogram import STANDARD_AUDIOGRAMS
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
