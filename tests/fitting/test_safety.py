"""The kernel as a whole: which rules hold when, and what its report keeps."""

from dataclasses import fields
from typing import Any

import msgspec
import pytest

from fitting.limits import ClinicLimits
from fitting.safety import Change, Kernel, SafetyContext
from protocol.contract.fitting import Finding
from tests.fitting.changes import change_of, check, refused_by
from tests.fitting.contents import BOTH, content, flat, with_band

ADVANCED = ("K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K10", "K11", "K12")
STANDARD = ("K1", "K2", "K3", "K4", "K5", "K6", "K9", "K10", "K11", "K12")
EXEMPT = ("K1", "K2", "K3", "K4", "K5", "K6", "K10", "K11", "K12")


def test_an_unchanged_configuration_is_accepted_without_a_finding() -> None:
    report = check(flat(), flat())
    assert report.accepted
    assert report.findings == ()


def test_k7_and_k8_hold_in_advanced_mode_and_k9_in_standard_mode() -> None:
    assert check(flat(), flat(), mode="advanced").rules == ADVANCED
    assert check(flat(), flat(), mode="standard").rules == STANDARD


@pytest.mark.parametrize("mode", ["advanced", "standard"])
@pytest.mark.parametrize("exempt", [{"origin": "first_fit"}, {"restores_active": True}])
def test_a_first_fit_and_what_was_active_before_are_exempt_from_k7_to_k9_only(
    mode: str, exempt: dict[str, Any]
) -> None:
    assert check(flat(), flat(), mode=mode, **exempt).rules == EXEMPT


def test_a_rollback_that_was_never_active_is_exempt_from_nothing() -> None:
    assert check(flat(), flat(), origin="rollback").rules == ADVANCED


def test_the_report_keeps_the_numbers_of_the_clinic_beside_the_findings() -> None:
    warned = with_band(flat(), 3, g50_ddb=255)
    summary = check(warned, warned, limits=ClinicLimits(live_rise_ddb=20)).summary()
    assert summary.limits["liveRiseDdb"] == 20
    assert summary.limits["mpoCeilingDdb"] == 1_320
    assert len(summary.limits) == len(fields(ClinicLimits))
    assert [(f.rule, f.severity) for f in summary.findings] == [("K1", "refuse"), ("K4", "warn")]
    assert msgspec.json.decode(msgspec.json.encode(summary), type=type(summary)) == summary


def test_both_ears_are_checked() -> None:
    loud = content(right=flat(mpo_ddb=1_250), left=flat(mpo_ddb=1_250))
    report = Kernel().check(change_of(loud, None, origin="first_fit"))
    assert [f.ear for f in report.refusals if f.rule == "K1"] == ["right"] * 10 + ["left"] * 10


def test_a_kernel_that_knows_nothing_lets_everything_fall_and_nothing_rise() -> None:
    held = content()

    def rules(candidate: Any, mode: Any) -> set[str]:
        nothing = Change(held, candidate, BOTH, "fitting", mode, context=SafetyContext(reason="too loud"))
        return refused_by(Kernel().check(nothing))

    for mode in ("advanced", "standard"):
        silent = flat(g50_ddb=0, g65_ddb=0, g80_ddb=0, mpo_ddb=800)
        assert rules(content(right=silent, left=silent), mode) == set()
        assert rules(held, mode) == set()
    louder = content(right=with_band(flat(), 3, g50_ddb=210), left=flat())
    assert rules(louder, "advanced") == {"K8"}
    assert rules(louder, "standard") == {"K6", "K9"}
    over = content(right=with_band(flat(), 3, mpo_ddb=1_010), left=flat())
    assert rules(over, "advanced") == {"K3", "K8"}
    assert rules(over, "standard") == {"K3", "K9"}


def test_every_finding_says_where_its_limit_comes_from() -> None:
    wild = flat(g50_ddb=100, g65_ddb=150, g80_ddb=600, mpo_ddb=1_240)
    seen: dict[str, Finding] = {}
    for mode in ("advanced", "standard"):
        report = check(wild, flat(), mode=mode, red_flags=True, reason=" ")
        seen |= {finding.rule: finding for finding in report.findings}
    assert {"K3", "K4", "K5", "K7", "K8", "K9", "K12"} <= seen.keys()
    for finding in seen.values():
        assert finding.source
        assert f"({finding.source})" in finding.message
