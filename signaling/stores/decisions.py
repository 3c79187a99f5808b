"""Yes or no about something, by whom, when and why: the form of assignments and of consents.

A decision is never changed: the next one follows it, and the newest about a subject stands. So the history is kept and
what stands now can be read. ``DecisionStore`` is the port. This module must not know what is decided upon. Read
``Decision`` first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from protocol.errors import Overloaded

__all__ = ["Decision", "DecisionStore", "MemoryDecisionStore", "is_overtaken", "standing"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. ``by`` is a user and ``role`` what he was when he decided, ``at_s`` Unix seconds.

    ``owner`` is what it belongs to: a device, a patient; ``subject`` what it is about: a person, a scope. ``n`` counts
    the decisions about the subject from 1.
    """

    clinic: str
    owner: str
    subject: str
    holds: bool
    by: str
    role: str
    reason: str
    at_s: float
    n: int = 1


def standing(history: Iterable[Decision]) -> dict[str, Decision]:
    """The newest decision about each subject, of decisions of one owner in the order of their numbers."""
    return {decision.subject: decision for decision in history}


def is_overtaken(newest: Decision | None, seen: int | None) -> bool:
    """Whether something was decided since; ``seen`` as ``DecisionStore.decide`` takes it."""
    return seen is not None and seen != (0 if newest is None else newest.n)


class DecisionStore(Protocol):
    """Decisions by clinic and owner. Every call is atomic, and raises Unavailable when the store is away."""

    async def decide(self, decision: Decision, *, seen: int | None = None) -> Decision | None:
        """Record a decision and return it with its number; one that changes nothing is not recorded, and what stands is
        returned.

        ``seen``: the number of the newest decision about the subject that this one was thought of on, 0 for none. When
        there is a newer one nothing is recorded, and None is returned.

        Raises:
            Overloaded: the owner has as many decisions as it may have. A no is never refused.
        """
        ...

    async def begin(self, decision: Decision) -> bool:
        """Record the first decision about a subject; False when there is one already, whatever it says."""
        ...

    async def newest(self, clinic: str, owner: str, subject: str) -> Decision | None:
        """What stands, None when nothing was ever decided."""
        ...

    async def history(self, clinic: str, owner: str) -> tuple[Decision, ...]:
        """All decisions of an owner, by subject and number."""
        ...


class MemoryDecisionStore:
    """Decisions of one process, of at most ``max_owners`` owners with ``max_decisions`` each.

    ``reached`` is told when there are so many; ``owners_bound`` is the configuration field of ``max_owners``.
    """

    def __init__(
        self, *, max_owners: int, owners_bound: str, max_decisions: int, reached: Callable[[str], None]
    ) -> None:
        self._max_owners = max_owners
        self._owners_bound = owners_bound
        self._max_decisions = max_decisions
        self._reached = reached
        self._of: dict[tuple[str, str], list[Decision]] = {}

    async def decide(self, decision: Decision, *, seen: int | None = None) -> Decision | None:
        """See ``DecisionStore``. A yes raises Overloaded also when there are too many owners."""
        before = await self.newest(decision.clinic, decision.owner, decision.subject)
        if is_overtaken(before, seen):
            return None
        if before is not None and before.holds == decision.holds:
            return before
        made = self._of_owner(decision)
        if decision.holds and len(made) >= self._max_decisions:
            self._reached("max_decisions")
            raise Overloaded("too much was decided here already")
        recorded = replace(decision, n=1 if before is None else before.n + 1)
        made.append(recorded)
        return recorded

    async def begin(self, decision: Decision) -> bool:
        """See ``DecisionStore``."""
        if await self.newest(decision.clinic, decision.owner, decision.subject) is not None:
            return False
        self._of_owner(decision).append(replace(decision, n=1))
        return True

    async def newest(self, clinic: str, owner: str, subject: str) -> Decision | None:
        """See ``DecisionStore``."""
        return standing(self._of.get((clinic, owner), ())).get(subject)

    async def history(self, clinic: str, owner: str) -> tuple[Decision, ...]:
        """See ``DecisionStore``."""
        return tuple(sorted(self._of.get((clinic, owner), ()), key=lambda made: (made.subject, made.n)))

    def _of_owner(self, decision: Decision) -> list[Decision]:
        key = (decision.clinic, decision.owner)
        if key not in self._of:
            if len(self._of) >= self._max_owners:
                self._reached(self._owners_bound)
                if decision.holds:
                    raise Overloaded("no more can be kept here")
            self._of[key] = []
        return self._of[key]
