"""The visits that are kept: one record each, changed only over the version that a change was made of.

``VisitStore`` is the port. That one device has one live visit at a time is kept here, because only here it can be. This
module must not know what may become of a visit: that is in ``media.visit_steps``. Read ``VisitStore`` first.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from media.visit import Visit
from protocol.errors import Overloaded

__all__ = ["TRIES", "Changed", "MemoryVisitStore", "Place", "VisitStore", "place_of"]

# How often whoever changes a visit looks again when somebody else was first.
TRIES: Final = 8

# ``busy``: another visit is live about the device. ``stale``: somebody else was first.
Changed: TypeAlias = Literal["changed", "stale", "busy"]


class Place(NamedTuple):
    """Where a visit is among others: by its beginning, then by its id."""

    starts_at_s: float
    visit: str


def place_of(visit: Visit) -> Place:
    """Where it is."""
    return Place(visit.starts_at_s, visit.visit)


class VisitStore(Protocol):
    """Visits by id. Every call is atomic, and raises Unavailable when the store is away."""

    async def create(self, visit: Visit) -> bool:
        """Store a new visit; False when there is one of this id, and nothing changes.

        Raises:
            Overloaded: the device has as many visits to come as it may have, or the store is full.
        """
        ...

    async def change(self, visit: Visit) -> Changed:
        """Store the next version of a visit, over the version before it."""
        ...

    async def get(self, visit: str) -> Visit | None:
        """A visit, None when there is none of this id."""
        ...

    async def live_of(self, device: str) -> Visit | None:
        """The visit that is live about a device."""
        ...

    async def of_device(self, device: str, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """The visits about a device, the latest first, those that come after ``before`` in this order."""
        ...

    async def of_user(self, clinic: str, user: str, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """The same for the visits of which somebody is the professional or the patient."""
        ...

    async def due(self, now_s: float, limit: int) -> tuple[Visit, ...]:
        """The visits with which time does something now, the longest due first."""
        ...

    async def begun(self, until_s: float, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """Those that are not over and begin until then, the latest first, those that come after ``before``."""
        ...


class MemoryVisitStore:
    """Visits of one process, at most ``max_visits``, and ``max_open`` to come or live of one device."""

    def __init__(self, *, max_visits: int, max_open: int, reached: Callable[[str], None]) -> None:
        self._max_visits = max_visits
        self._max_open = max_open
        self._reached = reached
        self._visits: dict[str, Visit] = {}

    async def create(self, visit: Visit) -> bool:
        """See ``VisitStore``."""
        if visit.visit in self._visits:
            return False
        is_open = (one.device == visit.device and not one.is_over for one in self._visits.values())
        if sum(is_open) >= self._max_open:
            self._reached("max_open_visits")
            raise Overloaded("the device has too many visits to come")
        if len(self._visits) >= self._max_visits:
            self._reached("max_visits")
            raise Overloaded("no more visits can be kept here")
        self._visits[visit.visit] = visit
        return True

    async def change(self, visit: Visit) -> Changed:
        """See ``VisitStore``."""
        before = self._visits.get(visit.visit)
        if before is None or before.version != visit.version - 1:
            return "stale"
        if visit.live_device is not None and any(
            one.live_device == visit.device and one.visit != visit.visit for one in self._visits.values()
        ):
            return "busy"
        self._visits[visit.visit] = visit
        return "changed"

    async def get(self, visit: str) -> Visit | None:
        """See ``VisitStore``."""
        return self._visits.get(visit)

    async def live_of(self, device: str) -> Visit | None:
        """See ``VisitStore``."""
        return next((one for one in self._visits.values() if one.live_device == device), None)

    async def of_device(self, device: str, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        return _page((one for one in self._visits.values() if one.device == device), before, limit)

    async def of_user(self, clinic: str, user: str, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        theirs = (
            one for one in self._visits.values() if one.clinic == clinic and user in (one.professional, one.patient)
        )
        return _page(theirs, before, limit)

    async def due(self, now_s: float, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        found = [(one.due_at_s, one.visit) for one in self._visits.values() if one.due_at_s is not None]
        return tuple(self._visits[name] for due_at_s, name in sorted(found)[:limit] if due_at_s <= now_s)

    async def begun(self, until_s: float, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        begun = (one for one in self._visits.values() if one.due_at_s is not None and one.starts_at_s <= until_s)
        return _page(begun, before, limit)


def _page(visits: Iterable[Visit], before: Place | None, limit: int) -> tuple[Visit, ...]:
    found = [one for one in visits if before is None or place_of(one) < before]
    return tuple(sorted(found, key=place_of, reverse=True)[:limit])
