"""Calendar files are what RFC 5545 says, down to the bytes of a line."""

import pytest

from media.icalendar import calendar
from tests.media.visits import NOON_S, visit_of


def unfolded(file: bytes) -> list[str]:
    """Content lines as a reader sees them (RFC 5545, 3.1)."""
    assert file.endswith(b"\r\n")
    assert b"\n" not in file.replace(b"\r\n", b"")
    for line in file.split(b"\r\n"):
        assert len(line) <= 75
        line.decode()
    return file.decode().replace("\r\n ", "").split("\r\n")[:-1]


def test_a_visit_is_one_event_with_all_that_an_event_needs() -> None:
    lines = unfolded(calendar(visit_of(), at_s=NOON_S - 60, text="Appointment"))
    assert lines == [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Auricle//visits//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        "BEGIN:VEVENT",
        "UID:v1@auricle",
        "DTSTAMP:20270115T075900Z",
        "DTSTART:20270115T080000Z",
        "DTEND:20270115T083000Z",
        "SEQUENCE:0",
        "STATUS:CONFIRMED",
        "SUMMARY:Appointment",
        "CLASS:PRIVATE",
        "END:VEVENT",
        "END:VCALENDAR",
    ]


@pytest.mark.parametrize("state", ["cancelled", "no_show"])
def test_one_that_does_not_take_place_takes_its_event_back(state: str) -> None:
    lines = unfolded(calendar(visit_of(state=state, sequence=2), at_s=NOON_S, text="x"))
    assert {"METHOD:CANCEL", "STATUS:CANCELLED", "SEQUENCE:2", "UID:v1@auricle"} <= set(lines)


@pytest.mark.parametrize("text", ["a" * 200, "Termin; um 9, bitte\\\nBis bald", "ünïcödé ✓ 🎧" * 20, "é" * 76])
def test_any_text_comes_through_folded_and_escaped(text: str) -> None:
    lines = unfolded(calendar(visit_of(), at_s=NOON_S, text=text))
    shown = next(line for line in lines if line.startswith("SUMMARY:")).removeprefix("SUMMARY:")
    escapes = (("\\n", "\n"), ("\\,", ","), ("\\;", ";"))
    read = "\\".join(_plain(part, escapes) for part in shown.split("\\\\"))
    assert read == text


def _plain(part: str, escapes: tuple[tuple[str, str], ...]) -> str:
    for escaped, plain in escapes:
        part = part.replace(escaped, plain)
    return part
