"""What many bring about at once is done a few at a time, so that everybody else has turns too.

When ten thousand connections are cut in one instant, each end is a little work and each return some more; all of it in
a row is seconds in which nobody hears anything. How many are begun in a tick follows from how late the event loop is:
that knows how fast the machine is, and what else is being done on it. Must not know what is done. Read ``Paced.do``
first.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final

__all__ = ["TICK_S", "Pace", "Paced", "Way"]

TICK_S: Final = 0.005
# As late as this a tick is because of what is done in a turn anyway; from the other on others notice it.
_IN_TIME_S: Final = 0.003
_LATE_S: Final = 0.006
_MORE: Final = 0.05
_LESS: Final = 0.7
_LEAST: Final = 0.25
_IN_A_HURRY: Final = 32
# What was missed in a stop that was longer is not made up for.
_LATEST_S: Final = 0.050
# One of them is for those who come.
_PLACES: Final = 4


class Way(IntEnum):
    """Who has gone must soon be known to have, so most places are theirs; neither way keeps the other from moving."""

    IN = 0
    OUT = 1


class Pace:
    """How many things may be begun in a tick: ``most`` at most, more when the ticks are in time, and fewer when not.

    A share of them (``least``) for each tick that there should have been: why one was late may be nothing that waiting
    mends, and then nobody must wait for ever. Additive increase and multiplicative decrease, as in TCP (RFC 5681).
    """

    __slots__ = ("_least", "_may", "_most")

    def __init__(self, most: int, least: float = _LEAST) -> None:
        self._most = float(most)
        self._least = max(1.0, most * least)
        self._may = self._least

    @property
    def now(self) -> int:
        """How many in a tick that is in time."""
        return int(self._may)

    def of(self, late_s: float) -> int:
        """How many in a tick that comes so late."""
        if late_s < _IN_TIME_S:
            self._may = min(self._most, self._may + _MORE)
        elif late_s > _LATE_S:
            self._may = max(self._least, self._may * _LESS)
        return int(max(self._may, self._least * (1.0 + min(late_s, _LATEST_S) / TICK_S)))


class Paced:
    """Does at most ``most`` things in a tick, those of each way in their order; none of them may raise.

    What waits is bounded by who can bring something about, and how often: a connection ends once.
    """

    __slots__ = ("_due_s", "_is_over", "_left", "_pace", "_turn", "_waiting")

    def __init__(self, most: int) -> None:
        self._pace = Pace(most)
        self._left = self._pace.now
        self._due_s: float | None = None
        self._is_over = False
        self._turn = 0
        self._waiting: dict[Way, deque[Callable[[], None]]] = {way: deque() for way in Way}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def do(self, way: Way, thing: Callable[[], None]) -> bool:
        """Now if there is room in this tick, else in one of the next; whether it was done."""
        if self._is_over:
            thing()
            return True
        if not self._left or len(self):
            self._waiting[way].append(thing)
            self._tick_later()
            return False
        self._left -= 1
        self._tick_later()
        thing()
        return True

    def hurry(self) -> None:
        """Nobody comes any more, and those who go are waited for: what waits is done soon, whoever notices."""
        self._pace = Pace(_IN_A_HURRY, least=1.0)

    def end(self) -> None:
        """Do what waits, and whatever comes from now on at once: there is no tick to come."""
        self._is_over = True
        for waiting in self._waiting.values():
            while waiting:
                waiting.popleft()()

    def _tick_later(self) -> None:
        if self._due_s is None:
            loop = asyncio.get_running_loop()
            self._due_s = loop.time() + TICK_S
            loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        late_s = 0.0 if self._due_s is None else asyncio.get_running_loop().time() - self._due_s
        self._due_s = None
        self._left = self._pace.of(late_s)
        if len(self):
            self._tick_later()
        while self._left and len(self):
            self._left -= 1
            self._turn = (self._turn + 1) % _PLACES
            wanted = Way.IN if self._turn == 0 else Way.OUT
            way = wanted if self._waiting[wanted] else Way(1 - wanted)
            self._waiting[way].popleft()()
