"""A visit as an iCalendar file (RFC 5545), for the calendars of those who come.

Times are in UTC, which every calendar shows in its own zone. Calendars are read by many, and travel: nothing of what a
visit is about is in one, and nobody's name.
"""

from datetime import UTC, datetime
from typing import Final

from .visit import Visit

__all__ = ["calendar"]

_LINE_BYTES: Final = 75
_ESCAPED: Final = str.maketrans({"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n"})


def calendar(visit: Visit, *, at_s: float, text: str) -> bytes:
    """One event. ``text`` is what calendars show, ``at_s`` when the file is made, in Unix seconds."""
    is_off = visit.state in ("cancelled", "no_show")
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Auricle//visits//EN",
        "CALSCALE:GREGORIAN",
        f"METHOD:{'CANCEL' if is_off else 'PUBLISH'}",
        "BEGIN:VEVENT",
        f"UID:{visit.visit}@auricle",
        f"DTSTAMP:{_utc(at_s)}",
        f"DTSTART:{_utc(visit.starts_at_s)}",
        f"DTEND:{_utc(visit.ends_at_s)}",
        f"SEQUENCE:{visit.sequence}",
        f"STATUS:{'CANCELLED' if is_off else 'CONFIRMED'}",
        f"SUMMARY:{text.translate(_ESCAPED)}",
        "CLASS:PRIVATE",
        "END:VEVENT",
        "END:VCALENDAR",
    )
    return "".join(_folded(line) for line in lines).encode()


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def _folded(line: str) -> str:
    """At most 75 bytes a line, and never a character cut in two (3.1)."""
    folded, used = "", 0
    for character in line:
        size = len(character.encode())
        if used + size > _LINE_BYTES:
            folded, used = f"{folded}\r\n ", 1
        folded += character
        used += size
    return f"{folded}\r\n"
