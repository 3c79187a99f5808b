"""K1: garbage is refused where it stands, and so is what the aids cannot be told."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fitting.capability import CapabilitySheet
from fitting.safety import Change, Kernel, k1
from protocol.contract.base import Ear
from protocol.contract.fitting import EarProgram, Program
from tests.fitting.changes import change, change_of, check, named, only
from tests.fitting.contents import BOTH, OTC6, REF10, content, flat, with_band

RIGHT: Mapping[Ear, CapabilitySheet] = {"right": REF10}


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
        "K1: slot 3 right nrDdb must be from 0.0 to 6.0 dB, asked for 7.0 dB (capability sheet otc6)",
        "K1: slot 3 right mic must be one of omni, fixed_dir (capability sheet otc6)",
        "K1: slot 3 right has 2 program slots (capability sheet otc6)",
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
        "K1: slot 1 right g80Ddb must have 10 values, one per band, but has 1 (contract)"
    )


@pytest.mark.parametrize("mode", ["advanced", "standard"])
@pytest.mark.parametrize("kind", ["volatile", "persist"])
def test_an_aid_without_volatile_memory_takes_no_live_change_not_even_a_lowering(mode: Any, kind: Any) -> None:
    fixed = replace(REF10, volatile_write=False)
    made = replace(change(flat(g50_ddb=190), flat(), sheet=fixed, mode=mode), kind=kind)
    findings = k1(made)
    assert bool(findings) == ((mode, kind) != ("standard", "persist"))
    assert {f.message for f in findings} <= {
        "K1: the right aid cannot be written without changing its NVM, so there is no Advanced mode "
        "(capability sheet ref10)"
    }
    assert {(f.ear, f.source) for f in findings} <= {("right", "capability sheet ref10")}


def test_only_the_ear_that_cannot_be_written_is_named() -> None:
    sheets: Mapping[Ear, CapabilitySheet] = {"right": REF10, "left": replace(REF10, volatile_write=False)}
    report = Kernel().check(replace(change_of(content(), content()), sheets=sheets))
    assert [f.ear for f in report.refusals] == ["left"]


def test_what_was_measured_with_other_bands_is_refused_not_guessed() -> None:
    for bands in (6, 12):
        other: tuple[int | None, ...] = (900,) * bands
        loud = check(flat(), flat(), loudness_ddb={"right": other})
        stable = check(flat(), flat(), max_stable_gain_ddb={(1, "right"): other})
        for report in (loud, stable):
            assert only(report.refusals).message == (
                f"K1: what was measured at the right ear has {bands} bands, not 10 (contract)"
            )
    assert check(flat(), flat(), loudness_ddb={"left": (None,) * 10}).accepted


@pytest.mark.parametrize(("value", "limit"), [(-1, 0), (1_001, 1_000)])
def test_a_stable_gain_is_one_that_an_aid_could_have(value: int, limit: int) -> None:
    def claiming(stable: Any) -> EarProgram:
        return msgspec.structs.replace(flat(), max_stable_gain_ddb=stable)

    for fine in (0, 1_000, 455):
        assert k1(change(claiming((fine,) * 10))) == ()
    finding = only(k1(change(claiming((400,) * 6 + (value,) + (400,) * 3))))
    assert named(finding) == ("K1", "right", 6, value, limit)
    assert "maxStableGainDdb" in finding.message
    wrong_length = only(k1(change(claiming((400,) * 9))))
    assert "maxStableGainDdb must have 10 values" in wrong_length.message
    for garbage in (True, 1.5, math.nan, "400", 10**30, 5_000):
        finding = only(k1(change(claiming((garbage,) * 10))))
        assert (finding.ear, finding.band, finding.limit) == ("right", 0, msgspec.UNSET)


def test_a_level_that_is_on_the_range_of_another_path_is_judged_by_its_own() -> None:
    finding = only(check(with_band(flat(), 7, mpo_ddb=99_990), flat()).refusals)
    assert named(finding) == ("K1", "right", 7, 99_990, 1_240)
    assert finding.source == "capability sheet ref10"


def test_steps_are_counted_from_the_least_that_the_aid_has() -> None:
    odd = replace(REF10, gain_min_ddb=-5, mpo_min_ddb=803)
    on_step = flat(g50_ddb=205, g65_ddb=155, g80_ddb=105, mpo_ddb=1_003)
    assert k1(change(on_step, sheet=odd)) == ()
    assert named(only(k1(change(with_band(on_step, 2, g65_ddb=150), sheet=odd)))) == ("K1", "right", 2, 150, 10)
    assert named(only(k1(change(with_band(on_step, 2, mpo_ddb=1_000), sheet=odd)))) == ("K1", "right", 2, 1_000, 10)
