"""How many do something costly at a time, and when the others should come back, so that no work is done for nothing.

Whoever does not get in is told at once, and sent to a time at which there should be room: one place after the other, as
fast as places are left just now. A crowd that comes back so is served at the pace that there is. Must not know what is
done inside, nor who is who. Read ``Gate.enter`` first.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["Gate"]

# How much the newest one counts for how long it takes.
_WEIGHT: Final = 0.05
_FIRST_TAKES_S: Final = 0.05
_SOONEST_S: Final = 0.25
_LATEST_S: Final = 60.0


class Gate:
    """At most ``limit`` are inside, and as many again of those who are urgent; ``reached`` is told of ``bound``."""

    def __init__(
        self, limit: int, *, bound: str, monotonic: Callable[[], float], reached: Callable[[str], None]
    ) -> None:
        self._limit, self._bound = limit, bound
        self._monotonic, self._reached = monotonic, reached
        self._inside = 0
        self._takes_s = _FIRST_TAKES_S
        self._next_s = 0.0

    def enter(self, *, is_urgent: bool = False) -> float | None:
        """None when there is room: then ``leave`` must follow. Else in how many seconds to come back."""
        if self._inside < (2 * self._limit if is_urgent else self._limit):
            self._inside += 1
            return None
        self._reached(self._bound)
        now_s = self._monotonic()
        self._next_s = max(now_s + self._takes_s, self._next_s) + self._takes_s / self._limit
        ahead_s = self._next_s - now_s
        if ahead_s > _LATEST_S:
            # Nobody is sent further than that; they are spread over the last half of it, and asked to wait again.
            ahead_s = _LATEST_S / 2 + ahead_s % (_LATEST_S / 2)
        return max(_SOONEST_S, ahead_s)

    def leave(self, took_s: float) -> None:
        """One who got in is out again after ``took_s``."""
        self._inside -= 1
        self._takes_s += _WEIGHT * (took_s - self._takes_s)
