"""K7 to K9: how far gain and output may rise, and from where that is counted."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fitting.budgets import Budgets, Held, budgets, levels_of
from fitting.limits import ClinicLimits
from fitting.safety import Kernel, k7, k8, k9
from protocol.contract.fitting import Content, EarProgram, Program
from tests.fitting.changes import change, change_of, check, named, only, refused_by
from tests.fitting.contents import OTC6, REF10, content, flat, with_band

NOTICED = "(noticeable difference, Caswell-Midwinter and Whitmer 2019)"


def right(program: EarProgram) -> Content:
    return content(right=program)


def counted(
    *, session: EarProgram | None = None, window: EarProgram | None = None, week: EarProgram | None = None
) -> Any:
    """Budgets counted from these, from the flat program where nothing is given."""
    levels = [levels_of(right(program or flat())) for program in (session, window, week)]
    return Budgets(session_base=levels[0], lowest_10s=levels[1], active=levels[2], lowest_active_7d=levels[2])


# K7


def test_one_band_may_rise_by_3_db_at_once() -> None:
    assert check(with_band(flat(), 3, g50_ddb=230), flat()).accepted
    assert check(with_band(flat(), 3, g50_ddb=240), flat()).refusals
    finding = only(k7(change(with_band(flat(), 3, g50_ddb=260), flat())))
    assert finding.message == "K7: right 1000 Hz gain may rise by at most 3.0 dB at once, asked for 6.0 dB " + NOTICED
    assert named(finding) == ("K7", "right", 3, 60, 30)


@pytest.mark.parametrize("path", ["g50_ddb", "g65_ddb", "g80_ddb"])
def test_each_of_the_three_gains_is_bounded(path: str) -> None:
    low = flat(g50_ddb=100, g65_ddb=100, g80_ddb=100)
    assert k7(change(with_band(low, 3, **{path: 130}), low)) == ()
    assert named(only(k7(change(with_band(low, 3, **{path: 131}), low)))) == ("K7", "right", 3, 31, 30)


def test_every_band_may_rise_by_2_db_at_once() -> None:
    assert check(flat(g50_ddb=220, g65_ddb=170, g80_ddb=120), flat()).accepted
    refusals = check(flat(g50_ddb=230, g65_ddb=180, g80_ddb=130), flat()).refusals
    assert [f.band for f in refusals] == list(range(10))
    assert refusals[0].message == (
        "K7: right 250 Hz gain may rise by at most 2.0 dB at once when all bands move, asked for 3.0 dB " + NOTICED
    )
    but_one = with_band(flat(g50_ddb=230, g65_ddb=180, g80_ddb=130), 0, g50_ddb=200, g65_ddb=150, g80_ddb=100)
    assert check(but_one, flat()).accepted


def test_the_mpo_may_rise_by_3_db_at_once() -> None:
    assert check(flat(mpo_ddb=1_030), flat()).accepted
    finding = only(check(with_band(flat(), 1, mpo_ddb=1_040), flat()).refusals)
    assert named(finding) == ("K7", "right", 1, 40, 30)
    assert "maximum output may rise by at most 3.0 dB at once, asked for 4.0 dB" in finding.message


def test_a_clinics_steps_are_smaller() -> None:
    small = ClinicLimits(live_rise_ddb=10, live_rise_all_bands_ddb=0, live_mpo_rise_ddb=20)
    for new, limit in (
        (with_band(flat(), 3, g50_ddb=220), 10),
        (flat(g50_ddb=210), 0),
        (with_band(flat(), 3, mpo_ddb=1_030), 20),
    ):
        findings = k7(change(new, flat(), limits=small))
        assert {(f.limit, f.source) for f in findings} == {(limit, "clinic policy")}


def test_a_first_fit_may_rise_further() -> None:
    assert check(flat(g50_ddb=300, g65_ddb=250, g80_ddb=200), flat(), origin="first_fit").accepted


def test_what_was_active_before_may_be_restored_at_once() -> None:
    assert check(flat(g50_ddb=300, g65_ddb=250, g80_ddb=200), flat(), restores_active=True).accepted
    assert check(flat(mpo_ddb=1_100), flat(), restores_active=True, mode="standard").accepted


def test_without_a_read_back_only_a_first_fit_may_be_made() -> None:
    finding = only(k7(change(flat())))
    assert finding.message == (
        "K7: right holds nothing that a rise could be measured from: begin with a first fit (nothing read back)"
    )
    assert check(flat(), origin="first_fit").accepted
    added = Kernel().check(change_of(content(), content(right=flat())))
    assert [(f.rule, f.ear) for f in added.refusals] == [("K7", "left"), ("K8", "left")]


def test_a_new_program_is_measured_from_the_lowest_of_the_ears_others() -> None:
    def grown(program: EarProgram) -> Content:
        held = right(flat())
        return msgspec.structs.replace(held, programs=(*held.programs, Program(slot=2, name="Music", right=program)))

    assert Kernel().check(change_of(grown(flat(g50_ddb=220)), right(flat()))).accepted
    report = Kernel().check(change_of(grown(with_band(flat(), 3, g50_ddb=240)), right(flat())))
    assert [(f.rule, f.slot, f.band, f.value) for f in report.refusals] == [("K7", 2, 3, 40)]
    assert report.refusals[0].message.startswith("K7: slot 2 right 1000 Hz gain may rise")
    package = Kernel().check(change_of(grown(with_band(flat(), 3, mpo_ddb=1_010)), right(flat()), mode="standard"))
    assert [(f.rule, f.slot, f.band, f.value) for f in package.refusals] == [("K9", 2, 3, 10)]


def test_lowering_is_not_bounded() -> None:
    silent = flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800)
    for rule in (k7, k8, k9):
        assert rule(change(silent, flat())) == ()
        assert rule(change(silent, flat(), budgets=Budgets())) == ()
    assert check(silent, flat()).accepted


# K8


@pytest.mark.parametrize("path", ["g50_ddb", "g65_ddb", "g80_ddb"])
def test_gain_may_rise_by_6_db_in_10_seconds(path: str) -> None:
    base = flat(g50_ddb=250, g65_ddb=250, g80_ddb=250)
    known = counted(session=base, week=base, window=flat(g50_ddb=200, g65_ddb=200, g80_ddb=200))
    assert k8(change(with_band(base, 3, **{path: 260}), base, budgets=known)) == ()
    finding = only(k8(change(with_band(base, 3, **{path: 270}), base, budgets=known)))
    assert named(finding) == ("K8", "right", 3, 70, 60)
    assert finding.message == (
        "K8: right 1000 Hz gain may rise by at most 6.0 dB in 10 s, asked for 7.0 dB (last 10 seconds)"
    )


def test_gain_may_rise_by_12_db_in_a_session_and_mpo_by_6() -> None:
    now = flat(g50_ddb=310, g65_ddb=260, g80_ddb=210, mpo_ddb=1_050)
    known = counted(window=now, week=now)
    assert k8(change(with_band(now, 3, g50_ddb=320, mpo_ddb=1_060), now, budgets=known)) == ()
    gain, mpo = k8(change(with_band(now, 3, g50_ddb=330, mpo_ddb=1_070), now, budgets=known))
    assert (named(gain), gain.source) == (("K8", "right", 3, 130, 120), "session base")
    assert (named(mpo), mpo.source) == (("K8", "right", 3, 70, 60), "session base")
    assert "gain may rise by at most 12.0 dB in a session" in gain.message
    assert "maximum output may rise by at most 6.0 dB in a session" in mpo.message


def test_sessions_do_not_ratchet_over_what_was_lowest_in_7_days() -> None:
    now = flat(g50_ddb=310, g65_ddb=260, g80_ddb=210, mpo_ddb=1_050)
    known = counted(window=now, session=now)
    assert k8(change(with_band(now, 3, g50_ddb=320, mpo_ddb=1_060), now, budgets=known)) == ()
    gain, mpo = k8(change(with_band(now, 3, g50_ddb=330, mpo_ddb=1_070), now, budgets=known))
    assert (named(gain), gain.source) == (("K8", "right", 3, 130, 120), "lowest active value of the last 7 days")
    assert (named(mpo), mpo.source) == (("K8", "right", 3, 70, 60), "lowest active value of the last 7 days")


def test_of_several_budgets_the_one_that_is_overdrawn_most_is_named() -> None:
    now = flat(g50_ddb=310)
    known = counted(window=now, session=flat(g50_ddb=200), week=flat(g50_ddb=190))
    finding = only(k8(change(with_band(now, 3, g50_ddb=320), now, budgets=known)))
    assert (finding.value, finding.source) == (130, "lowest active value of the last 7 days")


def test_a_budget_that_is_overdrawn_already_is_a_warning_until_more_rises() -> None:
    now = flat(g50_ddb=400, mpo_ddb=1_100)
    known = counted()
    warned = k8(change(with_band(now, 0, g50_ddb=390), now, budgets=known))
    assert [(f.severity, f.value) for f in warned] == [("warn", 200), ("warn", 100)]
    findings = k8(change(with_band(now, 0, g50_ddb=410), now, budgets=known))
    assert [(f.severity, f.band) for f in findings] == [("refuse", 0), ("warn", 1), ("warn", 0)]


def test_a_gain_that_rises_is_refused_beside_another_that_is_further_over_and_falls() -> None:
    now = with_band(flat(), 3, g50_ddb=400, g65_ddb=270)
    new = with_band(flat(), 3, g50_ddb=390, g65_ddb=280)
    finding = only(k8(change(new, now, budgets=counted(window=now))))
    assert (named(finding), finding.severity) == (("K8", "right", 3, 130, 120), "refuse")
    alike = only(k8(change(with_band(now, 3, g80_ddb=230), now, budgets=counted(window=now))))
    assert (alike.value, alike.severity) == (130, "refuse")


@pytest.mark.parametrize("missing", ["session_base", "lowest_10s", "lowest_active_7d"])
def test_what_is_not_known_lets_nothing_rise(missing: str) -> None:
    known = replace(counted(), **{missing: None})
    for new, band, value in (
        (with_band(flat(), 3, g80_ddb=110), 3, 10),
        (with_band(flat(), 4, mpo_ddb=1_020), 4, 20),
        (with_band(with_band(flat(), 2, g50_ddb=0), 5, g65_ddb=151), 5, 1),
    ):
        finding = only(k8(change(new, flat(), budgets=known)))
        assert named(finding) == ("K8", "right", band, value, 0)
        assert finding.source == "nothing on record"
    assert k8(change(flat(g50_ddb=190), flat(), budgets=known)) == ()


def test_levels_of_other_aids_are_as_good_as_unknown() -> None:
    other = levels_of(content(OTC6, right=flat(OTC6)))
    known = Budgets(other, other, other, other)
    assert only(k8(change(with_band(flat(), 3, g50_ddb=210), flat(), budgets=known))).source == "nothing on record"
    assert only(k9(change(with_band(flat(), 3, g50_ddb=210), flat(), budgets=known))).source == "nothing on record"


def test_an_aid_that_keeps_what_it_was_given_without_its_phone_is_raised_by_3_db_in_a_session() -> None:
    keeping = replace(REF10, reverts_on_link_loss=False)
    now = flat(g50_ddb=220, mpo_ddb=1_020)
    known = counted(window=now)
    assert k8(change(with_band(now, 3, g50_ddb=230, mpo_ddb=1_030), now, sheet=keeping, budgets=known)) == ()
    gain, mpo = k8(change(with_band(now, 3, g50_ddb=240, mpo_ddb=1_040), now, sheet=keeping, budgets=known))
    assert (named(gain), gain.source) == (("K8", "right", 3, 40, 30), "capability sheet ref10")
    assert (named(mpo), mpo.source) == (("K8", "right", 3, 40, 30), "capability sheet ref10")
    # Over the week, it is as any other aid.
    week = counted(session=now, window=now)
    assert k8(change(with_band(now, 3, g50_ddb=250), now, sheet=keeping, budgets=week)) == ()
    assert k8(change(with_band(now, 3, g50_ddb=240, mpo_ddb=1_040), now, budgets=known)) == ()


def test_a_clinics_budgets_are_smaller_also_than_that() -> None:
    keeping = replace(REF10, reverts_on_link_loss=False)
    for limits, sheet, value, limit in (
        (ClinicLimits(session_rise_ddb=20, session_mpo_rise_ddb=20), keeping, 30, 20),
        (ClinicLimits(unreverted_rise_ddb=10), keeping, 20, 10),
        (ClinicLimits(window_rise_ddb=10, session_mpo_rise_ddb=10), REF10, 20, 10),
    ):
        new = with_band(flat(), 3, g50_ddb=200 + value, mpo_ddb=1_000 + value)
        findings = k8(change(new, flat(), sheet=sheet, limits=limits))
        assert [(f.value, f.limit, f.source) for f in findings] == [(value, limit, "clinic policy")] * 2


def test_the_budget_of_the_week_can_be_tightened_too() -> None:
    now = flat(g50_ddb=250, mpo_ddb=1_030)
    limits = ClinicLimits(session_rise_ddb=50, session_mpo_rise_ddb=30)
    known = counted(session=now, window=now)
    findings = k8(change(with_band(now, 3, g50_ddb=260, mpo_ddb=1_040), now, budgets=known, limits=limits))
    assert [(f.value, f.limit, f.source) for f in findings] == [(60, 50, "clinic policy"), (40, 30, "clinic policy")]


# K9


def test_a_package_raises_one_band_by_5_db_and_no_mpo() -> None:
    assert k9(change(with_band(flat(), 3, g50_ddb=250), flat(), mode="standard")) == ()
    gain = only(k9(change(with_band(flat(), 3, g50_ddb=260), flat(), mode="standard")))
    assert (named(gain), gain.source) == (("K9", "right", 3, 60, 50), "active in the aid")
    mpo = only(k9(change(with_band(flat(), 3, mpo_ddb=1_010), flat(), mode="standard")))
    assert (named(mpo), mpo.source) == (("K9", "right", 3, 10, 0), "active in the aid")
    assert "gain may rise by at most 5.0 dB by a package, asked for 6.0 dB" in gain.message
    assert k9(change(flat(mpo_ddb=990), flat(), mode="standard")) == ()


def test_a_package_raises_the_bands_by_3_db_on_average_at_each_level() -> None:
    for path in ("g50_ddb", "g65_ddb", "g80_ddb"):
        low = flat(g50_ddb=100, g65_ddb=100, g80_ddb=100)
        at = msgspec.structs.replace(low, **{path: (130,) * 10})
        assert k9(change(at, low, mode="standard")) == ()
        finding = only(k9(change(with_band(at, 0, **{path: 131}), low, mode="standard")))
        assert named(finding) == ("K9", "right", msgspec.UNSET, 31, 30)
        assert finding.message.startswith(
            "K9: right gain may rise by at most 3.0 dB by a package on average, asked for 3.1 dB"
        )


def test_falls_do_not_pay_for_rises() -> None:
    new = flat()
    for band in range(10):
        new = with_band(new, band, g50_ddb=250 if band < 7 else 100)
    finding = only(k9(change(new, flat(), mode="standard")))
    assert (finding.value, finding.limit) == (35, 30)


def test_packages_do_not_ratchet_over_what_was_lowest_in_7_days() -> None:
    active = flat(g50_ddb=250, g65_ddb=200, mpo_ddb=950)
    week = levels_of(right(flat(mpo_ddb=940)))
    known = Budgets(active=levels_of(right(active)), lowest_active_7d=week)
    findings = k9(change(with_band(active, 3, g50_ddb=260), active, budgets=known))
    assert [(f.band, f.value, f.limit, f.severity) for f in findings] == [
        (3, 60, 50, "refuse"),
        (msgspec.UNSET, 51, 30, "refuse"),
        (0, 10, 0, "warn"),
    ]
    assert {f.source for f in findings} == {"lowest active value of the last 7 days"}
    lower = with_band(active, 3, g50_ddb=240)
    assert {f.severity for f in k9(change(lower, active, budgets=known))} == {"warn"}
    up = k9(change(with_band(active, 4, mpo_ddb=960), active, budgets=known))
    assert [(f.band, f.value) for f in up if f.severity == "refuse"] == [(4, 20)]


@pytest.mark.parametrize("missing", ["active", "lowest_active_7d"])
def test_a_package_over_what_nobody_knows_raises_nothing(missing: str) -> None:
    known = replace(counted(), **{missing: None})
    finding = only(k9(change(with_band(flat(), 3, g50_ddb=210), flat(), budgets=known)))
    assert named(finding) == ("K9", "right", 3, 10, 0)
    assert k9(change(flat(mpo_ddb=900), flat(), budgets=known)) == ()


def test_a_clinics_packages_are_smaller() -> None:
    limits = ClinicLimits(package_rise_ddb=20, package_mean_rise_ddb=10)
    band = only(k9(change(with_band(flat(), 3, g50_ddb=230), flat(), limits=limits)))
    mean = only(k9(change(flat(g50_ddb=220), flat(), limits=limits)))
    assert (band.limit, band.source, mean.limit, mean.source) == (20, "clinic policy", 10, "clinic policy")


def test_the_window_of_a_real_history_moves_on() -> None:
    held = [Held(0.0, right(flat())), Held(100.0, right(flat(g50_ddb=230))), Held(103.0, right(flat(g50_ddb=260)))]
    base, new = flat(g50_ddb=260), with_band(flat(g50_ddb=260), 3, g50_ddb=280)
    for now_s, refused in ((109.9, {"K8"}), (110.0, set()), (200.0, set())):
        known = budgets(now_s, session=held, active=held[:1])
        assert {f.rule for f in k8(change(new, base, budgets=known))} == refused


# Saving what RAM holds


def test_what_ram_holds_is_saved_without_k7_and_without_the_window() -> None:
    nvm, ram = flat(), flat(g50_ddb=320, mpo_ddb=1_060)
    assert refused_by(check(ram, nvm)) >= {"K7", "K8"}
    saved = change(ram, nvm, in_ram=True)
    assert k8(saved) == ()
    assert "K7" not in Kernel().check(saved).rules
    assert "K8" in Kernel().check(saved).rules


def test_what_is_saved_still_counts_from_where_the_session_and_the_week_began() -> None:
    nvm, ram = flat(), flat(g50_ddb=330, mpo_ddb=1_070)
    findings = k8(change(ram, nvm, in_ram=True))
    assert [(f.band, f.value, f.limit) for f in findings] == [(band, 130, 120) for band in range(10)] + [
        (band, 70, 60) for band in range(10)
    ]
    for missing in ("session_base", "lowest_10s", "lowest_active_7d"):
        known = replace(counted(), **{missing: None})
        assert only(k8(change(ram, nvm, in_ram=True, budgets=known))).source == "nothing on record"
