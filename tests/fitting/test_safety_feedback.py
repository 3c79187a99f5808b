"""K6: gain keeps away from where this ear whistles, as far as that was measured."""

from typing import Any

import msgspec
import pytest

from fitting.budgets import Budgets, levels_of
from fitting.limits import ClinicLimits
from fitting.safety import Change, k6
from protocol.contract.fitting import EarProgram, Program
from tests.fitting.changes import change, change_of, named, only
from tests.fitting.contents import content, flat, with_band


def stable(ddb: int, program: EarProgram | None = None) -> EarProgram:
    return msgspec.structs.replace(program or flat(), max_stable_gain_ddb=(ddb,) * 10)


@pytest.mark.parametrize("where", ["file", "aid", "claim"])
def test_gain_stays_3_db_under_the_stable_gain_wherever_that_is_known_from(where: str) -> None:
    def at(ddb: int) -> Change:
        on_file = {(1, "right"): (ddb,) * 10} if where == "file" else {}
        held = stable(ddb) if where == "aid" else flat()
        louder = with_band(flat(), 3, g50_ddb=230)
        return change(stable(ddb, louder) if where == "claim" else louder, held, max_stable_gain_ddb=on_file)

    assert k6(at(260)) == ()
    finding = only(k6(at(250)))
    assert named(finding) == ("K6", "right", 3, 230, 220)
    assert (finding.severity, finding.source) == ("refuse", "feedback measurement")
    assert finding.message == (
        "K6: right 1000 Hz gain may be at most 22.0 dB to stay stable, asked for 23.0 dB (feedback measurement)"
    )


def test_the_newest_measurement_replaces_what_the_aid_holds_but_a_claim_only_lowers_it() -> None:
    louder = with_band(flat(), 3, g50_ddb=230)
    on_file = {(1, "right"): (300,) * 10}
    assert k6(change(stable(250, louder), stable(250), max_stable_gain_ddb=on_file)) != ()
    assert k6(change(louder, stable(250), max_stable_gain_ddb=on_file)) == ()
    assert k6(change(stable(600, louder), stable(250))) != ()
    # A band that was not measured again keeps what the aid holds.
    partly = {(1, "right"): (300, 300, 300, None, *(300,) * 6)}
    assert k6(change(louder, stable(250), max_stable_gain_ddb=partly)) != ()


def test_the_other_slots_and_ears_measurement_does_not_count() -> None:
    louder = with_band(flat(), 3, g50_ddb=230)
    for place in ((2, "right"), (1, "left")):
        assert k6(change(louder, flat(), max_stable_gain_ddb={place: (100,) * 10})) == ()


def test_gain_that_is_near_already_is_a_warning_until_it_rises() -> None:
    near = flat(g50_ddb=300)
    on_file: dict[str, Any] = {"max_stable_gain_ddb": {(1, "right"): (310,) * 10}}
    warned = only(k6(change(with_band(near, 3, g50_ddb=290), near, **on_file)))
    assert (warned.severity, warned.value, warned.limit) == ("warn", 300, 280)
    refused = [f for f in k6(change(with_band(near, 3, g50_ddb=310), near, **on_file)) if f.severity == "refuse"]
    assert [f.band for f in refused] == [3]


def test_the_gain_for_loud_sounds_counts_as_well() -> None:
    odd = with_band(flat(), 3, g80_ddb=280)
    assert named(only(k6(change(odd, flat(), max_stable_gain_ddb={(1, "right"): (300,) * 10})))) == (
        ("K6", "right", 3, 280, 270)
    )


def test_without_a_measurement_standard_mode_raises_no_gain_above_what_was_active_last() -> None:
    active = levels_of(content(right=flat(g50_ddb=190)))
    budgets = Budgets(active=active, lowest_active_7d=active)
    known: dict[str, Any] = {"mode": "standard", "budgets": budgets}
    base = flat(g50_ddb=180)
    assert k6(change(flat(g50_ddb=190), base, **known)) == ()
    finding = only(k6(change(with_band(base, 5, g50_ddb=200), base, **known)))
    assert named(finding) == ("K6", "right", 5, 10, 0)
    assert (finding.source, finding.severity) == ("last active gain", "refuse")
    assert k6(change(with_band(base, 5, g50_ddb=200), base, mode="advanced", budgets=budgets)) == ()
    assert k6(change(with_band(base, 5, g50_ddb=200), base, **known, restores_active=True)) == ()
    measured = {(1, "right"): (400,) * 10}
    assert k6(change(with_band(base, 5, g50_ddb=200), base, **known, max_stable_gain_ddb=measured)) == ()
    # A claim of the candidate itself is no measurement.
    assert k6(change(stable(400, with_band(base, 5, g50_ddb=200)), base, **known)) != ()


def test_what_is_active_being_unknown_nothing_rises_above_the_base_either() -> None:
    known: dict[str, Any] = {"mode": "standard", "budgets": Budgets()}
    assert k6(change(flat(), flat(), **known)) == ()
    assert named(only(k6(change(with_band(flat(), 5, g65_ddb=160), flat(), **known)))) == ("K6", "right", 5, 10, 0)
    assert len(k6(change(flat(), mode="standard", origin="first_fit"))) == 10
    assert k6(change(flat(g50_ddb=0, g65_ddb=0, g80_ddb=0), mode="standard", origin="first_fit")) == ()


def test_a_clinics_feedback_margin_is_wider() -> None:
    wide: dict[str, Any] = {
        "limits": ClinicLimits(feedback_margin_ddb=60),
        "max_stable_gain_ddb": {(1, "right"): (280,) * 10},
    }
    assert k6(change(with_band(flat(), 3, g50_ddb=220), flat(), **wide)) == ()
    finding = only(k6(change(with_band(flat(), 3, g50_ddb=230), flat(), **wide)))
    assert (finding.limit, finding.source) == (220, "clinic policy")


def test_a_package_cannot_bring_its_own_measurement_for_the_next_one() -> None:
    refused = k6(change(stable(400), flat(), mode="standard"))
    assert [named(f) for f in refused] == [("K6", "right", band, 400, msgspec.UNSET) for band in range(10)]
    assert refused[0].message == (
        "K6: right 250 Hz a package cannot measure, 40.0 dB is said to be stable (feedback measurement)"
    )
    assert k6(change(stable(400), flat(), mode="advanced")) == ()
    on_file: dict[str, Any] = {"mode": "standard", "max_stable_gain_ddb": {(1, "right"): (400,) * 10}}
    assert k6(change(stable(400), flat(), **on_file)) == ()
    assert [(f.value, f.limit) for f in k6(change(stable(410), flat(), **on_file))] == [(410, 400)] * 10
    assert k6(change(stable(390), flat(), **on_file)) == ()
    # What the aid holds may stay, and what was active before may come back with its own.
    assert k6(change(stable(450), stable(450), **on_file)) == ()
    assert k6(change(stable(400), flat(), mode="standard", restores_active=True)) == ()
    assert len(k6(change(stable(400), mode="standard", origin="first_fit"))) == 20


def test_each_slot_has_its_own_measurement() -> None:
    held = content(right=flat())
    music = Program(slot=2, name="Music", right=flat())
    two = msgspec.structs.replace(held, programs=(*held.programs, music))
    louder = msgspec.structs.replace(music, right=with_band(flat(), 3, g50_ddb=230))
    candidate = msgspec.structs.replace(two, programs=(*held.programs, louder))
    for slot, rules in ((1, set()), (2, {2})):
        known = {(slot, "right"): (250,) * 10}
        assert {f.slot for f in k6(change_of(candidate, two, max_stable_gain_ddb=known))} == rules
