"""The time of a log without a database that has a clock: the host's at the start, and it only rises from there.

A host whose clock is set must neither keep a lease alive nor end one. This module must not know who keeps the log. Read
``LogClock.now_s``.
"""

from collections.abc import Callable

__all__ = ["LogClock"]


class LogClock:
    """``clock`` gives Unix seconds, ``monotonic`` seconds that only rise."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._ahead_s = clock() - monotonic()

    def begin(self, newest_s: float) -> None:
        """Start from the host's time again, but never before what has happened already."""
        self._ahead_s = max(self._clock(), newest_s) - self._monotonic()

    def now_s(self) -> float:
        """Unix seconds."""
        return self._monotonic() + self._ahead_s
