"""What goes wrong with one device while all are looked at: it is that device's alone, and the look goes on.

Each error is counted by its class, and told once per device and class. A database that is away is everybody's trouble
and is not contained here. Read ``Troubles.of`` first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from protocol.errors import Unavailable, Unreadable

from .log import LogBook
from .metrics import Metrics

__all__ = ["Troubles"]

# How many are remembered as told; beyond it all may be told again.
_MAX_TOLD: Final = 4_096


class Troubles:
    """Contains, counts and tells the errors of single devices."""

    def __init__(self, metrics: Metrics, book: LogBook) -> None:
        self._metrics = metrics
        self._book = book
        self._told: set[tuple[str, str]] = set()

    @contextmanager
    def of(self, device: str) -> Iterator[None]:
        """Within it an error ends the work on that device and nothing else. Unavailable passes, it is of no device."""
        try:
            yield
        except Exception as error:  # one device must not end the look at all others
            if isinstance(error, Unavailable) and not isinstance(error, Unreadable):
                raise
            self.met(device, error)

    def met(self, device: str, error: Exception) -> None:
        """Count an error of one device, and tell of it when it is new."""
        kind = type(error).__name__
        self._metrics.device_failures.labels(kind).inc()
        if (device, kind) in self._told:
            return
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told.add((device, kind))
        self._book.device_failed(device=device, error=error)
