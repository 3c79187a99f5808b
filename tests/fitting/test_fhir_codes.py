"""The codes of thresholds, held to a copy: published mappings of them have ears and frequencies crossed."""

import pytest

from fitting.audiogram import FREQUENCIES_HZ
from fitting.fhir_codes import (
    EAR_SITES,
    LOINC,
    OWN_THRESHOLD,
    PANEL,
    THRESHOLD_CODES,
    UCUM,
    code_of,
    contradiction,
    display_of,
    is_decibel_hl,
)
from protocol.contract.base import EARS, Ear

# LOINC's panel 89015-2, "Pure tone threshold audiometry panel", with the names that LOINC gives its members.
PINNED = {
    "91374-9": "Hearing threshold Ear - right --250 Hz",
    "89025-1": "Hearing threshold Ear - right --500 Hz",
    "91378-0": "Hearing threshold Ear - right --750 Hz",
    "89017-8": "Hearing threshold Ear - right --1000 Hz",
    "91372-3": "Hearing threshold Ear - right --1500 Hz",
    "89019-4": "Hearing threshold Ear - right --2000 Hz",
    "89021-0": "Hearing threshold Ear - right --3000 Hz",
    "89023-6": "Hearing threshold Ear - right --4000 Hz",
    "91376-4": "Hearing threshold Ear - right --5000 Hz",
    "89027-7": "Hearing threshold Ear - right --6000 Hz",
    "89029-3": "Hearing threshold Ear - right --8000 Hz",
    "91375-6": "Hearing threshold Ear - left --250 Hz",
    "89024-4": "Hearing threshold Ear - left --500 Hz",
    "91379-8": "Hearing threshold Ear - left --750 Hz",
    "89016-0": "Hearing threshold Ear - left --1000 Hz",
    "91373-1": "Hearing threshold Ear - left --1500 Hz",
    "89018-6": "Hearing threshold Ear - left --2000 Hz",
    "89020-2": "Hearing threshold Ear - left --3000 Hz",
    "89022-8": "Hearing threshold Ear - left --4000 Hz",
    "91377-2": "Hearing threshold Ear - left --5000 Hz",
    "89026-9": "Hearing threshold Ear - left --6000 Hz",
    "89028-5": "Hearing threshold Ear - left --8000 Hz",
}
OWN = {"right-125", "left-125", "right-375", "left-375"}


def test_every_loinc_code_is_of_its_ear_and_frequency_and_there_is_no_other() -> None:
    found = {code: display_of(*place) for (system, code), place in THRESHOLD_CODES.items() if system == LOINC}
    assert found == PINNED
    assert PANEL == "89015-2"
    assert LOINC == "http://loinc.org"


def check_digit(number: str) -> str:
    """Mod 10, as LOINC numbers have one."""
    doubled = str(int(number[::-1][::2]) * 2)
    total = sum(map(int, doubled)) + sum(map(int, number[::-1][1::2]))
    return str(-total % 10)


@pytest.mark.parametrize("code", [*PINNED, PANEL])
def test_every_loinc_code_has_the_check_digit_of_its_number(code: str) -> None:
    number, _, digit = code.partition("-")
    assert check_digit(number) == digit


def test_what_loinc_does_not_have_is_named_in_a_system_of_our_own() -> None:
    assert {code for system, code in THRESHOLD_CODES if system != LOINC} == OWN
    assert {system for system, _ in THRESHOLD_CODES} == {LOINC, OWN_THRESHOLD}


@pytest.mark.parametrize("frequency", FREQUENCIES_HZ)
@pytest.mark.parametrize("ear", EARS)
def test_every_frequency_of_an_audiogram_has_one_code_that_leads_back(ear: Ear, frequency: int) -> None:
    assert THRESHOLD_CODES[code_of(ear, frequency)] == (ear, frequency)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("Hearing threshold Ear - right --1000 Hz", None),
        ("", None),
        ("Hörschwelle", None),
        ("1 kHz", None),
        ("Right ear, 1.0 kHz, left ear masked", None),
        ("Pure tone 1000Hz", None),
        ("Hearing threshold Ear - left --1000 Hz", "the left ear"),
        ("LEFT", "the left ear"),
        ("Hearing threshold Ear - right --2000 Hz", "2000 Hz"),
        ("right 0.5 kHz", "500 Hz"),
        ("Bone conduction threshold, right, 1000 Hz", "bone"),
        ("Aided threshold 1000 Hz right ear", "aided"),
        ("uncomfortable loudness level right 1000 Hz", "uncomfortable"),
        ("Unaided air conduction threshold right 1000 Hz", None),
    ],
)
def test_words_that_say_another_ear_frequency_or_quantity_are_noticed(words: str, says: str | None) -> None:
    assert contradiction(words, "right", 1000) == says


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", ["1", "1 ", "1.", ".1", "left", " ", "1khz "])
def test_words_of_any_length_are_looked_through_at_once(piece: str) -> None:
    contradiction(piece * (64_000 // len(piece)), "right", 1000)


@pytest.mark.parametrize(
    ("system", "code", "unit", "is_hl"),
    [
        (UCUM, "dB", "dB", True),
        (UCUM, "dB", "", True),
        (UCUM, "dB", "dB HL", True),
        (UCUM, "dB", "dB(HL)", True),
        (UCUM, "dB[HL]", "dB[HL]", True),
        (UCUM, "dB", "decibel", True),
        (UCUM, "dB", "dB SPL", False),
        (UCUM, "dB", "dB nHL", False),
        (UCUM, "dB", "dB SL", False),
        (UCUM, "dB[SPL]", "dB", False),
        (UCUM, "B", "dB", False),
        (UCUM, "%", "%", False),
        (UCUM, "", "dB HL", False),
        ("", "dB", "dB", False),
        ("http://example.org/units", "dB", "dB", False),
    ],
)
def test_only_decibels_of_hearing_level_are_a_threshold(system: str, code: str, unit: str, is_hl: bool) -> None:
    assert is_decibel_hl(system, code, unit) is is_hl


def test_the_sites_are_the_ears() -> None:
    assert EAR_SITES == {"25577004": "right", "89644007": "left"}
