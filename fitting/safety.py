"""The safety kernel: the rules that a configuration must keep before it may be sent to an aid.

Each rule is a pure function over the *whole* candidate, never over the delta alone, and each refusal
names rule, ear, band, value and limit. K1 (well-formed, inside the capability sheet) and K2 (absolute
output ceiling) hold always. K4 (order, slope, ratio, neighbours) refuses only what makes things worse
than the base, and never a lowering. K7 bounds what one change may raise. This module must not know
who asks, nor how a change travels. Read ``Kernel.check`` first.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

import msgspec
from msgspec import UNSET, UnsetType

from protocol.contract.base import MAX_SAFE_INTEGER, Ear
from protocol.contract.fitting import BAND_PATHS, BandPath, Content, EarProgram, Finding, Mode, SafetySummary
from protocol.errors import BadArgument

from .capability import CapabilitySheet
from .limits import (
    GAIN_PATHS,
    LIVE_RISE_ALL_BANDS_DDB,
    LIVE_RISE_DDB,
    RATIO_WARNING_TENTHS,
    decibel,
    mpo_ceiling_ddb,
    path_range,
)
from .log_values import RevisionOrigin
from .model import band_values, ear_program, ears_of, validate_shape
from .slopes import Breach, breaches, steep_ratios

__all__ = ["Change", "Kernel", "SafetyKernel", "SafetyReport", "k1", "k2", "k4", "k7"]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a device: ``candidate`` in place of ``base``, None before the first read-back."""

    base: Content | None
    candidate: Content
    sheets: Mapping[Ear, CapabilitySheet]
    origin: RevisionOrigin
    mode: Mode


@dataclass(frozen=True, slots=True)
class SafetyReport:
    """Everything that the kernel noticed, and the rules that it applied."""

    findings: tuple[Finding, ...]
    rules: tuple[str, ...] = ("K1", "K2", "K4", "K7")

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
        return SafetySummary(rules=self.rules, findings=self.findings)


class SafetyKernel(Protocol):
    """Says whether a change may be made. Total: garbage is refused, it never raises."""

    def check(self, change: Change) -> SafetyReport:
        """Every finding about the whole candidate."""
        ...


class Kernel:
    """The rules K1, K2, K4 and K7; a first fit is exempt from K7."""

    def check(self, change: Change) -> SafetyReport:
        """Every finding about the whole candidate; of a malformed one only how it is malformed."""
        malformed = _malformed(change)
        if malformed:
            return SafetyReport(malformed, rules=("K1",))
        findings = (*_outside_sheet(change), *k2(change), *k4(change))
        if change.origin == "first_fit":
            return SafetyReport(findings, rules=("K1", "K2", "K4"))
        return SafetyReport((*findings, *k7(change)))


def k1(change: Change) -> tuple[Finding, ...]:
    """Well-formed integers on the aid's own grid, steps, ranges, slots and microphone modes.

    The other rules take only a change that is well-formed.
    """
    return _malformed(change) or _outside_sheet(change)


def k2(change: Change) -> tuple[Finding, ...]:
    """No band's MPO above 132 dB SPL, on an over-the-counter aid above 111 (117 with compression)."""
    return tuple(
        part.finding(
            "K2",
            f"maximum output must not be above {decibel(limit)} dB SPL, asked for {decibel(value)} dB SPL",
            band=band,
            value=value,
            limit=limit,
        )
        for part in _parts(change)
        for limit in [mpo_ceiling_ddb(part.sheet)]
        for band, value in enumerate(part.new.mpo_ddb)
        if value > limit
    )


def k4(change: Change) -> tuple[Finding, ...]:
    """Gain falls with level, not too fast; the ratio stays at 4 or below; neighbouring bands stay close.

    What the base already breaks is a warning unless the candidate breaks it more. Lowering all three
    gains of a band together, or its MPO, is never refused.
    """
    findings: list[Finding] = []
    for part in _parts(change):
        before = {} if part.old is None else {breach.key: breach.excess for breach in breaches(part.old)}
        for breach in breaches(part.new):
            worse = breach.excess > before.get(breach.key, 0)
            refused = worse and not _comes_from_lowering(part, breach)
            findings.append(
                part.finding(
                    "K4",
                    breach.text,
                    band=breach.band,
                    value=breach.value,
                    limit=breach.limit,
                    severity="refuse" if refused else "warn",
                )
            )
        for band, ratio in steep_ratios(part.new):
            text = f"compression ratio is high, {decibel(ratio)}"
            limit = RATIO_WARNING_TENTHS
            findings.append(part.finding("K4", text, band=band, value=ratio, limit=limit, severity="warn"))
    return tuple(findings)


def k7(change: Change) -> tuple[Finding, ...]:
    """One change raises gain by at most 3 dB in a band, 2 dB when all bands move, and MPO by 3 dB."""
    findings: list[Finding] = []
    for part in _parts(change):
        old = part.old
        if old is None:
            text = "holds nothing that a rise could be measured from: begin with a first fit"
            findings.append(part.finding("K7", text))
            continue
        by_path = [_rises(old, part.new, path) for path in GAIN_PATHS]
        gain_rises = [max(rises) for rises in zip(*by_path, strict=True)]
        if all(gain_rises):
            findings += _too_high(part, "gain", gain_rises, LIVE_RISE_ALL_BANDS_DDB, " when all bands move")
        else:
            findings += _too_high(part, "gain", gain_rises, LIVE_RISE_DDB, "")
        findings += _too_high(part, "maximum output", _rises(old, part.new, "mpoDdb"), LIVE_RISE_DDB, "")
    return tuple(findings)


@dataclass(frozen=True, slots=True)
class _Part:
    """One ear of one program: what it is to be, and what it was (None when there was nothing)."""

    ear: Ear
    slot: int
    new: EarProgram
    old: EarProgram | None
    sheet: CapabilitySheet
    bands_hz: tuple[int, ...]

    def finding(
        self,
        rule: str,
        text: str,
        *,
        band: int | UnsetType = UNSET,
        value: int | UnsetType = UNSET,
        limit: int | UnsetType = UNSET,
        severity: Literal["refuse", "warn"] = "refuse",
    ) -> Finding:
        slot = f"slot {self.slot} " if self.slot > 1 else ""
        place = f"{self.ear} " if band is UNSET else f"{self.ear} {self.bands_hz[band]} Hz "
        message = f"{rule}: {slot}{place}{text}"
        return Finding(rule=rule, severity=severity, message=message, ear=self.ear, band=band, value=value, limit=limit)


def _parts(change: Change) -> Iterator[_Part]:
    base = change.base.programs if change.base is not None else ()
    old = {(program.slot, ear): ear_program(program, ear) for program in base for ear in change.sheets}
    for program in change.candidate.programs:
        for ear in ears_of(change.candidate):
            # Well-formed contents have the same ears in every program.
            new = cast("EarProgram", ear_program(program, ear))
            sheet, bands_hz = change.sheets[ear], change.candidate.bands_hz
            yield _Part(ear, program.slot, new, old.get((program.slot, ear)), sheet, bands_hz)


def _outside_sheet(change: Change) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    for part in _parts(change):
        for path in BAND_PATHS:
            low, high, step = path_range(part.sheet, path)
            for band, value in enumerate(band_values(part.new, path)):
                fault = _fault(value, low, high, step)
                if fault is not None:
                    text = f"{path} {fault[0]}"
                    findings.append(part.finding("K1", text, band=band, value=value, limit=fault[1]))
        sheet, value = part.sheet, part.new.nr_ddb
        fault = _fault(value, sheet.nr_min_ddb, sheet.nr_max_ddb, sheet.nr_step_ddb)
        if fault is not None:
            findings.append(part.finding("K1", f"nrDdb {fault[0]}", value=value, limit=fault[1]))
        if part.new.mic not in sheet.mics:
            findings.append(part.finding("K1", f"mic must be one of {', '.join(sheet.mics)}"))
        if part.slot > sheet.slots:
            text = f"has {sheet.slots} program slots"
            findings.append(part.finding("K1", text, value=part.slot, limit=sheet.slots))
    return tuple(findings)


def _fault(value: int, low: int, high: int, step: int) -> tuple[str, int] | None:
    if not low <= value <= high:
        text = f"must be from {decibel(low)} to {decibel(high)} dB, asked for {decibel(value)} dB"
        return text, low if value < low else high
    if (value - low) % step:
        return f"must be on a step of {decibel(step)} dB, asked for {decibel(value)} dB", step
    return None


def _comes_from_lowering(part: _Part, breach: Breach) -> bool:
    """Whether the breach is there only because a band was lowered as a whole."""
    if part.old is None:
        return False
    if breach.path is None or breach.low_band is None:
        return _lowered(part, part.old, breach.band)
    new, old = band_values(part.new, breach.path), band_values(part.old, breach.path)
    return new[breach.band] <= old[breach.band] and _lowered(part, part.old, breach.low_band)


def _lowered(part: _Part, old: EarProgram, band: int) -> bool:
    """All three gains lower than they were, or at the aid's least already, and the MPO no higher."""
    least = part.sheet.gain_min_ddb
    gains = [(band_values(old, path)[band], band_values(part.new, path)[band]) for path in GAIN_PATHS]
    falls = all(new < before or new == before == least for before, new in gains)
    return falls and part.new.mpo_ddb[band] <= old.mpo_ddb[band]


def _rises(old: EarProgram, new: EarProgram, path: BandPath) -> list[int]:
    return [b - a for a, b in zip(band_values(old, path), band_values(new, path), strict=True)]


def _too_high(part: _Part, name: str, rises: list[int], limit: int, when: str) -> list[Finding]:
    return [
        part.finding(
            "K7",
            f"{name} may rise by at most {decibel(limit)} dB at once{when}, asked for {decibel(rise)} dB",
            band=band,
            value=rise,
            limit=limit,
        )
        for band, rise in enumerate(rises)
        if rise > limit
    ]


_LEAF: Final = re.compile(r"\$\.programs\[(\d+)\]\.(left|right)\.(\w+)\[(\d+)\]$")


def _malformed(change: Change) -> tuple[Finding, ...]:
    """What keeps the other rules from being applied at all."""
    for name, content in (("content", change.candidate), ("base", change.base)):
        if content is None and name == "base":
            continue
        try:
            plain = msgspec.to_builtins(content)
            if msgspec.convert(plain, Content) != content:
                return (_form(f"the {name} is not a configuration"),)
            validate_shape(content)
        except msgspec.ValidationError as error:
            return (_bad_leaf(plain, str(error), change.sheets),)
        except BadArgument as error:
            return (_form(error.public_message),)
        # What has no plain form at all: foreign objects, cycles.
        except (TypeError, ValueError, RecursionError):
            return (_form(f"the {name} is not a configuration"),)
    return _misfits(change)


def _misfits(change: Change) -> tuple[Finding, ...]:
    candidate, base = change.candidate, change.base
    findings = []
    for ear in ears_of(candidate):
        if ear not in change.sheets:
            findings.append(_form(f"there is no {ear} aid", ear=ear))
        elif change.sheets[ear].bands_hz != candidate.bands_hz:
            findings.append(_form(f"the {ear} aid has other bands", ear=ear))
    if base is not None:
        if base.bands_hz != candidate.bands_hz:
            findings.append(_form("the bands are not those of what the aids hold"))
        for ear in ears_of(base):
            if ear not in ears_of(candidate):
                findings.append(_form(f"the {ear} ear must not be left out", ear=ear))
        for slot in {p.slot for p in base.programs} - {p.slot for p in candidate.programs}:
            findings.append(_form(f"the program in slot {slot} must not be left out"))
    return tuple(findings)


def _form(text: str, *, ear: Ear | UnsetType = UNSET) -> Finding:
    return Finding(rule="K1", severity="refuse", message=f"K1: {text}", ear=ear)


def _bad_leaf(plain: Any, error: str, sheets: Mapping[Ear, CapabilitySheet]) -> Finding:
    """Name ear and band of a value that is not a level, and its limit when it is a number at all."""
    place, text = _LEAF.search(error.removesuffix("`")), f"K1: malformed content: {error}"
    if place is None:
        return Finding(rule="K1", severity="refuse", message=text)
    program, ear, path, band = int(place[1]), cast("Ear", place[2]), place[3], int(place[4])
    value = plain["programs"][program][ear][path][band]
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_SAFE_INTEGER
    limit: int | UnsetType = UNSET
    if number and ear in sheets:
        low, high, _ = path_range(sheets[ear], cast("BandPath", path))
        limit = low if value < low else high
        text = f"K1: {ear} band {band} {path} must be from {decibel(low)} to {decibel(high)} dB, " + (
            f"asked for {decibel(value)} dB"
        )
    return Finding(
        rule="K1",
        severity="refuse",
        message=text,
        ear=ear,
        band=band,
        value=value if number else UNSET,
        limit=limit,
    )
