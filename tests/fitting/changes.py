"""Changes for tests of the safety kernel: everything is known, unless a test takes it away."""

from dataclasses import replace
from typing import Any

from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.budgets import Held, budgets
from fitting.capability import CapabilitySheet
from fitting.safety import Change, ChangeOrigin, Kernel, SafetyContext, SafetyReport
from protocol.contract.base import EARS
from protocol.contract.fitting import Content, EarProgram, Finding, Mode
from tests.fitting.contents import REF10, content

# Prescribes 114.8 dB SPL, so nothing here is too loud by itself.
N5 = STANDARD_AUDIOGRAMS["N5"]


def context_on(base: Content | None, **known: Any) -> SafetyContext:
    """A session that has just begun on ``base``, which has been active for long."""
    held = () if base is None else (Held(0.0, base),)
    found: dict[str, Any] = {
        "reason": "speech is too soft",
        "budgets": budgets(0.0, session=held, active=held),
        "audiogram": N5,
    }
    return SafetyContext(**(found | known))


def change_of(
    candidate: Content,
    base: Content | None,
    *,
    sheet: CapabilitySheet = REF10,
    origin: ChangeOrigin = "fitting",
    mode: Mode = "advanced",
    **known: Any,
) -> Change:
    """A change of whole contents, both aids of one model."""
    kind: Any = "volatile" if mode == "advanced" else "persist"
    return Change(base, candidate, dict.fromkeys(EARS, sheet), origin, mode, kind, context_on(base, **known))


def change(new: EarProgram, old: EarProgram | None = None, *, sheet: CapabilitySheet = REF10, **options: Any) -> Change:
    """A change of the only program of a right aid."""
    base = None if old is None else content(sheet, right=old)
    made = change_of(content(sheet, right=new), base, sheet=sheet, **options)
    return replace(made, sheets={"right": sheet})


def check(new: EarProgram, old: EarProgram | None = None, **options: Any) -> SafetyReport:
    """What the kernel says of ``change``."""
    return Kernel().check(change(new, old, **options))


def only(findings: tuple[Finding, ...]) -> Finding:
    """The one finding that there is."""
    assert len(findings) == 1, findings
    return findings[0]


def refused_by(report: SafetyReport) -> set[str]:
    """The rules that refused."""
    return {finding.rule for finding in report.refusals}


def named(finding: Finding) -> tuple[Any, ...]:
    """Rule, place and numbers of a finding."""
    return (finding.rule, finding.ear, finding.band, finding.value, finding.limit)
