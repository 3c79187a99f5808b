"""K2 to K6 at their limits, just beyond them, and in what they let be."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fitting.audiogram import STANDARD_AUDIOGRAMS, Audiogram
from fitting.capability import CapabilitySheet
from fitting.limits import ClinicLimits
from fitting.safety import k2, k3, k4, k5
from protocol.contract.fitting import Content, EarProgram, Program
from tests.fitting.changes import change, change_of, check, named, only, refused_by
from tests.fitting.contents import OTC6, REF10, content, flat, with_band

N3 = STANDARD_AUDIOGRAMS["N3"]


def test_no_aid_may_put_out_more_than_132_db_spl() -> None:
    loud = replace(REF10, mpo_max_ddb=1_400)
    at, above = flat(mpo_ddb=1_320), with_band(flat(mpo_ddb=1_320), 2, mpo_ddb=1_330)
    assert k2(change(at, sheet=loud)) == ()
    finding = only(k2(change(above, above, sheet=loud)))
    assert named(finding) == ("K2", "right", 2, 1_330, 1_320)
    assert finding.message == (
        "K2: right 750 Hz maximum output must not be above 132.0 dB SPL, asked for 133.0 dB SPL (21 CFR 801.422)"
    )


@pytest.mark.parametrize(("compressing", "limit"), [(False, 1_110), (True, 1_170)])
def test_an_over_the_counter_aid_is_held_to_its_own_ceiling(compressing: bool, limit: int) -> None:
    sheet = replace(OTC6, mpo_max_ddb=1_400, input_controlled_compression=compressing)
    assert k2(change(flat(OTC6, mpo_ddb=limit), sheet=sheet)) == ()
    finding = k2(change(flat(OTC6, mpo_ddb=limit + 10), sheet=sheet))[0]
    assert (finding.value, finding.limit) == (limit + 10, limit)


@pytest.mark.parametrize(
    ("values", "value", "limit", "said"),
    [
        ({"g65_ddb": 210}, 10, 0, "gain must not rise from 50 to 65 dB SPL, here by 1.0 dB"),
        ({"g80_ddb": 160}, 10, 0, "gain must not rise from 65 to 80 dB SPL, here by 1.0 dB"),
        (
            {"g50_ddb": 310},
            160,
            150,
            "gain may fall by at most 15.0 dB from 50 to 65 dB SPL, here 16.0 dB",
        ),
        ({"g50_ddb": 270}, 50, 40, "compression ratio from 50 to 65 dB SPL may be at most 4.0, here 5.0"),
        ({"g50_ddb": 263}, 41, 40, "compression ratio from 50 to 65 dB SPL may be at most 4.0, here 4.1"),
    ],
)
def test_a_bad_slope_is_refused(values: dict[str, int], value: int, limit: int, said: str) -> None:
    finding = next(f for f in k4(change(with_band(flat(), 3, **values))) if f.severity == "refuse")
    assert finding.message == f"K4: right 1000 Hz {said} ({finding.source})"
    assert named(finding) == ("K4", "right", 3, value, limit)


def test_an_output_that_stands_still_has_a_ratio_without_end() -> None:
    finding = only(k4(change(with_band(flat(), 3, g50_ddb=300))))
    assert finding.message.endswith("may be at most 4.0, here without end (engineering choice)")
    assert finding.value is msgspec.UNSET


def test_a_ratio_without_end_is_the_worst_of_all() -> None:
    steep = with_band(with_band(flat(), 3, g50_ddb=280), 7, g50_ddb=300)
    warning = only(k4(change(steep, steep)))
    assert (warning.band, warning.value, warning.severity) == (7, msgspec.UNSET, "warn")


def test_a_limiter_is_not_a_ratio() -> None:
    # Output 100 dB SPL at every level, 1 dB under the MPO: the limiter is at work.
    limited = flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_010)
    assert k4(change(limited)) == ()
    assert len(k4(change(flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_020)))) == 20


def test_a_high_ratio_is_a_warning() -> None:
    for fall, ratio in ((101, 31), (110, 38), (112, 40)):
        finding = only(k4(change(with_band(flat(), 3, g50_ddb=150 + fall))))
        assert (finding.severity, finding.value, finding.limit) == ("warn", ratio, 30)
    assert k4(change(with_band(flat(), 3, g50_ddb=250))) == ()


def test_neighbouring_bands_may_differ_by_20_db_at_each_level() -> None:
    at = with_band(flat(), 4, g50_ddb=400, g65_ddb=350, g80_ddb=300)
    assert k4(change(at)) == ()
    above = with_band(flat(), 4, g50_ddb=400, g65_ddb=350, g80_ddb=310)
    findings = k4(change(above))
    assert [named(f) for f in findings] == [("K4", "right", 4, 210, 200)] * 2
    assert findings[0].message == (
        "K4: right 1500 Hz gain at 80 dB SPL may differ from its neighbour's by at most 20.0 dB, here 21.0 dB "
        "(engineering choice)"
    )


def test_what_the_base_breaks_already_is_refused_only_when_it_gets_worse() -> None:
    close = flat(g80_ddb=150)
    broken, worse, better = (with_band(close, 3, g65_ddb=value) for value in (230, 240, 220))
    assert [f.severity for f in k4(change(broken, broken))] == ["warn"]
    assert [f.severity for f in k4(change(better, broken))] == ["warn"]
    assert [f.severity for f in k4(change(worse, broken))] == ["refuse"]


def test_lowering_a_band_as_a_whole_is_never_refused() -> None:
    # 20 dB below its neighbours, then further down; and a limited band that gets a ratio by falling.
    low = with_band(flat(), 4, g50_ddb=0, g65_ddb=0, g80_ddb=0)
    deep = flat(g50_ddb=400, g65_ddb=350, g80_ddb=300)
    warning = only(k4(change(with_band(deep, 4, g50_ddb=0, g65_ddb=0, g80_ddb=0), deep)))
    assert (warning.severity, warning.band, warning.value) == ("warn", 3, 400)
    assert warning.message.endswith("(engineering choice); so in 2 bands")
    assert check(low, flat()).accepted
    limited = flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_010)
    lowered = with_band(limited, 3, g50_ddb=490, g65_ddb=340, g80_ddb=190)
    assert check(lowered, limited).accepted
    assert check(with_band(limited, 3, mpo_ddb=800), limited).accepted


def test_lowering_only_some_gains_of_a_band_is_held_to_the_rule() -> None:
    assert not check(with_band(flat(), 3, g80_ddb=0, g65_ddb=150), flat(g80_ddb=150)).accepted
    # The neighbours: only the gain for loud sounds is taken away, so the difference is the patch's doing.
    deep = flat(g50_ddb=250, g65_ddb=250, g80_ddb=250)
    assert not check(with_band(deep, 4, g80_ddb=40), deep).accepted


def test_lowering_one_band_does_not_excuse_raising_its_neighbour() -> None:
    old = flat(g50_ddb=300, g65_ddb=250, g80_ddb=200)
    new = with_band(with_band(old, 3, g50_ddb=110, g65_ddb=60, g80_ddb=10), 4, g50_ddb=320)
    refused = check(new, old).refusals
    assert {(f.rule, f.band, f.value) for f in refused} == {("K4", 4, 210)}


def test_raising_the_mpo_does_not_pass_as_lowering() -> None:
    limited = flat(g50_ddb=500, g65_ddb=350, g80_ddb=200, mpo_ddb=1_010)
    new = with_band(limited, 3, g50_ddb=490, g65_ddb=340, g80_ddb=190, mpo_ddb=1_030)
    assert {f.rule for f in check(new, limited).refusals} == {"K4"}


# K2 of a clinic


def test_a_clinics_ceiling_refuses_what_rises_over_it_and_warns_of_what_is_there() -> None:
    quiet = ClinicLimits(mpo_ceiling_ddb=1_050, otc_ceiling_ddb=1_050)
    refused = only(k2(change(with_band(flat(), 2, mpo_ddb=1_060), flat(), limits=quiet)))
    assert named(refused) == ("K2", "right", 2, 1_060, 1_050)
    assert (refused.severity, refused.source) == ("refuse", "clinic policy")
    assert k2(change(flat(mpo_ddb=1_050), flat(), limits=quiet)) == ()
    loud = flat(mpo_ddb=1_100)
    warned = only(k2(change(with_band(loud, 0, mpo_ddb=1_060), loud, limits=quiet)))
    assert (warned.severity, warned.value) == ("warn", 1_100)
    assert warned.message.endswith("; so in 10 bands")
    assert only(k2(change(with_band(flat(OTC6), 2, mpo_ddb=1_060), flat(OTC6), sheet=OTC6, limits=quiet))).source == (
        "clinic policy"
    )


def test_regulation_is_absolute_even_for_what_the_aid_holds() -> None:
    loud = flat(mpo_ddb=1_330)
    softer = flat(mpo_ddb=1_325)
    findings = k2(change(softer, loud, sheet=replace(REF10, mpo_max_ddb=1_400)))
    assert {f.severity for f in findings} == {"refuse"}
    assert {f.source for f in findings} == {"21 CFR 801.422"}


# K3


def test_mpo_may_stand_6_db_over_what_the_audiogram_prescribes_and_with_a_reason_12() -> None:
    # N3 prescribes 101.5 dB SPL.
    for mode, reason, limit in (
        ("standard", "loud sounds are dull", 1_075),
        ("advanced", "", 1_075),
        ("advanced", "  \n", 1_075),
        ("advanced", "loud sounds are dull", 1_135),
    ):
        known: dict[str, Any] = {"mode": mode, "reason": reason, "audiogram": N3}
        fine = fine_sheet()
        assert k3(change(flat(mpo_ddb=limit), flat(), sheet=fine, **known)) == ()
        finding = only(k3(change(with_band(flat(), 4, mpo_ddb=limit + 1), flat(), sheet=fine, **known)))
        assert named(finding) == ("K3", "right", 4, limit + 1, limit)
        assert (finding.severity, finding.source) == ("refuse", "audiogram on file")
    assert finding.message == (
        "K3: right 1500 Hz maximum output may be at most 12.0 dB above the prescribed 101.5 dB SPL, "
        "asked for 113.6 dB SPL (audiogram on file)"
    )


def fine_sheet() -> CapabilitySheet:
    return replace(REF10, mpo_step_ddb=1, gain_step_ddb=1)


def test_a_clinics_margins_replace_the_kernels_own() -> None:
    tight = ClinicLimits(loudness_margin_ddb=10, loudness_margin_reasoned_ddb=20)
    for reason, limit in (("", 1_025), ("dull", 1_035)):
        finding = only(
            k3(change(with_band(flat(), 4, mpo_ddb=1_040), flat(), audiogram=N3, limits=tight, reason=reason))
        )
        assert (finding.limit, finding.source) == (limit, "clinic policy")


def test_a_measured_loudness_level_goes_before_the_audiogram_in_both_directions() -> None:
    measured = (None, None, 1_000, 1_200, *(None,) * 6)
    known: dict[str, Any] = {"audiogram": N3, "loudness_ddb": {"right": measured}, "reason": "dull"}
    quiet = flat(mpo_ddb=950)
    assert k3(change(flat(mpo_ddb=1_000), quiet, **known)) == ()
    assert k3(change(with_band(flat(), 3, mpo_ddb=1_200), quiet, **known)) == ()
    for band, value, limit in ((2, 1_010, 1_000), (3, 1_210, 1_200), (4, 1_140, 1_135)):
        finding = only(k3(change(with_band(flat(), band, mpo_ddb=value), quiet, **known)))
        assert named(finding) == ("K3", "right", band, value, limit)
        assert finding.source == ("audiogram on file" if band == 4 else "loudness level on file")


def test_what_was_measured_at_one_ear_says_nothing_of_the_other() -> None:
    known: dict[str, Any] = {"loudness_ddb": {"left": (900,) * 10}, "audiogram": Audiogram({"left": N3.ears["left"]})}
    assert k3(change(flat(), flat(), **known)) == ()
    assert only(k3(change(with_band(flat(), 0, mpo_ddb=1_010), flat(), **known))).source == "no audiogram on file"


def test_without_audiogram_and_loudness_level_no_mpo_rises() -> None:
    assert k3(change(flat(mpo_ddb=900), flat(), audiogram=None)) == ()
    finding = only(k3(change(with_band(flat(), 1, mpo_ddb=1_010), flat(), audiogram=None)))
    assert named(finding) == ("K3", "right", 1, 1_010, 1_000)
    assert finding.message == (
        "K3: right 500 Hz maximum output may not rise above 100.0 dB SPL without an audiogram, "
        "asked for 101.0 dB SPL (no audiogram on file)"
    )
    unread = k3(change(flat(), audiogram=None, origin="first_fit"))
    assert [(f.value, f.limit) for f in unread] == [(1_000, 800)] * 10
    assert k3(change(flat(mpo_ddb=800), audiogram=None)) == ()


def test_a_new_program_without_an_audiogram_is_no_louder_than_the_lowest_of_the_others() -> None:
    def with_slot(program: EarProgram) -> Content:
        held = content(right=flat())
        return msgspec.structs.replace(held, programs=(*held.programs, Program(slot=2, name="Music", right=program)))

    assert k3(change_of(with_slot(flat()), content(right=flat()), audiogram=None)) == ()
    findings = k3(change_of(with_slot(flat(mpo_ddb=1_010)), content(right=flat()), audiogram=None))
    assert [(f.slot, f.limit) for f in findings] == [(2, 1_000)] * 10


def test_an_mpo_that_is_too_loud_already_is_a_warning_until_it_rises() -> None:
    loud = flat(mpo_ddb=1_200)
    warned = only(k3(change(loud, loud, audiogram=N3)))
    assert (warned.severity, warned.value, warned.limit) == ("warn", 1_200, 1_135)
    assert {f.severity for f in k3(change(with_band(loud, 3, mpo_ddb=1_210), loud, audiogram=N3))} == {"refuse", "warn"}
    assert only(k3(change(flat(mpo_ddb=1_190), loud, audiogram=N3))).severity == "warn"


def test_a_first_fit_and_a_restored_image_are_held_to_k3() -> None:
    exemptions: tuple[dict[str, Any], ...] = ({"origin": "first_fit"}, {"restores_active": True})
    for exempt in exemptions:
        assert "K3" in refused_by(check(flat(mpo_ddb=1_240), flat(), audiogram=N3, **exempt))


# K5


def test_clipped_speech_is_a_warning_that_names_the_worst_band() -> None:
    # 65 dB SPL and 35 dB of gain are the MPO itself.
    assert k5(change(flat(g50_ddb=350, g65_ddb=350, mpo_ddb=1_000))) == ()
    clipped = flat(g50_ddb=400, g65_ddb=360, mpo_ddb=1_000)
    finding = only(k5(change(with_band(clipped, 7, g65_ddb=380))))
    assert named(finding) == ("K5", "right", 7, 1_030, 1_000)
    assert finding.severity == "warn"
    assert finding.message == (
        "K5: right 4000 Hz speech at 65 dB SPL comes out at 103.0 dB SPL, the MPO is 100.0 (engineering choice); "
        "so in 10 bands"
    )


def test_loud_speech_may_be_driven_15_db_into_the_limiter_or_as_far_as_the_clinic_says() -> None:
    driven = flat(g50_ddb=350, g65_ddb=350, g80_ddb=350, mpo_ddb=1_000)
    assert k5(change(driven)) == ()
    more = with_band(driven, 2, g50_ddb=360, g65_ddb=350, g80_ddb=360)
    assert named(only(k5(change(more)))) == ("K5", "right", 2, 1_160, 1_150)
    tight = k5(change(driven, limits=ClinicLimits(clipping_margin_ddb=140)))
    assert (only(tight).limit, only(tight).source) == (1_140, "clinic policy")


# K4 of a clinic


def test_a_clinics_slopes_are_flatter() -> None:
    limits = ClinicLimits(max_fall_ddb=60, max_ratio_tenths=20, warn_ratio_tenths=15, max_neighbour_ddb=100)
    shapes = (
        ({"g50_ddb": 211}, 61, 60, "clinic policy"),
        ({"g50_ddb": 226}, 21, 20, "clinic policy"),
        ({"g50_ddb": 301, "g65_ddb": 251, "g80_ddb": 201}, 101, 100, "clinic policy"),
        ({"g65_ddb": 201}, 1, 0, "engineering choice"),
    )
    for values, value, limit, source in shapes:
        findings = k4(change(with_band(flat(), 3, **values), flat(), limits=limits))
        assert (value, limit, source) in {(f.value, f.limit, f.source) for f in findings if f.severity == "refuse"}
    warned = only(k4(change(with_band(flat(), 3, g50_ddb=205), flat(), limits=limits)))
    assert (warned.severity, warned.value, warned.limit, warned.source) == ("warn", 16, 15, "clinic policy")
