"""Where the calls of all pods are kept while they last, and which change of one was first.

A change is made on what a call was and stands only if nobody else has changed it since: so the first answer wins,
whichever pod it reaches. Nothing here outlives its call. Read ``CallRegistry`` first.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from media.call import Call
from protocol.errors import Overloaded

__all__ = ["CallRegistry", "MemoryCalls"]


class CallRegistry(Protocol):
    """The calls, one of a visit at a time. Nothing here raises: what is away is done without."""

    async def get(self, visit: str) -> Call | None:
        """The call of a visit, None when none goes on."""
        ...

    async def begin(self, call: Call) -> Call | None:
        """Keep a new one; the one that goes on instead, when there is one. None: it is kept.

        Raises Overloaded when there is no room.
        """
        ...

    async def swap(self, before: Call, after: Call) -> bool:
        """Keep ``after``, the next version, if ``before`` is what there is. One that has ended is kept no longer."""
        ...

    async def keep(self, call: Call) -> None:
        """It goes on: have it kept for another while."""
        ...

    async def ended(self, call: Call) -> Call | None:
        """How a call ended that was this once; None when it goes on, or nobody knows any more."""
        ...

    async def settle(self) -> None:
        """Let the others know of calls that ended while they could not be told; theirs stands where they differ."""
        ...

    async def busy(self, clinic: str, users: Collection[str], *, but: str) -> frozenset[str]:
        """Those who take part in the call of another visit than ``but``."""
        ...


class MemoryCalls:
    """``CallRegistry`` of one process. ``reached`` is told when there are ``limit`` of them."""

    def __init__(self, limit: int, reached: Callable[[str], None]) -> None:
        self._limit = limit
        self._reached = reached
        self._calls: dict[str, Call] = {}

    async def get(self, visit: str) -> Call | None:
        """See ``CallRegistry``."""
        return self._calls.get(visit)

    async def begin(self, call: Call) -> Call | None:
        """See ``CallRegistry``."""
        known = self._calls.get(call.visit)
        if known is not None:
            return known
        if len(self._calls) >= self._limit:
            self._reached("max_calls")
            raise Overloaded("too many calls go on already")
        if call.ended is None:
            self._calls[call.visit] = call
        return None

    async def swap(self, before: Call, after: Call) -> bool:
        """See ``CallRegistry``."""
        if self._calls.get(before.visit) != before:
            return False
        if after.ended is None:
            self._calls[after.visit] = after
        else:
            del self._calls[after.visit]
        return True

    async def keep(self, call: Call) -> None:
        """See ``CallRegistry``; here it is kept for as long as it goes on."""

    async def ended(self, call: Call) -> Call | None:
        """See ``CallRegistry``; whoever could ask has ended it."""
        return None

    async def settle(self) -> None:
        """See ``CallRegistry``; there are no others."""

    async def busy(self, clinic: str, users: Collection[str], *, but: str) -> frozenset[str]:
        """See ``CallRegistry``."""
        taken = {
            leg.user
            for call in self._calls.values()
            if call.clinic == clinic and call.visit != but
            for leg in call.legs
            if leg.state in ("joined", "lost")
        }
        return frozenset(taken.intersection(users))
