"""The twelve safety rules as people read them: what each says, with its numbers, and where these come from.

The documentation's table is made of this, so that it cannot say anything else than the code. This module must not
know how a rule is applied. Read ``rules``.
"""

from dataclasses import dataclass, fields
from typing import Final

from .limits import KERNEL_LIMITS, ClinicLimits, decibel

__all__ = ["RuleText", "rules", "rules_table"]


@dataclass(frozen=True, slots=True)
class RuleText:
    """One rule: its name, what it says, and where its numbers come from."""

    name: str
    says: str
    source: str


# The fields of ClinicLimits stand for their numbers.
_RULES: Final = (
    RuleText(
        "K1",
        "well-formed integers on the aid's own bands, steps, ranges, slots and microphone modes; no Advanced mode on "
        "an aid without volatile memory",
        "contract, capability sheet",
    ),
    RuleText(
        "K2",
        "MPO never above {mpo_ceiling_ddb} dB SPL; over-the-counter aids {otc_ceiling_ddb} dB SPL, or "
        "{otc_compressing_ceiling_ddb} dB SPL with input-controlled compression",
        "21 CFR 801.422, 21 CFR 800.30",
    ),
    RuleText(
        "K3",
        "MPO not above the measured loudness level; without one at most {loudness_margin_ddb} dB above what the "
        "audiogram prescribes, in Advanced mode with a typed reason {loudness_margin_reasoned_ddb} dB; with neither on "
        "file it may not rise",
        "loudness level or audiogram on file (Dillon and Storey 1998); the margins are an engineering choice",
    ),
    RuleText(
        "K4",
        "gain does not rise with level and falls by at most {max_fall_ddb} dB from one level to the next; compression "
        "at most {max_ratio_tenths}:1, a warning above {warn_ratio_tenths}:1; neighbouring bands within "
        "{max_neighbour_ddb} dB",
        "engineering choice",
    ),
    RuleText(
        "K5",
        "warning when speech at 65 dB SPL is clipped, or speech at 80 dB SPL is driven more than "
        "{clipping_margin_ddb} dB into the limiter",
        "engineering choice",
    ),
    RuleText(
        "K6",
        "gain stays {feedback_margin_ddb} dB under the measured maximum stable gain; without a measurement Standard "
        "mode raises no gain above what was active last",
        "feedback measurement; the margin is an engineering choice",
    ),
    RuleText(
        "K7",
        "live, per change: gain at most +{live_rise_ddb} dB per band, +{live_rise_all_bands_ddb} dB when all bands "
        "move, MPO +{live_mpo_rise_ddb} dB",
        "noticeable differences (Caswell-Midwinter and Whitmer 2019)",
    ),
    RuleText(
        "K8",
        "live, in all: gain at most +{window_rise_ddb} dB per band in 10 s, +{session_rise_ddb} dB over where the "
        "session began and over the lowest active value of the last 7 days, MPO +{session_mpo_rise_ddb} dB; "
        "+{unreverted_rise_ddb} dB on an aid that keeps what it was given when its link is lost",
        "session base, lowest active value of the last 7 days; engineering choice",
    ),
    RuleText(
        "K9",
        "Standard mode, per package: gain at most +{package_rise_ddb} dB per band and +{package_mean_rise_ddb} dB on "
        "average over what is active and over the lowest active value of the last 7 days; MPO may only go down",
        "active in the aid, lowest active value of the last 7 days; engineering choice",
    ),
    RuleText(
        "K10",
        "lowering is always allowed; more than {lowering_ddb} dB in a band needs a typed reason",
        "engineering choice",
    ),
    RuleText(
        "K11",
        "both ears have the same slots; the mean gain of one ear against the other changes by at most "
        "{ear_difference_ddb} dB per change, unless the audiogram explains it, or both held that together before",
        "engineering choice, audiogram on file",
    ),
    RuleText(
        "K12",
        "never remotely: an MPO raised to where the aid limits nothing, the last universal program gone, a rise in "
        "Standard mode past a red flag; a factory reset, firmware, receiver, coupling or a program taken away cannot "
        "even be said",
        "never remotely, red flags on file",
    ),
)


def rules(limits: ClinicLimits = KERNEL_LIMITS) -> tuple[RuleText, ...]:
    """All twelve, K1 to K12, with the numbers of ``limits``."""
    numbers = {field.name: decibel(getattr(limits, field.name)).removesuffix(".0") for field in fields(limits)}
    return tuple(RuleText(rule.name, rule.says.format_map(numbers), rule.source) for rule in _RULES)


def rules_table() -> str:
    """The rules as a Markdown table."""
    rows = (f"| {rule.name} | {rule.says} | {rule.source} |" for rule in rules())
    return "\n".join(("| rule | says | source |", "| --- | --- | --- |", *rows))
