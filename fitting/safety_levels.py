"""Safety rules K2 to K6: where gain and output may be at all, however they got there.

K2's regulation is absolute. Each other rule refuses only what breaks it more than the base does, and never a
lowering. This module must not know how fast a change may be (``safety_rises``). Read ``k2`` to ``k6`` in order.
"""

from collections.abc import Iterator

from msgspec import UNSET, UnsetType

from protocol.contract.fitting import BandPath, Finding

from .limits import ENGINEERING, KERNEL_LIMITS, ClinicLimits, decibel, mpo_ceiling_ddb, mpo_ceiling_name
from .model import PerBand, band_values, greatest_rise
from .prescription import sspl_3fa_db
from .safety_change import Change, Part, gathered
from .slopes import Breach, breaches, steep_ratios

__all__ = ["k2", "k3", "k4", "k5", "k6", "prescribed_mpo_ddb"]


def k2(change: Change) -> tuple[Finding, ...]:
    """No band's MPO above 132 dB SPL, on an over-the-counter aid above 111 (117 with compression).

    A clinic's lower ceiling refuses only what is above the base as well.
    """
    return tuple(finding for part in change.parts for finding in gathered(_above_ceiling(change, part)))


def _above_ceiling(change: Change, part: Part) -> Iterator[Finding]:
    limits = change.context.limits
    highest, ceiling = (mpo_ceiling_ddb(part.sheet, of) for of in (KERNEL_LIMITS, limits))
    if max(part.new.mpo_ddb) <= ceiling:
        return
    source = limits.source(mpo_ceiling_name(part.sheet), "21 CFR 800.30" if part.sheet.otc else "21 CFR 801.422")
    for band, value in enumerate(part.new.mpo_ddb):
        if value > ceiling:
            text = f"maximum output must not be above {decibel(ceiling)} dB SPL, asked for {decibel(value)} dB SPL"
            refused = value > highest or part.rises("mpoDdb", band)
            yield part.finding("K2", text, source, band=band, value=value, limit=ceiling, refused=refused)


def k3(change: Change) -> tuple[Finding, ...]:
    """MPO not above what is too loud: as measured, else as the audiogram prescribes and a margin.

    With neither on file no MPO may rise; where there is no base either, it may only be the aid's least.
    """
    return tuple(finding for part in change.parts for finding in gathered(_too_loud(change, part)))


def _too_loud(change: Change, part: Part) -> Iterator[Finding]:
    prescribed = prescribed_mpo_ddb(change, part)
    loudest = _loudest_ddb(change, part, prescribed)
    if greatest_rise(loudest, part.new.mpo_ddb) <= 0:
        return
    for band, (value, limit) in enumerate(zip(part.new.mpo_ddb, loudest, strict=True)):
        if value > limit:
            why, source = _why_no_louder(change, part, band, prescribed)
            text = f"maximum output {why}, asked for {decibel(value)} dB SPL"
            refused = part.rises("mpoDdb", band)
            yield part.finding("K3", text, source, band=band, value=value, limit=limit, refused=refused)


def prescribed_mpo_ddb(change: Change, part: Part) -> int | None:
    """The maximum output that the audiogram on file prescribes, None when there is none for that ear."""
    audiogram = change.context.audiogram
    if audiogram is None or part.ear not in audiogram.ears:
        return None
    return round(sspl_3fa_db(audiogram.ears[part.ear]) * 10)


def _loudest_ddb(change: Change, part: Part, prescribed: int | None) -> tuple[int, ...]:
    """The greatest maximum output per band: what was measured there, else what the file allows in all bands."""
    bands = len(part.bands_hz)
    if prescribed is not None:
        margin: int = getattr(change.context.limits, _margin_name(change))
        otherwise = (prescribed + margin,) * bands
    else:
        otherwise = (part.sheet.mpo_min_ddb,) * bands if part.before is None else part.before.mpo_ddb
    measured = change.context.loudness_ddb.get(part.ear)
    if measured is None:
        return otherwise
    return tuple(of if found is None else found for of, found in zip(otherwise, measured, strict=True))


def _margin_name(change: Change) -> str:
    reasoned = change.mode == "advanced" and change.context.reason.strip()
    return "loudness_margin_reasoned_ddb" if reasoned else "loudness_margin_ddb"


def _why_no_louder(change: Change, part: Part, band: int, prescribed: int | None) -> tuple[str, str]:
    """What ``_loudest_ddb`` went by in a band, and where it comes from."""
    context, limits = change.context, change.context.limits
    measured = context.loudness_ddb[part.ear][band] if part.ear in context.loudness_ddb else None
    if measured is not None:
        return f"may be at most {decibel(measured)} dB SPL, which was measured as too loud", "loudness level on file"
    if prescribed is None:
        held = part.sheet.mpo_min_ddb if part.before is None else part.before.mpo_ddb[band]
        return f"may not rise above {decibel(held)} dB SPL without an audiogram", "no audiogram on file"
    name = _margin_name(change)
    margin: int = getattr(limits, name)
    text = f"may be at most {decibel(margin)} dB above the prescribed {decibel(prescribed)} dB SPL"
    return text, limits.source(name, "audiogram on file")


def k4(change: Change) -> tuple[Finding, ...]:
    """Gain falls with level, not too fast; the ratio stays at 4 or below; neighbouring bands stay close.

    What the base already breaks is a warning unless the candidate breaks it more. Lowering all three
    gains of a band together, or its MPO, is never refused.
    """
    limits = change.context.limits
    findings: list[Finding] = []
    for part in change.parts:
        broken = tuple(breaches(part.new, limits))
        held = () if part.old is None or not broken else breaches(part.old, limits)
        before = {breach.key: breach.excess for breach in held}
        by_kind: dict[str, list[Finding]] = {}
        for breach in broken:
            worse = breach.excess > before.get(breach.key, 0)
            by_kind.setdefault(breach.key[0], []).append(_breach(limits, part, breach, worse))
        for alike in by_kind.values():
            findings += gathered(alike)
        findings += gathered(_steep(change, part))
    return tuple(findings)


def _breach(limits: ClinicLimits, part: Part, breach: Breach, worse: bool) -> Finding:
    return part.finding(
        "K4",
        breach.text,
        limits.source(breach.limit_name, ENGINEERING) if breach.limit_name else ENGINEERING,
        band=breach.band,
        value=breach.value,
        limit=breach.limit,
        refused=worse and not _comes_from_lowering(part, breach),
    )


def _steep(change: Change, part: Part) -> Iterator[Finding]:
    limits = change.context.limits
    source = limits.source("warn_ratio_tenths", ENGINEERING)
    for band, ratio in steep_ratios(part.new, limits):
        text, limit = f"compression ratio is high, {decibel(ratio)}", limits.warn_ratio_tenths
        yield part.finding("K4", text, source, band=band, value=ratio, limit=limit, refused=False)


def _comes_from_lowering(part: Part, breach: Breach) -> bool:
    """Whether the breach is there only because a band was lowered as a whole."""
    if breach.path is None or breach.low_band is None:
        return part.lowered(breach.band)
    return not part.rises(breach.path, breach.band) and part.lowered(breach.low_band)


def k5(change: Change) -> tuple[Finding, ...]:
    """Speech should not be clipped, nor loud speech driven more than 15 dB into the limiter. Warnings only."""
    margin = change.context.limits.clipping_margin_ddb
    clipped = change.context.limits.source("clipping_margin_ddb", ENGINEERING)
    findings: list[Finding] = []
    for part in change.parts:
        findings += gathered(_driven(part, "g65Ddb", 0, ENGINEERING))
        findings += gathered(_driven(part, "g80Ddb", margin, clipped))
    return tuple(findings)


def _driven(part: Part, path: BandPath, margin: int, source: str) -> Iterator[Finding]:
    level = 650 if path == "g65Ddb" else 800
    gains, mpos = band_values(part.new, path), part.new.mpo_ddb
    if greatest_rise(mpos, gains) <= margin - level:
        return
    for band, (gain, mpo) in enumerate(zip(gains, mpos, strict=True)):
        output, limit = level + gain, mpo + margin
        if output > limit:
            text = f"speech at {level // 10} dB SPL comes out at {decibel(output)} dB SPL, the MPO is {decibel(mpo)}"
            yield part.finding("K5", text, source, band=band, value=output, limit=limit, refused=False)


def k6(change: Change) -> tuple[Finding, ...]:
    """Gain stays 3 dB under the maximum stable gain that was measured at this ear.

    Where none was measured, Standard mode raises no gain above what was active last. What a candidate itself
    calls stable can only lower the limit: a measurement comes from the file, or from what the aid holds, and there
    it comes in a live session only.
    """
    findings: list[Finding] = []
    for part in change.parts:
        measured = _measured(change, part)
        claimed = _per_band(part.new.max_stable_gain_ddb, len(part.bands_hz))
        stable = measured
        if part.new.max_stable_gain_ddb is not UNSET:
            stable = tuple(_lower(*pair) for pair in zip(measured, claimed, strict=True))
        findings += gathered(_too_near(change, part, stable))
        if change.mode == "standard" and not change.context.restores_active:
            findings += gathered(_above_active(change, part, measured))
            findings += _not_measured(part, measured, claimed)
    return tuple(findings)


def _measured(change: Change, part: Part) -> PerBand:
    bands = len(part.bands_hz)
    held = UNSET if part.old is None else part.old.max_stable_gain_ddb
    on_file = change.context.max_stable_gain_ddb.get((part.slot, part.ear))
    in_aid = _per_band(held, bands)
    if on_file is None:
        return in_aid
    return tuple(mine if new is None else new for new, mine in zip(on_file, in_aid, strict=True))


def _lower(one: int | None, other: int | None) -> int | None:
    return min((gain for gain in (one, other) if gain is not None), default=None)


def _per_band(values: tuple[int, ...] | UnsetType, bands: int) -> PerBand:
    return (None,) * bands if values is UNSET else values


def _too_near(change: Change, part: Part, stable: PerBand) -> Iterator[Finding]:
    limits = change.context.limits
    source = limits.source("feedback_margin_ddb", "feedback measurement")
    for band, gain in enumerate(stable):
        if gain is None:
            continue
        limit = gain - limits.feedback_margin_ddb
        over = part.gain_over(band, (limit, limit, limit))
        if over is not None:
            value = limit + over.excess
            text = f"gain may be at most {decibel(limit)} dB to stay stable, asked for {decibel(value)} dB"
            yield part.finding("K6", text, source, band=band, value=value, limit=limit, refused=over.refused)


def _above_active(change: Change, part: Part, measured: PerBand) -> Iterator[Finding]:
    active = part.at(change.context.budgets.active) or part.before
    for band, gain in enumerate(measured):
        over = part.gain_over(band, part.ceilings(active, band, 0)) if gain is None else None
        if over is not None:
            text = f"gain may not rise without a feedback measurement, asked for {decibel(over.excess)} dB more"
            source = "last active gain"
            yield part.finding("K6", text, source, band=band, value=over.excess, limit=0, refused=over.refused)


def _not_measured(part: Part, measured: PerBand, claimed: PerBand) -> Iterator[Finding]:
    """A package cannot bring a measurement along that the next package would rely on."""
    held = _per_band(UNSET if part.old is None else part.old.max_stable_gain_ddb, len(part.bands_hz))
    for band, (known, now, before) in enumerate(zip(measured, claimed, held, strict=True)):
        if now is not None and now != before and (known is None or now > known):
            text = f"a package cannot measure, {decibel(now)} dB is said to be stable"
            limit = UNSET if known is None else known
            yield part.finding("K6", text, "feedback measurement", band=band, value=now, limit=limit)
