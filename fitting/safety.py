"""The safety kernel: the rules that a configuration must keep before it may be sent to an aid.

Each rule is a pure function over the *whole* candidate, never over the delta alone, and each finding names
rule, ear, band, value, limit and where the limit comes from. ``SafetyKernel`` is the port: a maker may put
another in place, ours is ``Kernel``. This module must not know who asks, nor how a change travels. Read
``Kernel.check`` first; ``rules`` says what each rule says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Protocol

from protocol.contract.fitting import Finding, Mode, SafetySummary

from .limits import LIMIT_FIELDS, ClinicLimits
from .safety_change import Change, ChangeOrigin, SafetyContext
from .safety_form import k1, malformed, outside_sheet
from .safety_levels import k2, k3, k4, k5, k6
from .safety_pair import k10, k11, k12
from .safety_rises import k7, k8, k9

__all__ = [
    "Change",
    "ChangeOrigin",
    "Kernel",
    "SafetyContext",
    "SafetyKernel",
    "SafetyReport",
    "k1",
    "k2",
    "k3",
    "k4",
    "k5",
    "k6",
    "k7",
    "k8",
    "k9",
    "k10",
    "k11",
    "k12",
]

Rule = Callable[[Change], tuple[Finding, ...]]

_RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "K1": outside_sheet,
        "K2": k2,
        "K3": k3,
        "K4": k4,
        "K5": k5,
        "K6": k6,
        "K7": k7,
        "K8": k8,
        "K9": k9,
        "K10": k10,
        "K11": k11,
        "K12": k12,
    }
)
_BOUNDS_A_RISE_IN: Final[Mapping[str, Mode]] = {"K7": "advanced", "K8": "advanced", "K9": "standard"}


@dataclass(frozen=True, slots=True)
class SafetyReport:
    """Everything that the kernel noticed, the rules that it applied, and the numbers that it applied them with."""

    findings: tuple[Finding, ...]
    rules: tuple[str, ...]
    limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that forbid the change."""
        return tuple(finding for finding in self.findings if finding.severity == "refuse")

    @property
    def accepted(self) -> bool:
        """Whether the change may be made."""
        return not self.refusals

    def summary(self) -> SafetySummary:
        """What is kept with an accepted revision."""
        return SafetySummary(rules=self.rules, findings=self.findings, limits=dict(self.limits))


class SafetyKernel(Protocol):
    """Says whether a change may be made: the port that a maker may fill with rules of its own.

    ``check`` is pure and total: garbage is refused, it never raises, waits, or looks at a clock. It must hold
    whatever projection of a maker's own format it is given (the open tables beside a vendor payload), and a
    kernel that replaces ours should call ours and add to its findings, for it may only be stricter.
    """

    def check(self, change: Change) -> SafetyReport:
        """Every finding about the whole candidate."""
        ...


class Kernel:
    """The rules K1 to K12. K7 and K8 hold in Advanced mode, K9 in Standard mode.

    A first fit and the restoring of what was active before are exempt from K7 to K9, and from nothing else, but that
    K11 lets a pair come back that was active as one; what RAM holds already is saved without K7.
    """

    def check(self, change: Change) -> SafetyReport:
        """Every finding about the whole candidate; of a malformed one only how it is malformed."""
        wrong = malformed(change)
        if wrong:
            return SafetyReport(wrong, rules=("K1",))
        names = tuple(name for name in _RULES if _holds(name, change))
        findings = tuple(finding for name in names for finding in _RULES[name](change))
        return SafetyReport(findings, names, _numbers(change.context.limits))


def _holds(rule: str, change: Change) -> bool:
    mode = _BOUNDS_A_RISE_IN.get(rule)
    if mode is None:
        return True
    if change.origin == "first_fit" or change.context.restores_active:
        return False
    return mode == change.mode and not (rule == "K7" and change.context.in_ram)


@lru_cache(maxsize=256)
def _numbers(limits: ClinicLimits) -> Mapping[str, int]:
    return MappingProxyType({shown: getattr(limits, name) for shown, name in LIMIT_FIELDS.items()})
