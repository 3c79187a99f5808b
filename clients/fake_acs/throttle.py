"""So many requests in so many seconds, and then 429 until the window has moved on. Pure: time is an argument.

Public: the numbers of identities and tokens. Assumed: those of chats and rooms, that the window slides, that a refused
request counts too, and that ``Retry-After`` says when there is room again.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

__all__ = ["LIMITS", "Limit", "Throttle", "parse_limit"]


@dataclass(frozen=True, slots=True)
class Limit:
    """``most`` requests in ``window_s`` seconds."""

    most: int
    window_s: float


LIMITS: Final[Mapping[str, Limit]] = MappingProxyType(
    {
        "create": Limit(1_000, 30.0),
        "token": Limit(1_000, 30.0),
        "revoke": Limit(500, 30.0),
        "delete": Limit(500, 30.0),
        "chat": Limit(5_000, 10.0),
        "rooms": Limit(1_000, 10.0),
    }
)


@dataclass(slots=True)
class Throttle:
    """Counts what comes, by operation. ``refused``: how often it said no."""

    limits: dict[str, Limit] = field(default_factory=lambda: dict(LIMITS))
    refused: int = 0
    _times: dict[str, deque[float]] = field(default_factory=dict)

    def admit(self, operation: str, now_s: float) -> float:
        """0 for come in, else the seconds until there is room."""
        limit = self.limits.get(operation)
        if limit is None:
            return 0.0
        times = self._times.setdefault(operation, deque())
        while times and times[0] <= now_s - limit.window_s:
            times.popleft()
        is_full = len(times) >= limit.most
        # Public: all requests count. Assumed: so that who keeps asking is not shut out for ever, each once.
        times.append(now_s)
        if len(times) > limit.most:
            times.popleft()
        if not is_full:
            return 0.0
        self.refused += 1
        return max(1.0, times[0] + limit.window_s - now_s)


def parse_limit(text: str) -> tuple[str, Limit]:
    """``token=100/10``. Raises ValueError."""
    operation, _, rest = text.partition("=")
    most, _, window_s = rest.partition("/")
    if operation not in LIMITS:
        raise ValueError(f"throttle: one of {', '.join(LIMITS)}, like token=100/10")
    limit = Limit(int(most), float(window_s))
    if limit.most < 1 or limit.window_s <= 0:
        raise ValueError("throttle: numbers greater than 0")
    return operation, limit
