"""One FHIR Observation: the thresholds that it holds, each checked before it is believed.

The document is walked by hand: most of FHIR is optional and not ours to judge, and what is looked at must have the
shape that FHIR gives it. This module must not know how many observations make an audiogram. Read ``readings`` first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from protocol.contract.base import Ear

from .audiogram import FREQUENCIES_HZ, threshold_ddb
from .fhir_codes import (
    EAR_SITES,
    LOINC,
    MASKED,
    PANEL,
    SNOMED,
    THRESHOLD_CODES,
    contradiction,
    is_decibel_hl,
    other_quantity,
)
from .fhir_errors import Contradiction, LeftOut, NotFhir, TooManyEntries, UnknownModifier, UnsupportedValue, WrongUnit

__all__ = ["Reading", "day_of", "element", "elements", "readings", "require_understood", "text"]

_MAX_CODINGS: Final = 20
_WHEN: Final = ("effectiveDateTime", "effectiveInstant")
_MODIFIERS: Final = ("modifierExtension", "implicitRules")


@dataclass(frozen=True, slots=True)
class Reading:
    """One threshold, tenths of dB HL. ``no_response``: the tone of that level was not heard."""

    where: str
    ear: Ear
    frequency_hz: int
    ddb: int
    masked: bool
    no_response: bool


def readings(
    where: str, observation: Mapping[str, Any], left_out: list[LeftOut], max_components: int
) -> Iterator[Reading]:
    """The thresholds of an observation: its own, or those of its components if it is an audiogram."""
    code = element(where, observation, "code")
    components = elements(where, observation, "component", max_components)
    if observation.get("method") is not None:
        # It may be bone conduction, which must not stand where air conduction is meant.
        left_out.append(LeftOut(f"{where}.method", "method", _first_code(where, observation, "method")))
        return
    if not _is_panel(where, code):
        reading = _reading(where, observation, left_out)
        if reading is not None:
            _check_site(where, observation, reading.ear)
            yield reading
        return
    for words in _words(where, code):
        quantity = other_quantity(words)
        if quantity is not None:
            raise Contradiction(f"{where}.code: the code is of air conduction, the words say {quantity}")
    for index, component in enumerate(components):
        at = f"{where}.component[{index}]"
        require_understood(at, component)
        reading = _reading(at, component, left_out)
        if reading is not None:
            _check_site(where, observation, reading.ear)
            yield reading


def day_of(where: str, observation: Mapping[str, Any]) -> str:
    """The day on which it was measured as ``YYYY-MM-DD``; empty when that is not said, or not to the day."""
    period = element(where, observation, "effectivePeriod")
    said = [text(where, observation, name) for name in _WHEN] + [text(where, period, "start")]
    day = next((moment for moment in said if moment), "")[:10]
    if len(day) < len("2026-01-31"):
        return ""
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise NotFhir(f"{where}.effective: this is no date") from None


def require_understood(where: str, part: Mapping[str, Any]) -> None:
    """Raises UnknownModifier for what may turn the meaning of the rest around."""
    for name in _MODIFIERS:
        if part.get(name):
            raise UnknownModifier(f"{where}.{name}: this is not understood here, so nothing else of it can be")


def element(where: str, part: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An element that is an object, empty when it is not there. Raises NotFhir."""
    found = part.get(name, {})
    if not isinstance(found, dict):
        raise NotFhir(f"{where}.{name}: must be an object")
    return found


def elements(where: str, part: Mapping[str, Any], name: str, limit: int) -> list[Mapping[str, Any]]:
    """A list of objects, empty when it is not there. Raises NotFhir, and TooManyEntries above ``limit``."""
    found = part.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NotFhir(f"{where}.{name}: must be a list of objects")
    if len(found) > limit:
        raise TooManyEntries(f"{where}.{name}: at most {limit} are read, there are {len(found)}")
    return found


def text(where: str, part: Mapping[str, Any], name: str) -> str:
    """A text, empty when it is not there. Raises NotFhir."""
    found = part.get(name, "")
    if not isinstance(found, str):
        raise NotFhir(f"{where}.{name}: must be text")
    return found


def _codings(where: str, concept: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (text(where, coding, "system"), text(where, coding, "code"), text(where, coding, "display"))
        for coding in elements(where, concept, "coding", _MAX_CODINGS)
    ]


def _words(where: str, concept: Mapping[str, Any]) -> list[str]:
    """What stands beside the code of a concept, for people."""
    displays = (display for _, _, display in _codings(f"{where}.code", concept))
    return [text(f"{where}.code", concept, "text"), *displays]


def _first_code(where: str, part: Mapping[str, Any], name: str) -> str:
    return next((code for _, code, _ in _codings(f"{where}.{name}", element(where, part, name))), "")[:64]


def _is_panel(where: str, code: Mapping[str, Any]) -> bool:
    return any((system, value) == (LOINC, PANEL) for system, value, _ in _codings(f"{where}.code", code))


def _reading(where: str, part: Mapping[str, Any], left_out: list[LeftOut]) -> Reading | None:
    place = _place(where, part)
    if place is None:
        left_out.append(LeftOut(where, "unknown_code", _first_code(where, part, "code")))
        return None
    ear, frequency = place
    absent = part.get("dataAbsentReason") is not None
    values = [name for name in part if name.startswith("value")]
    if absent and values:
        raise Contradiction(f"{where}: there is a value and a reason why there is none")
    if absent or not values:
        left_out.append(LeftOut(where, "not_measured", _first_code(where, part, "dataAbsentReason")))
        return None
    if frequency not in FREQUENCIES_HZ:
        left_out.append(LeftOut(where, "frequency", _first_code(where, part, "code")))
        return None
    ddb, no_response = _threshold(where, part, values)
    return Reading(where, ear, frequency, ddb, _is_masked(where, part), no_response)


def _place(where: str, part: Mapping[str, Any]) -> tuple[Ear, int] | None:
    """The ear and frequency of a code; the words beside it must not say another."""
    concept = element(where, part, "code")
    codings = _codings(f"{where}.code", concept)
    places = {THRESHOLD_CODES[system, code] for system, code, _ in codings if (system, code) in THRESHOLD_CODES}
    if len(places) > 1:
        raise Contradiction(f"{where}.code: its codings are of different ears or frequencies")
    if not places:
        return None
    [place] = places
    for words in _words(where, concept):
        other = contradiction(words, *place)
        if other is not None:
            raise Contradiction(f"{where}.code: the code is of {place[0]} {place[1]} Hz, the words say {other}")
    return place


def _threshold(where: str, part: Mapping[str, Any], values: list[str]) -> tuple[int, bool]:
    if values != ["valueQuantity"]:
        raise UnsupportedValue(f"{where}: a threshold is one valueQuantity")
    quantity = element(where, part, "valueQuantity")
    at = f"{where}.valueQuantity"
    if not is_decibel_hl(text(at, quantity, "system"), text(at, quantity, "code"), text(at, quantity, "unit")):
        raise WrongUnit(f"{at}: a threshold is in dB HL: the UCUM code dB, and no unit that names another reference")
    comparator = text(at, quantity, "comparator")
    if comparator not in ("", ">"):
        raise UnsupportedValue(f'{at}.comparator: only ">" is read, a tone of that level that was not heard')
    return threshold_ddb(at, quantity.get("value")), comparator == ">"


def _is_masked(where: str, part: Mapping[str, Any]) -> bool:
    marks = [mark for mark in elements(where, part, "extension", _MAX_CODINGS) if mark.get("url") == MASKED]
    if not all(isinstance(mark.get("valueBoolean"), bool) for mark in marks):
        raise NotFhir(f"{where}.extension: {MASKED} is true or false")
    return any(mark["valueBoolean"] for mark in marks)


def _check_site(where: str, observation: Mapping[str, Any], ear: Ear) -> None:
    for system, code, _ in _codings(f"{where}.bodySite", element(where, observation, "bodySite")):
        if system == SNOMED and EAR_SITES.get(code, ear) != ear:
            raise Contradiction(f"{where}.bodySite: it is the other ear than the code's")
