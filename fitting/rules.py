"""The twelve safety rules as people read them: what each says, with its numbers, and where these come from.

The documentation's table is made of this, so that it cannot say anything else than the code. This module must not
know how a rule is applied. Read ``rules``.
"""

from dataclasses import dataclass

from .limits import KERNEL_LIMITS, ClinicLimits, decibel

__all__ = ["RuleText", "rules", "rules_table"]


@dataclass(frozen=True, slots=True)
class RuleText:
    """One rule: its name, what it says, and where its numbers come from."""

    name: str
    says: str
    source: str


def rules(limits: ClinicLimits = KERNEL_LIMITS) -> tuple[RuleText, ...]:
    """All twelve, K1 to K12, with the numbers of ``limits``."""

    def db(name: str) -> str:
        return f"{decibel(getattr(limits, name)).removesuffix('.0')} dB"

    def spl(name: str) -> str:
        return f"{db(name)} SPL"

    def ratio(name: str) -> str:
        return f"{decibel(getattr(limits, name)).removesuffix('.0')}:1"

    return (
        RuleText(
            "K1",
            "well-formed integers on the aid's own bands, steps, ranges, slots and microphone modes; "
            "no Advanced mode on an aid without volatile memory",
            "contract, capability sheet",
        ),
        RuleText(
            "K2",
            f"MPO never above {spl('mpo_ceiling_ddb')}; over-the-counter aids {spl('otc_ceiling_ddb')}, or "
            f"{spl('otc_compressing_ceiling_ddb')} with input-controlled compression",
            "21 CFR 801.422, 21 CFR 800.30",
        ),
        RuleText(
            "K3",
            "MPO not above the measured loudness level; without one at most "
            f"{db('loudness_margin_ddb')} above what the audiogram prescribes, in Advanced mode with a typed reason "
            f"{db('loudness_margin_reasoned_ddb')}; with neither on file it may not rise",
            "loudness level or audiogram on file (Dillon and Storey 1998); the margins are an engineering choice",
        ),
        RuleText(
            "K4",
            f"gain does not rise with level and falls by at most {db('max_fall_ddb')} from one level to the next; "
            f"compression at most {ratio('max_ratio_tenths')}, a warning above {ratio('warn_ratio_tenths')}; "
            f"neighbouring bands within {db('max_neighbour_ddb')}",
            "engineering choice",
        ),
        RuleText(
            "K5",
            "warning when speech at 65 dB SPL is clipped, or speech at 80 dB SPL is driven more than "
            f"{db('clipping_margin_ddb')} into the limiter",
            "engineering choice",
        ),
        RuleText(
            "K6",
            f"gain stays {db('feedback_margin_ddb')} under the measured maximum stable gain; without a measurement "
            "Standard mode raises no gain above what was active last",
            "feedback measurement; the margin is an engineering choice",
        ),
        RuleText(
            "K7",
            f"live, per change: gain at most +{db('live_rise_ddb')} per band, +{db('live_rise_all_bands_ddb')} when "
            f"all bands move, MPO +{db('live_mpo_rise_ddb')}",
            "noticeable differences (Caswell-Midwinter and Whitmer 2019)",
        ),
        RuleText(
            "K8",
            f"live, in all: gain at most +{db('window_rise_ddb')} per band in 10 s, +{db('session_rise_ddb')} over "
            "where the session began and over the lowest active value of the last 7 days, MPO "
            f"+{db('session_mpo_rise_ddb')}; +{db('unreverted_rise_ddb')} on an aid that keeps what it was given when "
            "its link is lost",
            "session base, lowest active value of the last 7 days; engineering choice",
        ),
        RuleText(
            "K9",
            f"Standard mode, per package: gain at most +{db('package_rise_ddb')} per band and "
            f"+{db('package_mean_rise_ddb')} on average over what is active and over the lowest active value of the "
            "last 7 days; MPO may only go down",
            "active in the aid, lowest active value of the last 7 days; engineering choice",
        ),
        RuleText(
            "K10",
            f"lowering is always allowed; more than {db('lowering_ddb')} in a band needs a typed reason",
            "engineering choice",
        ),
        RuleText(
            "K11",
            "both ears have the same slots; the mean gain of one ear against the other changes by at most "
            f"{db('ear_difference_ddb')} per change, unless the audiogram explains it",
            "engineering choice, audiogram on file",
        ),
        RuleText(
            "K12",
            "never remotely: an MPO raised to where the aid limits nothing, the last universal program gone, a rise in "
            "Standard mode past a red flag; a factory reset, firmware, receiver, coupling or a program taken away "
            "cannot even be said",
            "never remotely, red flags on file",
        ),
    )


def rules_table() -> str:
    """The rules as a Markdown table."""
    rows = (f"| {rule.name} | {rule.says} | {rule.source} |" for rule in rules())
    return "\n".join(("| rule | says | source |", "| --- | --- | --- |", *rows))
