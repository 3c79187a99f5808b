"""Each rule of the safety kernel at its limit, just beyond it, and in its exemptions."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fitting.capability import CapabilitySheet
from fitting.limits import decibel
from fitting.log_values import RevisionOrigin
from fitting.safety import Change, Kernel, SafetyReport, k1, k2, k4, k7
from protocol.contract.base import Ear
from protocol.contract.fitting import (
    EarProgram,
    Finding,
    Program,
    SafetySummary,
)
from tests.fitting.contents import BOTH, OTC6, REF10, content, flat, with_band

RIGHT: Mapping[Ear, CapabilitySheet] = {"right": REF10}


def change(
    new: EarProgram,
    old: EarProgram | None = None,
    *,
    sheet: CapabilitySheet = REF10,
    origin: RevisionOrigin = "fitting",
) -> Change:
    base = None if old is None else content(sheet, right=old)
    return Change(base, content(sheet, right=new), {"right": sheet}, origin, "advanced")


def check(new: EarProgram, old: EarProgram | None = None, *, origin: RevisionOrigin = "fitting") -> SafetyReport:
    return Kernel().check(change(new, old, origin=origin))


def only(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def named(finding: Finding) -> tuple[Any, ...]:
    return (finding.rule, finding.ear, finding.band, finding.value, finding.limit)


# The report


def test_an_unchanged_configuration_is_accepted_without_a_finding() -> None:
    report = check(flat(), flat())
    assert report.accepted
    assert report.summary() == SafetySummary(rules=("K1", "K2", "K4", "K7"), findings=())


def test_a_first_fit_says_that_it_was_not_held_to_k7() -> None:
    report = check(flat(), origin="first_fit")
    assert report.accepted
    assert report.summary().rules == ("K1", "K2", "K4")


def test_both_ears_are_checked() -> None:
    loud = content(right=flat(mpo_ddb=1_250), left=flat(mpo_ddb=1_250))
    report = Kernel().check(Change(None, loud, BOTH, "first_fit", "advanced"))
    assert [f.ear for f in report.refusals] == ["right"] * 10 + ["left"] * 10


# K1


@pytest.mark.parametrize(
    ("band", "values", "said", "value", "limit"),
    [
        (3, {"g65_ddb": 155}, "right 1000 Hz g65Ddb must be on a step of 1.0 dB, asked for 15.5 dB", 155, 10),
        (0, {"g80_ddb": -10}, "right 250 Hz g80Ddb must be from 0.0 to 60.0 dB, asked for -1.0 dB", -10, 0),
        (9, {"g50_ddb": 610}, "right 8000 Hz g50Ddb must be from 0.0 to 60.0 dB, asked for 61.0 dB", 610, 600),
        (0, {"mpo_ddb": 790}, "right 250 Hz mpoDdb must be from 80.0 to 124.0 dB", 790, 800),
    ],
)
def test_a_value_off_the_sheet_is_refused_with_its_limit(
    band: int, values: dict[str, int], said: str, value: int, limit: int
) -> None:
    finding = only(k1(change(with_band(flat(), band, **values))))
    assert finding.message.startswith(f"K1: {said}")
    assert named(finding) == ("K1", "right", band, value, limit)


def test_noise_reduction_microphone_and_slot_must_be_on_the_sheet() -> None:
    odd = msgspec.structs.replace(flat(OTC6), nr_ddb=70, mic="pinna")
    third = content(OTC6, slot=3, right=odd)
    findings = k1(Change(None, third, {"right": OTC6}, "first_fit", "advanced"))
    assert [f.message for f in findings] == [
        "K1: slot 3 right nrDdb must be from 0.0 to 6.0 dB, asked for 7.0 dB",
        "K1: slot 3 right mic must be one of omni, fixed_dir",
        "K1: slot 3 right has 2 program slots",
    ]


def test_ears_bands_and_slots_must_be_those_of_the_aids_and_of_the_base() -> None:
    second = Program(slot=2, name="Music", right=flat())
    two = msgspec.structs.replace(content(right=flat()), programs=(*content(right=flat()).programs, second))
    for base, candidate, sheets, said in (
        (None, content(), RIGHT, "K1: there is no left aid"),
        (None, content(OTC6, right=flat(OTC6)), RIGHT, "K1: the right aid has other bands"),
        (content(), content(right=flat()), BOTH, "K1: the left ear must not be left out"),
        (two, content(right=flat()), RIGHT, "K1: the program in slot 2 must not be left out"),
        (content(OTC6, right=flat(OTC6)), content(right=flat()), RIGHT, "K1: the bands are not those of"),
    ):
        report = Kernel().check(Change(base, candidate, sheets, "first_fit", "advanced"))
        assert only(report.refusals).message.startswith(said)
        assert report.rules == ("K1",)


@pytest.mark.parametrize("bad", [True, False, 15.0, 1.5, math.nan, math.inf, "150", None, [150], 150j])
@pytest.mark.parametrize("path", ["g50_ddb", "g65_ddb", "g80_ddb", "mpo_ddb"])
def test_what_is_not_an_integer_is_refused_where_it_stands(path: str, bad: Any) -> None:
    report = check(with_band(flat(), 7, **{path: bad}), flat())
    finding = only(report.refusals)
    assert finding.rule == "K1"
    # A foreign object cannot even be walked through, everything else is named.
    if not isinstance(bad, complex):
        assert (finding.ear, finding.band) == ("right", 7)


def test_an_integer_beyond_the_contract_is_refused_with_the_sheets_limit() -> None:
    high = only(check(with_band(flat(), 7, g65_ddb=99_990), flat()).refusals)
    low = only(check(with_band(flat(), 7, mpo_ddb=-99_990), flat()).refusals)
    vast = only(check(with_band(flat(), 7, g65_ddb=10**30), flat()).refusals)
    assert named(high) == ("K1", "right", 7, 99_990, 600)
    assert named(low) == ("K1", "right", 7, -99_990, 800)
    assert vast.value is msgspec.UNSET
    stranger = Change(None, content(left=with_band(flat(), 7, g65_ddb=99_990)), RIGHT, "fitting", "advanced")
    unlimited = only(Kernel().check(stranger).refusals)
    assert named(unlimited) == ("K1", "left", 7, 99_990, msgspec.UNSET)


def test_a_base_that_is_garbage_is_refused_too() -> None:
    for base in ("nothing", content(right=with_band(flat(), 0, g50_ddb=None))):
        report = Kernel().check(Change(base, content(), BOTH, "fitting", "advanced"))  # type: ignore[arg-type]  # what callers must not do is the point
        assert only(report.refusals).rule == "K1"


def test_a_list_in_place_of_a_tuple_is_not_a_configuration() -> None:
    assert not check(msgspec.structs.replace(flat(), g50_ddb=[200] * 10), flat()).accepted


def test_a_list_of_the_wrong_length_is_not_a_configuration() -> None:
    short = msgspec.structs.replace(flat(), g80_ddb=(100,))
    assert only(check(short, flat()).refusals).message == (
        "K1: slot 1 right g80Ddb must have 10 values, one per band, but has 1"
    )


# K2


def test_no_aid_may_put_out_more_than_132_db_spl() -> None:
    loud = replace(REF10, mpo_max_ddb=1_400)
    at, above = flat(mpo_ddb=1_320), with_band(flat(mpo_ddb=1_320), 2, mpo_ddb=1_330)
    assert k2(change(at, sheet=loud)) == ()
    finding = only(k2(change(above, above, sheet=loud)))
    assert named(finding) == ("K2", "right", 2, 1_330, 1_320)
    assert finding.message == ("K2: right 750 Hz maximum output must not be above 132.0 dB SPL, asked for 133.0 dB SPL")


@pytest.mark.parametrize(("compressing", "limit"), [(False, 1_110), (True, 1_170)])
def test_an_over_the_counter_aid_is_held_to_its_own_ceiling(compressing: bool, limit: int) -> None:
    sheet = replace(OTC6, mpo_max_ddb=1_400, input_controlled_compression=compressing)
    assert k2(change(flat(OTC6, mpo_ddb=limit), sheet=sheet)) == ()
    finding = k2(change(flat(OTC6, mpo_ddb=limit + 10), sheet=sheet))[0]
    assert (finding.value, finding.limit) == (limit + 10, limit)


# K4


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
    assert finding.message == f"K4: right 1000 Hz {said}"
    assert named(finding) == ("K4", "right", 3, value, limit)


def test_an_output_that_stands_still_has_a_ratio_without_end() -> None:
    finding = only(k4(change(with_band(flat(), 3, g50_ddb=300))))
    assert finding.message.endswith("may be at most 4.0, here without end")
    assert finding.value is msgspec.UNSET


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
        "K4: right 1500 Hz gain at 80 dB SPL may differ from its neighbour's by at most 20.0 dB, here 21.0 dB"
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
    assert [f.severity for f in k4(change(with_band(deep, 4, g50_ddb=0, g65_ddb=0, g80_ddb=0), deep))] == (["warn"] * 6)
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


# K7


def test_one_band_may_rise_by_3_db_at_once() -> None:
    assert check(with_band(flat(), 3, g50_ddb=230), flat()).accepted
    finding = only(check(with_band(flat(), 3, g50_ddb=260), flat()).refusals)
    assert finding.message == "K7: right 1000 Hz gain may rise by at most 3.0 dB at once, asked for 6.0 dB"
    assert named(finding) == ("K7", "right", 3, 60, 30)


def test_every_band_may_rise_by_2_db_at_once() -> None:
    assert check(flat(g50_ddb=220, g65_ddb=170, g80_ddb=120), flat()).accepted
    refusals = check(flat(g50_ddb=230, g65_ddb=180, g80_ddb=130), flat()).refusals
    assert [f.band for f in refusals] == list(range(10))
    assert refusals[0].message == (
        "K7: right 250 Hz gain may rise by at most 2.0 dB at once when all bands move, asked for 3.0 dB"
    )
    but_one = with_band(flat(g50_ddb=230, g65_ddb=180, g80_ddb=130), 0, g50_ddb=200, g65_ddb=150, g80_ddb=100)
    assert check(but_one, flat()).accepted


def test_the_mpo_may_rise_by_3_db_at_once() -> None:
    assert check(flat(mpo_ddb=1_030), flat()).accepted
    finding = check(with_band(flat(), 1, mpo_ddb=1_040), flat()).refusals
    assert named(only(finding)) == ("K7", "right", 1, 40, 30)
    assert "maximum output may rise by at most 3.0 dB at once, asked for 4.0 dB" in finding[0].message


def test_a_first_fit_may_rise_further() -> None:
    assert check(flat(g50_ddb=300, g65_ddb=250, g80_ddb=200), flat(), origin="first_fit").accepted


def test_without_a_read_back_only_a_first_fit_may_be_made() -> None:
    finding = only(check(flat()).refusals)
    assert finding.message == ("K7: right holds nothing that a rise could be measured from: begin with a first fit")
    added = Kernel().check(Change(content(right=flat()), content(), BOTH, "fitting", "advanced"))
    assert named(only(added.refusals))[:2] == ("K7", "left")


def test_lowering_is_not_bounded_by_k7() -> None:
    silent = flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800)
    assert check(silent, flat()).accepted
    assert k7(change(silent, flat())) == ()


def test_tenths_are_shown_as_decibels() -> None:
    assert [decibel(v) for v in (0, 5, -5, 185, -1_205)] == ["0.0", "0.5", "-0.5", "18.5", "-120.5"]
