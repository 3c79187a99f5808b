"""Which code means which ear and frequency, in LOINC and, where LOINC has none, in a code system of our own.

Published mappings of these codes have ears and frequencies crossed, so the table stands here as data, a test holds it
to a copy, and what a document writes beside a code is held against the table (``contradiction``). This module must not
know a resource. Read ``THRESHOLD_CODES`` first.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from protocol.contract.base import Ear

__all__ = [
    "DATA_ABSENT_REASON",
    "DECIBEL",
    "EAR_SITES",
    "LOINC",
    "MASKED",
    "OBSERVATION_CATEGORY",
    "OWN_PATIENT",
    "OWN_THRESHOLD",
    "PANEL",
    "SNOMED",
    "THRESHOLD_CODES",
    "UCUM",
    "code_of",
    "contradiction",
    "display_of",
    "is_decibel_hl",
    "other_quantity",
]

LOINC: Final = "http://loinc.org"
SNOMED: Final = "http://snomed.info/sct"
UCUM: Final = "http://unitsofmeasure.org"
DATA_ABSENT_REASON: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
OBSERVATION_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
# Names, not addresses: nothing has to be served there.
OWN_THRESHOLD: Final = "urn:auricle:hearing-threshold"
OWN_PATIENT: Final = "urn:auricle:patient"
MASKED: Final = "urn:auricle:masked"

# Pure tone air conduction threshold audiometry panel.
PANEL: Final = "89015-2"
DECIBEL: Final = "dB"

# A row per frequency in Hz: LOINC of the right ear, of the left ear. LOINC has none for 125 and 375 Hz.
_LOINC_ROWS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        250: ("91374-9", "91375-6"),
        500: ("89025-1", "89024-4"),
        750: ("91378-0", "91379-8"),
        1000: ("89017-8", "89016-0"),
        1500: ("91372-3", "91373-1"),
        2000: ("89019-4", "89018-6"),
        3000: ("89021-0", "89020-2"),
        4000: ("89023-6", "89022-8"),
        5000: ("91376-4", "91377-2"),
        6000: ("89027-7", "89026-9"),
        8000: ("89029-3", "89028-5"),
    }
)
_OWN_HZ: Final = (125, 375)


def _all_codes() -> dict[tuple[str, str], tuple[Ear, int]]:
    codes: dict[tuple[str, str], tuple[Ear, int]] = {}
    for frequency, (right, left) in _LOINC_ROWS.items():
        codes[LOINC, right] = ("right", frequency)
        codes[LOINC, left] = ("left", frequency)
    for frequency in _OWN_HZ:
        codes[OWN_THRESHOLD, f"right-{frequency}"] = ("right", frequency)
        codes[OWN_THRESHOLD, f"left-{frequency}"] = ("left", frequency)
    return codes


THRESHOLD_CODES: Final[Mapping[tuple[str, str], tuple[Ear, int]]] = MappingProxyType(_all_codes())
"""What a coding (system, code) is the threshold of: ear, and frequency in Hz."""

_CODES_OF: Final = MappingProxyType({place: coding for coding, place in THRESHOLD_CODES.items()})
# SNOMED CT: right ear structure, left ear structure.
EAR_SITES: Final[Mapping[str, Ear]] = MappingProxyType({"25577004": "right", "89644007": "left"})

# Every part has a longest: looking through a text takes a time that is in proportion to it, whatever it is.
_HZ: Final = re.compile(r"(?<![\d.])(\d{1,6}(?:\.\d{1,3})?)\s{0,3}(k?)hz\b")
# What is measured at the same ear and frequency, in the same unit, and is no threshold of air conduction.
_OTHER_QUANTITY: Final = re.compile(r"\b(?:bone|aided|uncomfortable|discomfort|speech)\b")
_UNIT_WORDS: Final = re.compile(r"[^a-z]")


def code_of(ear: Ear, frequency_hz: int) -> tuple[str, str]:
    """The coding (system, code) of a threshold. Raises KeyError for a frequency that an audiogram does not have."""
    return _CODES_OF[ear, frequency_hz]


def display_of(ear: Ear, frequency_hz: int) -> str:
    """What stands beside the code, for people; LOINC's own words."""
    return f"Hearing threshold Ear - {ear} --{frequency_hz} Hz"


def contradiction(text: str, ear: Ear, frequency_hz: int) -> str | None:
    """What the words beside a code say that the code does not, None when they agree or say nothing of it."""
    words = text.lower()
    other: Ear = "left" if ear == "right" else "right"
    if re.search(rf"\b{other}\b", words) and not re.search(rf"\b{ear}\b", words):
        return f"the {other} ear"
    quantity = other_quantity(text)
    if quantity is not None:
        return quantity
    named = [float(number) * (1000 if kilo else 1) for number, kilo in _HZ.findall(words)]
    if named and frequency_hz not in named:
        return f"{named[0]:g} Hz"
    return None


def other_quantity(text: str) -> str | None:
    """The word that says of something measured that it is no threshold of air conduction, None when none does."""
    found = _OTHER_QUANTITY.search(text.lower())
    return None if found is None else found[0]


def is_decibel_hl(system: str, code: str, unit: str) -> bool:
    """Whether a quantity is in dB HL: the UCUM code ``dB``, whose reference the observation's code gives.

    ``dB[HL]``, which UCUM does not have and people write, says the same. A ``unit`` that names another reference, as
    ``dB SPL`` does, is another quantity whatever the code says.
    """
    if system != UCUM or code not in (DECIBEL, "dB[HL]"):
        return False
    return _UNIT_WORDS.sub("", unit.lower()) in ("", "db", "dbhl", "decibel", "decibels", "decibelhl")
