"""Safety rules K10 to K12: what is taken away, how the ears stand to each other, and what is never done remotely.

This module must not know how far anything may rise (``safety_rises``). Read ``k10``, ``k11`` and ``k12``.
"""

from collections.abc import Iterator, Mapping

from protocol.contract.base import Ear
from protocol.contract.fitting import BAND_PATHS, Content, EarProgram, Finding

from .audiogram import Audiogram, threshold_db
from .limits import ENGINEERING, GAIN_PATHS, decibel
from .model import band_values, greatest_rise
from .safety_change import Change, Part, gathered, whole
from .safety_levels import prescribed_mpo_ddb

__all__ = ["k10", "k11", "k12"]


def k10(change: Change) -> tuple[Finding, ...]:
    """Lowering is always allowed; more than 10 dB in a band needs a reason, so that nobody is left without sound."""
    return tuple(finding for part in change.parts if part.changed for finding in gathered(_taken_away(change, part)))


def _taken_away(change: Change, part: Part) -> Iterator[Finding]:
    if part.old is None:
        return
    limits, reasoned = change.context.limits, bool(change.context.reason.strip())
    limit, source = limits.lowering_ddb, limits.source("lowering_ddb", ENGINEERING)
    if all(greatest_rise(band_values(part.new, path), band_values(part.old, path)) <= limit for path in GAIN_PATHS):
        return
    for band in range(len(part.bands_hz)):
        value = max(band_values(part.old, path)[band] - band_values(part.new, path)[band] for path in GAIN_PATHS)
        if value > limit:
            text = f"gain is lowered by {decibel(value)} dB; more than {decibel(limit)} dB needs a reason"
            yield part.finding("K10", text, source, band=band, value=value, limit=limit, refused=not reasoned)


def k11(change: Change) -> tuple[Finding, ...]:
    """The mean gain of one ear against the other changes by at most 6 dB, unless the audiogram explains it.

    Measured from what is active in Standard mode, else from the base. Only an ear that is raised is refused, and not
    when both held that together before: what was lowered in one ear can be taken back.
    """
    by_slot: dict[int, dict[Ear, Part]] = {}
    for part in change.parts:
        by_slot.setdefault(part.slot, {})[part.ear] = part
    findings: list[Finding] = []
    for ears in by_slot.values():
        if len(ears) == 2:
            findings += _apart(change, ears)
    return tuple(findings)


def _apart(change: Change, ears: Mapping[Ear, Part]) -> Iterator[Finding]:
    right, left, limits = ears["right"], ears["left"], change.context.limits
    bands, limit = len(right.bands_hz), limits.ear_difference_ddb
    active = change.context.budgets.active if change.mode == "standard" else None
    held = {ear: part.at(active) or part.before for ear, part in ears.items()}
    after = sum(right.new.g65_ddb) - sum(left.new.g65_ddb)
    moved = after - _difference(held["right"], held["left"])
    if abs(moved) <= limit * bands or _explained(change.context.audiogram, right.bands_hz, after):
        return
    louder = right if moved > 0 else left
    # Rounded up, so that a difference just over the limit does not read as the limit.
    value = -(-abs(moved) // bands)
    text = f"gain for speech moves by {decibel(value)} dB on average against the other ear, at most {decibel(limit)} dB"
    refused = not change.context.restores_pair and any(louder.rises("g65Ddb", band) for band in range(bands))
    source = limits.source("ear_difference_ddb", ENGINEERING)
    yield louder.finding("K11", text, source, value=value, limit=limit, refused=refused)


def _difference(right: EarProgram | None, left: EarProgram | None) -> int:
    """Summed over the bands; 0 where an ear held nothing."""
    return 0 if right is None or left is None else sum(right.g65_ddb) - sum(left.g65_ddb)


def _explained(audiogram: Audiogram | None, bands_hz: tuple[int, ...], difference: int) -> bool:
    """Whether the ear that gets more hears worse, by at least as much as it gets more."""
    if audiogram is None or len(audiogram.ears) < 2:
        return False
    right, left = audiogram.ears["right"], audiogram.ears["left"]
    loss = sum(threshold_db(right, band) - threshold_db(left, band) for band in bands_hz) * 10
    return min(0, loss) <= difference <= max(0, loss)


def k12(change: Change) -> tuple[Finding, ...]:
    """Never remotely: the limiter off, the last universal program gone, red flags passed over in Standard mode.

    What else there is (a factory reset, other firmware, another receiver or coupling, a program taken away) a
    content cannot say: unknown fields are refused when it is decoded, a slot that is left out by K1.
    """
    findings = [*_limiter_off(change)]
    if change.base is not None and _has_universal(change.base) and not _has_universal(change.candidate):
        findings.append(whole("K12", "the last universal program must stay one", "never remotely"))
    if change.context.red_flags:
        rises = any(p.rises(path, b) for p in change.parts for path in BAND_PATHS for b in range(len(p.bands_hz)))
        text = "a sign that needs a physician is on file and was not dismissed"
        refused = change.mode == "standard" and rises
        findings.append(whole("K12", text, "red flags on file", refused=refused))
    return tuple(findings)


def _has_universal(content: Content) -> bool:
    return any(program.category == "universal" for program in content.programs)


def _limiter_off(change: Change) -> Iterator[Finding]:
    """An MPO at the greatest that the aid has limits nothing: only where that is not above what is wanted."""
    for part in change.parts:
        highest = part.sheet.mpo_max_ddb
        if max(part.new.mpo_ddb) < highest:
            continue
        prescribed = prescribed_mpo_ddb(change, part)
        measured = change.context.loudness_ddb.get(part.ear, (None,) * len(part.bands_hz))
        for band, value in enumerate(part.new.mpo_ddb):
            wanted = prescribed if measured[band] is None else measured[band]
            if value == highest and part.rises("mpoDdb", band) and (wanted is None or wanted < highest):
                text = f"maximum output may not rise to {decibel(highest)} dB SPL, where the aid limits nothing"
                yield part.finding("K12", text, part.sheet_name, band=band, value=value, limit=highest)
