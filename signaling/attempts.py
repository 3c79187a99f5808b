"""How often something may be tried: so many times at once, and then as many in each window, per key.

One number per key is kept (the generic cell rate algorithm): the time at which all that was tried is paid for. Time is
an argument. This module must not know what is tried.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

__all__ = ["Attempts"]


class Attempts:
    """``limit`` attempts in ``window_s`` seconds for each of at most ``max_keys`` keys.

    ``reached`` is told ``limit_bound`` when a key has to wait, and ``keys_bound`` when the one that tried longest ago
    is forgotten.
    """

    def __init__(
        self,
        *,
        limit: int,
        limit_bound: str,
        window_s: float,
        max_keys: int,
        keys_bound: str,
        reached: Callable[[str], None],
    ) -> None:
        self._every_s = window_s / limit
        self._slack_s = window_s - self._every_s
        self._limit_bound = limit_bound
        self._max_keys = max_keys
        self._keys_bound = keys_bound
        self._reached = reached
        self._paid_at_s: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._paid_at_s)

    def wait_s(self, key: Hashable, now_s: float, *, counts: bool = True) -> float:
        """Try once: 0 when it may be, otherwise how many seconds later it may. What must wait does not count.

        ``counts`` False: only look whether it may, because something else may still be in its way.
        """
        paid_at_s = max(self._paid_at_s.get(key, now_s), now_s)
        wait_s = paid_at_s - now_s - self._slack_s
        # A float that went through a sum is a little off: a wait of nothing is none.
        if wait_s > 1e-6:
            self._reached(self._limit_bound)
            return wait_s
        if not counts:
            return 0.0
        self._paid_at_s[key] = paid_at_s + self._every_s
        self._paid_at_s.move_to_end(key)
        if len(self._paid_at_s) > self._max_keys:
            self._paid_at_s.popitem(last=False)
            self._reached(self._keys_bound)
        return 0.0
