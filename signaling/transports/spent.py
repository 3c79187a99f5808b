"""Which tokens have opened their connection already: each opens one, once.

It must not know what a token is, nor whose clock its end is by. Read ``SpentTokens.add`` first.
"""

from collections.abc import Callable

__all__ = ["SpentTokens"]


class SpentTokens:
    """By the ids of their connections, at most ``limit``; of more the oldest are forgotten, and ``reached`` is told.

    Whoever is forgotten too early could open its connection again, with the same user's bearer token, when it is over.
    """

    def __init__(self, *, limit: int, reached: Callable[[], None]) -> None:
        self._limit = limit
        self._reached = reached
        self._until_s: dict[str, float] = {}

    def __contains__(self, connection_id: str) -> bool:
        """Whether it was opened, and its token might be taken for a good one still."""
        return connection_id in self._until_s

    def __len__(self) -> int:
        return len(self._until_s)

    def add(self, connection_id: str, until_s: float) -> None:
        """It was opened; nobody takes its token for good after ``until_s``, Unix time."""
        if len(self._until_s) >= self._limit:
            del self._until_s[next(iter(self._until_s))]
            self._reached()
        self._until_s[connection_id] = until_s

    def sweep(self, now_s: float) -> None:
        """Forget those whose time is over.

        In the order in which they came, and no further than to the first whose time is not: none outlives that by more
        than tokens are good for, and there may be too many to look at all of them each time.
        """
        while self._until_s:
            first = next(iter(self._until_s))
            if self._until_s[first] >= now_s:
                return
            del self._until_s[first]
