"""What is kept of calls that are over: one record each, and beside it how good it was, from each pod that knows some.

``CallRecords`` is the port. This module must not know what is in a record. Read ``CallRecords.add`` first.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = ["CallPart", "CallPlace", "CallRecords", "MemoryCallRecords"]


class CallPlace(NamedTuple):
    """Where a call is among those of its visit: by its end, then by its id."""

    at_s: float
    call_id: str


class CallPart(NamedTuple):
    """``part``: "" for the call itself, else the pod that tells how good it was. ``at_s``: its end, Unix seconds."""

    visit: str
    call_id: str
    part: str
    at_s: float
    record: bytes


class CallRecords(Protocol):
    """Parts by call and name; one that is there is never changed. Every call raises Unavailable."""

    async def add(self, part: CallPart) -> bool:
        """Keep a part; False when it is there already, and nothing changes."""
        ...

    async def of_visit(self, visit: str, before: CallPlace | None, limit: int) -> tuple[CallPart, ...]:
        """The calls of a visit, the latest first, those that come after ``before`` in this order."""
        ...

    async def beside(self, call_id: str) -> tuple[CallPart, ...]:
        """What pods tell of one call."""
        ...


class MemoryCallRecords:
    """Parts of one process, at most ``max_records``: the oldest makes room."""

    def __init__(self, *, max_records: int, reached: Callable[[str], None]) -> None:
        self._max_records = max_records
        self._reached = reached
        self._parts: dict[tuple[str, str], CallPart] = {}

    async def add(self, part: CallPart) -> bool:
        """See ``CallRecords``."""
        key = part.call_id, part.part
        if key in self._parts:
            return False
        if len(self._parts) >= self._max_records:
            self._reached("max_call_records")
            del self._parts[next(iter(self._parts))]
        self._parts[key] = part
        return True

    async def of_visit(self, visit: str, before: CallPlace | None, limit: int) -> tuple[CallPart, ...]:
        """See ``CallRecords``."""
        found = [one for one in self._parts.values() if one.visit == visit and not one.part]
        behind = [one for one in found if before is None or _place(one) < before]
        return tuple(sorted(behind, key=_place, reverse=True)[:limit])

    async def beside(self, call_id: str) -> tuple[CallPart, ...]:
        """See ``CallRecords``."""
        found = (one for one in self._parts.values() if one.call_id == call_id and one.part)
        return tuple(sorted(found, key=lambda one: one.part))


def _place(part: CallPart) -> CallPlace:
    return CallPlace(part.at_s, part.call_id)
