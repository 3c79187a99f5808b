"""Who is who in Azure Communication Services, and what is open there for which visit. ``AcsStore`` is the port.

An identity is kept sealed: whoever reads the database learns nobody's. Its ``mark`` is a keyed hash, by which who wrote
in a thread is found. This module must not know a key. Read ``AcsStore`` first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from protocol.errors import Overloaded

__all__ = ["AcsStore", "AcsVisit", "MemoryAcsStore", "StoredIdentity"]


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """A person's identity. ``visit``: for which the newest token was given."""

    clinic: str
    person: str
    mark: str = field(repr=False)
    sealed: bytes = field(repr=False)
    visit: str = ""


class AcsVisit(msgspec.Struct, frozen=True, array_like=True):
    """What is open for a visit. ``version`` rises with each change; times are Unix seconds.

    ``group``: the id of its call, when there is no room. ``people``: who was given a token, by his id in the visit, and
    as which person; ``in_thread``: who is in the thread, the same way. ``sent_n``: up to which message of ours ACS have
    them; ``seen_s``: up to when theirs were read. ``busy_until_s``: somebody works on it until then. ``doubt``: and
    nobody has said yet how far he came. ``due_at_s``: when it is to be looked at next, None when all is closed.
    ``tries``: looks in a row that failed. ``threads``: those that were closed, or were gone.
    """

    visit: str
    clinic: str
    room: str = ""
    group: str = ""
    thread: str = ""
    people: dict[str, str] = {}
    in_thread: dict[str, str] = {}
    sent_n: int = 0
    seen_s: float = 0.0
    busy_until_s: float = 0.0
    doubt: bool = False
    due_at_s: float | None = None
    tries: int = 0
    version: int = 1
    threads: int = 0

    @property
    def is_closed(self) -> bool:
        """Whether nothing of it is left there."""
        return self.due_at_s is None


class AcsStore(Protocol):
    """Identities and visits. Every call is atomic, and raises Unavailable when the store is away."""

    async def identity(self, clinic: str, person: str) -> StoredIdentity | None:
        """A person's identity."""
        ...

    async def whose(self, clinic: str, mark: str) -> StoredIdentity | None:
        """The person of an identity, by its mark."""
        ...

    async def add_identity(self, identity: StoredIdentity) -> bool:
        """Keep a new one; False when the person has one, and nothing changes. Raises Overloaded."""
        ...

    async def used(self, clinic: str, person: str, visit: str) -> None:
        """A token was given for this visit."""
        ...

    async def forget(self, clinic: str, person: str) -> bool:
        """The person has none any more; whether he had one."""
        ...

    async def visit(self, visit: str) -> AcsVisit | None:
        """What is open for it."""
        ...

    async def of_thread(self, thread: str) -> AcsVisit | None:
        """The visit of a thread."""
        ...

    async def add(self, visit: AcsVisit) -> bool:
        """Keep a new one; False when there is one, and nothing changes. Raises Overloaded."""
        ...

    async def change(self, visit: AcsVisit) -> bool:
        """Keep it if what is there is of the version before."""
        ...

    async def due(self, now_s: float, limit: int) -> tuple[AcsVisit, ...]:
        """Those that are to be looked at, the longest due first."""
        ...


class MemoryAcsStore:
    """``AcsStore`` of one process."""

    def __init__(self, *, max_people: int, max_visits: int, reached: Callable[[str], None]) -> None:
        self._max_people = max_people
        self._max_visits = max_visits
        self._reached = reached
        self._people: dict[tuple[str, str], StoredIdentity] = {}
        self._visits: dict[str, AcsVisit] = {}

    async def identity(self, clinic: str, person: str) -> StoredIdentity | None:
        """See ``AcsStore``."""
        return self._people.get((clinic, person))

    async def whose(self, clinic: str, mark: str) -> StoredIdentity | None:
        """See ``AcsStore``."""
        return next((one for one in self._people.values() if (one.clinic, one.mark) == (clinic, mark)), None)

    async def add_identity(self, identity: StoredIdentity) -> bool:
        """See ``AcsStore``."""
        key = (identity.clinic, identity.person)
        if key in self._people:
            return False
        if len(self._people) >= self._max_people:
            self._reached("max_patients")
            raise Overloaded("no more people can be kept here")
        self._people[key] = identity
        return True

    async def used(self, clinic: str, person: str, visit: str) -> None:
        """See ``AcsStore``."""
        known = self._people.get((clinic, person))
        if known is not None:
            self._people[clinic, person] = replace(known, visit=visit)

    async def forget(self, clinic: str, person: str) -> bool:
        """See ``AcsStore``."""
        return self._people.pop((clinic, person), None) is not None

    async def visit(self, visit: str) -> AcsVisit | None:
        """See ``AcsStore``."""
        return self._visits.get(visit)

    async def of_thread(self, thread: str) -> AcsVisit | None:
        """See ``AcsStore``."""
        return next((one for one in self._visits.values() if one.thread == thread), None) if thread else None

    async def add(self, visit: AcsVisit) -> bool:
        """See ``AcsStore``."""
        if visit.visit in self._visits:
            return False
        if len(self._visits) >= self._max_visits:
            self._reached("max_visits")
            raise Overloaded("no more can be kept here")
        self._visits[visit.visit] = visit
        return True

    async def change(self, visit: AcsVisit) -> bool:
        """See ``AcsStore``."""
        known = self._visits.get(visit.visit)
        if known is None or known.version != visit.version - 1:
            return False
        self._visits[visit.visit] = visit
        return True

    async def due(self, now_s: float, limit: int) -> tuple[AcsVisit, ...]:
        """See ``AcsStore``."""
        found = [(one.due_at_s, name) for name, one in self._visits.items() if one.due_at_s is not None]
        return tuple(self._visits[name] for due_at_s, name in sorted(found)[:limit] if due_at_s <= now_s)
