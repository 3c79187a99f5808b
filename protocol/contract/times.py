"""Times on the wire: ISO-8601 in UTC with milliseconds. Reads no clock: it is given the time."""

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["iso_ms"]


# The events of one step have one time, which is written in each of them.
@lru_cache(maxsize=16)
def iso_ms(at_s: float) -> str:
    """Unix seconds as ``2026-01-31T09:30:00.250Z``."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
