"""Safety rule K1: what the other rules need before they can be applied, and what the aids can be told at all.

Garbage is a finding, never an exception: NaN, infinities, booleans, texts, wrong lengths, foreign objects. This
module must not know what is safe for a person. Read ``k1`` first.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, UnsetType

from protocol.contract.base import MAX_SAFE_INTEGER, Ear
from protocol.contract.fitting import BAND_PATHS, BandPath, Content, Finding
from protocol.errors import BadArgument

from .capability import CapabilitySheet
from .limits import decibel, path_range
from .model import band_values, ears_of, validate_shape
from .safety_change import Change, Part, whole

__all__ = ["k1", "malformed", "outside_sheet"]

_FORM: Final = "contract"
# No ear is so tight that an aid would not whistle at 100 dB of gain.
_MOST_STABLE_DDB: Final = 1_000


def k1(change: Change) -> tuple[Finding, ...]:
    """Well-formed integers on the aid's own grid, steps, ranges, slots and microphone modes.

    The other rules take only a change that is well-formed.
    """
    return malformed(change) or outside_sheet(change)


def malformed(change: Change) -> tuple[Finding, ...]:
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
    return (*_misfits(change), *_not_per_band(change))


def outside_sheet(change: Change) -> tuple[Finding, ...]:
    """What the aids cannot be told: values off their ranges and steps, and live changes without volatile memory."""
    findings = []
    for ear in ears_of(change.candidate):
        sheet = change.sheets[ear]
        if not sheet.volatile_write and (change.mode == "advanced" or change.kind == "volatile"):
            text = f"the {ear} aid cannot be written without changing its NVM, so there is no Advanced mode"
            findings.append(_form(text, ear=ear, source=f"capability sheet {sheet.model}"))
    for part in change.parts:
        findings += _levels_off(part)
        findings += _scalars_off(part)
    return tuple(findings)


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


def _not_per_band(change: Change) -> Iterator[Finding]:
    """What is on file is of other aids: their bands do not say anything about these."""
    bands = len(change.candidate.bands_hz)
    on_file = (*change.context.loudness_ddb.items(), *change.context.max_stable_gain_ddb.items())
    for place, values in on_file:
        if len(values) != bands:
            ear = place if isinstance(place, str) else place[1]
            yield _form(f"what was measured at the {ear} ear has {len(values)} bands, not {bands}", ear=ear)


def _levels_off(part: Part) -> Iterator[Finding]:
    for path in BAND_PATHS:
        values, (low, high, step) = band_values(part.new, path), path_range(part.sheet, path)
        if all(map(range(low, high + 1, step).__contains__, values)):
            continue
        for band, value in enumerate(values):
            fault = _fault(value, low, high, step)
            if fault is not None:
                text, limit = f"{path} {fault[0]}", fault[1]
                yield part.finding("K1", text, part.sheet_name, band=band, value=value, limit=limit)


def _scalars_off(part: Part) -> Iterator[Finding]:
    stable = part.new.max_stable_gain_ddb
    for band, value in enumerate(() if stable is UNSET else stable):
        fault = _fault(value, 0, _MOST_STABLE_DDB, 1)
        if fault is not None:
            yield part.finding("K1", f"maxStableGainDdb {fault[0]}", _FORM, band=band, value=value, limit=fault[1])
    sheet, value = part.sheet, part.new.nr_ddb
    fault = _fault(value, sheet.nr_min_ddb, sheet.nr_max_ddb, sheet.nr_step_ddb)
    if fault is not None:
        yield part.finding("K1", f"nrDdb {fault[0]}", part.sheet_name, value=value, limit=fault[1])
    if part.new.mic not in sheet.mics:
        yield part.finding("K1", f"mic must be one of {', '.join(sheet.mics)}", part.sheet_name)
    if part.slot > sheet.slots:
        text = f"has {sheet.slots} program slots"
        yield part.finding("K1", text, part.sheet_name, value=part.slot, limit=sheet.slots)


def _fault(value: int, low: int, high: int, step: int) -> tuple[str, int] | None:
    if not low <= value <= high:
        text = f"must be from {decibel(low)} to {decibel(high)} dB, asked for {decibel(value)} dB"
        return text, low if value < low else high
    if (value - low) % step:
        return f"must be on a step of {decibel(step)} dB, asked for {decibel(value)} dB", step
    return None


def _form(text: str, *, ear: Ear | UnsetType = UNSET, source: str = _FORM) -> Finding:
    return whole("K1", text, source, ear=ear)


_LEAF: Final = re.compile(r"\$\.programs\[(\d+)\]\.(left|right)\.(\w+)\[(\d+)\]$")


def _bad_leaf(plain: Any, error: str, sheets: Mapping[Ear, CapabilitySheet]) -> Finding:
    """Name ear and band of a value that is not a level, and its limit when it is a number at all."""
    place = _LEAF.search(error.removesuffix("`"))
    if place is None:
        return _form(f"malformed content: {error}")
    program, ear, path, band = int(place[1]), cast("Ear", place[2]), place[3], int(place[4])
    # The slot comes first in a program, so it has been found well before anything in an ear.
    slot, value = plain["programs"][program]["slot"], plain["programs"][program][ear][path][band]
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_SAFE_INTEGER
    if not number or ear not in sheets or path not in BAND_PATHS:
        found = _form(f"malformed content: {error}", ear=ear)
        return msgspec.structs.replace(found, slot=slot, band=band, value=value if number else UNSET)
    low, high, _ = path_range(sheets[ear], cast("BandPath", path))
    text = f"{ear} band {band} {path} must be from {decibel(low)} to {decibel(high)} dB, asked for {decibel(value)} dB"
    found = _form(text, ear=ear, source=f"capability sheet {sheets[ear].model}")
    return msgspec.structs.replace(found, slot=slot, band=band, value=value, limit=low if value < low else high)
