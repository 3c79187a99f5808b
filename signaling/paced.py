"""What many bring about at once is done a few in each turn of the event loop, so that everybody else has turns too.

When ten thousand connections are cut in one instant, each is a little work, and all of it in a row is a second in which
nobody hears anything. Must not know what is done. Read ``Paced.do`` first.
"""

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Paced"]


class Paced:
    """Does ``at_once`` things in a turn of the loop, in their order; none of them may raise.

    What waits is bounded by who can bring something about, and how often: a connection ends once.
    """

    __slots__ = ("_at_once", "_left", "_waiting")

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._left = at_once
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    def do(self, thing: Callable[[], None]) -> None:
        """At once if this turn has not done enough, else in one of the next."""
        if not self._left:
            self._waiting.append(thing)
            return
        if self._left == self._at_once:
            asyncio.get_running_loop().call_soon(self._turn)
        self._left -= 1
        thing()

    def _turn(self) -> None:
        done = min(self._at_once, len(self._waiting))
        self._left = self._at_once - done
        if done:
            asyncio.get_running_loop().call_soon(self._turn)
        for _ in range(done):
            self._waiting.popleft()()
