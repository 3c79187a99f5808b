"""Safety rules K2 to K6: where gain and output may be at all, however they got there.

K2's regulation is absolute. Each other rule refuses only what breaks it more than the base does, and never a
lowering. This module must not know how fast a change may be (``safety_rises``). Read ``k2`` to ``k6`` in order.
"""

from collections.abc import Iterator

from msgspec import UNSET, UnsetType

from protocol.contract.fitting import Finding

from .limits import ENGINEERING, KERNEL_LIMITS, decibel, mpo_ceiling_ddb, mpo_ceiling_name
from .prescription import sspl_3fa_db
from .safety_change import Change, Part, PerBand, parts
from .slopes import Breach, breaches, steep_ratios

__all__ = ["k2", "k3", "k4", "k5", "k6", "prescribed_mpo_ddb"]


def k2(change: Change) -> tuple[Finding, ...]:
    """No band's MPO above 132 dB SPL, on an over-the-counter aid above 111 (117 with compression).

    A clinic's lower ceiling refuses only what is above the base as well.
    """
    limits = change.context.limits
    findings: list[Finding] = []
    for part in parts(change):
        law = "21 CFR 800.30" if part.sheet.otc else "21 CFR 801.422"
        highest, ceiling = (mpo_ceiling_ddb(part.sheet, of) for of in (KERNEL_LIMITS, limits))
        source = limits.source(mpo_ceiling_name(part.sheet), law)
        for band, value in enumerate(part.new.mpo_ddb):
            if value > ceiling:
                text = f"maximum output must not be above {decibel(ceiling)} dB SPL, asked for {decibel(value)} dB SPL"
                refused = value > highest or part.rises("mpoDdb", band)
                findings.append(
                    part.finding("K2", text, source, band=band, value=value, limit=ceiling, refused=refused)
                )
    return tuple(findings)


def k3(change: Change) -> tuple[Finding, ...]:
    """MPO not above what is too loud: as measured, else as the audiogram prescribes and a margin.

    With neither on file no MPO may rise; where there is no base either, it may only be the aid's least.
    """
    findings: list[Finding] = []
    for part in parts(change):
        for band, value in enumerate(part.new.mpo_ddb):
            limit, text, source = _loudness_limit(change, part, band)
            if value > limit:
                text = f"maximum output {text}, asked for {decibel(value)} dB SPL"
                refused = part.rises("mpoDdb", band)
                findings.append(part.finding("K3", text, source, band=band, value=value, limit=limit, refused=refused))
    return tuple(findings)


def prescribed_mpo_ddb(change: Change, part: Part) -> int | None:
    """The maximum output that the audiogram on file prescribes, None when there is none for that ear."""
    audiogram = change.context.audiogram
    if audiogram is None or part.ear not in audiogram.ears:
        return None
    return round(sspl_3fa_db(audiogram.ears[part.ear]) * 10)


def _loudness_limit(change: Change, part: Part, band: int) -> tuple[int, str, str]:
    context, limits = change.context, change.context.limits
    measured = context.loudness_ddb[part.ear][band] if part.ear in context.loudness_ddb else None
    if measured is not None:
        text = f"may be at most {decibel(measured)} dB SPL, which was measured as too loud"
        return measured, text, "loudness level on file"
    prescribed = prescribed_mpo_ddb(change, part)
    if prescribed is None:
        held = part.sheet.mpo_min_ddb if part.before is None else part.before.mpo_ddb[band]
        return held, f"may not rise above {decibel(held)} dB SPL without an audiogram", "no audiogram on file"
    reasoned = change.mode == "advanced" and change.context.reason.strip()
    name = "loudness_margin_reasoned_ddb" if reasoned else "loudness_margin_ddb"
    margin: int = getattr(limits, name)
    text = f"may be at most {decibel(margin)} dB above the prescribed {decibel(prescribed)} dB SPL"
    return prescribed + margin, text, limits.source(name, "audiogram on file")


def k4(change: Change) -> tuple[Finding, ...]:
    """Gain falls with level, not too fast; the ratio stays at 4 or below; neighbouring bands stay close.

    What the base already breaks is a warning unless the candidate breaks it more. Lowering all three
    gains of a band together, or its MPO, is never refused.
    """
    limits = change.context.limits
    findings: list[Finding] = []
    for part in parts(change):
        before = {} if part.old is None else {breach.key: breach.excess for breach in breaches(part.old, limits)}
        for breach in breaches(part.new, limits):
            worse = breach.excess > before.get(breach.key, 0)
            refused = worse and not _comes_from_lowering(part, breach)
            source = limits.source(breach.limit_name, ENGINEERING) if breach.limit_name else "compression"
            findings.append(
                part.finding(
                    "K4",
                    breach.text,
                    source,
                    band=breach.band,
                    value=breach.value,
                    limit=breach.limit,
                    refused=refused,
                )
            )
        for band, ratio in steep_ratios(part.new, limits):
            text, limit = f"compression ratio is high, {decibel(ratio)}", limits.warn_ratio_tenths
            source = limits.source("warn_ratio_tenths", ENGINEERING)
            findings.append(part.finding("K4", text, source, band=band, value=ratio, limit=limit, refused=False))
    return tuple(findings)


def _comes_from_lowering(part: Part, breach: Breach) -> bool:
    """Whether the breach is there only because a band was lowered as a whole."""
    if breach.path is None or breach.low_band is None:
        return part.lowered(breach.band)
    return not part.rises(breach.path, breach.band) and part.lowered(breach.low_band)


def k5(change: Change) -> tuple[Finding, ...]:
    """Speech should not be clipped, nor loud speech driven more than 15 dB into the limiter. Warnings only."""
    findings: list[Finding] = []
    for part in parts(change):
        for band, mpo in enumerate(part.new.mpo_ddb):
            findings += _clipped(change, part, band, (650, part.new.g65_ddb[band], mpo, 0))
            margin = change.context.limits.clipping_margin_ddb
            findings += _clipped(change, part, band, (800, part.new.g80_ddb[band], mpo, margin))
    return tuple(findings)


def _clipped(change: Change, part: Part, band: int, levels: tuple[int, int, int, int]) -> Iterator[Finding]:
    level, gain, mpo, margin = levels
    if level + gain > mpo + margin:
        text = f"speech at {level // 10} dB SPL comes out at {decibel(level + gain)} dB SPL, the MPO is {decibel(mpo)}"
        source = change.context.limits.source("clipping_margin_ddb", ENGINEERING) if margin else ENGINEERING
        yield part.finding("K5", text, source, band=band, value=level + gain, limit=mpo + margin, refused=False)


def k6(change: Change) -> tuple[Finding, ...]:
    """Gain stays 3 dB under the maximum stable gain that was measured at this ear.

    Where none was measured, Standard mode raises no gain above what was active last. What a candidate itself
    calls stable can only lower the limit: a measurement comes from the file, or from what the aid holds.
    """
    findings: list[Finding] = []
    for part in parts(change):
        measured = _measured(change, part)
        claimed = _per_band(part.new.max_stable_gain_ddb, len(part.bands_hz))
        for band, known in enumerate(measured):
            stable = [gain for gain in (known, claimed[band]) if gain is not None]
            if stable:
                findings += _too_near(change, part, band, min(stable))
            if known is None and change.mode == "standard" and not change.context.restores_active:
                findings += _above_active(change, part, band)
    return tuple(findings)


def _measured(change: Change, part: Part) -> PerBand:
    bands = len(part.bands_hz)
    held = UNSET if part.old is None else part.old.max_stable_gain_ddb
    on_file = change.context.max_stable_gain_ddb.get((part.slot, part.ear), (None,) * bands)
    in_aid = _per_band(held, bands)
    return tuple(mine if new is None else new for new, mine in zip(on_file, in_aid, strict=True))


def _per_band(values: tuple[int, ...] | UnsetType, bands: int) -> PerBand:
    return (None,) * bands if values is UNSET else values


def _too_near(change: Change, part: Part, band: int, stable: int) -> Iterator[Finding]:
    limits = change.context.limits
    limit = stable - limits.feedback_margin_ddb
    over = part.gain_over(band, (limit, limit, limit))
    if over is not None:
        value = limit + over.excess
        text = f"gain must stay {decibel(limits.feedback_margin_ddb)} dB under the stable {decibel(stable)} dB, "
        text += f"asked for {decibel(value)} dB"
        source = limits.source("feedback_margin_ddb", "feedback measurement")
        yield part.finding("K6", text, source, band=band, value=value, limit=limit, refused=over.refused)


def _above_active(change: Change, part: Part, band: int) -> Iterator[Finding]:
    active = part.at(change.context.budgets.active) or part.before
    over = part.gain_over(band, part.ceilings(active, band, 0))
    if over is not None:
        text = f"gain may not rise without a feedback measurement, asked for {decibel(over.excess)} dB more"
        yield part.finding("K6", text, "last active gain", band=band, value=over.excess, limit=0, refused=over.refused)
