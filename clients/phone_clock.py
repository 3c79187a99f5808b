"""The time that a phone's dead-man goes by: it counts while the phone sleeps, and says which start it counts from.

``time.monotonic`` stands still in a sleep of the machine, and starts anew with it; what was kept of an earlier start
says nothing, even where its number is the smaller one. Must not know what is timed. Read ``awake_or_not_s``.
"""

import time
from pathlib import Path
from typing import Final

__all__ = ["awake_or_not_s", "boot_id"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def awake_or_not_s() -> float:
    """Seconds that go on in a sleep where the system has such a clock, and in this process everywhere."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def boot_id(path: Path = _BOOT_ID) -> str:
    """Which start of the machine this is, "" where that cannot be known."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
