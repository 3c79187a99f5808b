"""So many requests in so many seconds, in the order in which they were wanted; and none while the service asks so.

Whoever wants to ask is given a time. Pure: time is an argument. Read ``Slots.when``.
"""

from collections import deque
from dataclasses import dataclass, field

__all__ = ["Slots"]


@dataclass(slots=True)
class Slots:
    """``most`` requests in ``window_s``. Times are in seconds that only rise."""

    most: int
    window_s: float
    held_until_s: float = 0.0
    paced_until_s: float = 0.0
    _given: deque[float] = field(default_factory=deque)

    def when(self, now_s: float) -> float:
        """When the next one may ask: now, or later."""
        at_s = max(now_s, self.held_until_s)
        if len(self._given) >= self.most:
            at_s = max(at_s, self._given[0] + self.window_s)
        if self._given:
            at_s = max(at_s, self._given[-1])
            if at_s < self.paced_until_s:
                # Others ask too, so what is left is spread out: a crowd would only be refused again.
                at_s = max(at_s, self._given[-1] + self.window_s / self.most)
        return at_s

    def reserve(self, now_s: float) -> float:
        """The same, and it is given to somebody, who keeps it whatever becomes of him."""
        at_s = self.when(now_s)
        if len(self._given) >= self.most:
            self._given.popleft()
        self._given.append(at_s)
        return at_s

    def hold(self, now_s: float, wait_s: float) -> None:
        """The service has asked to be left alone for so long."""
        self.held_until_s = max(self.held_until_s, now_s + wait_s)
        self.paced_until_s = self.held_until_s + self.window_s

    def is_held(self, now_s: float) -> bool:
        """Whether it has, and it is not over."""
        return now_s < self.held_until_s
