"""Whether a connection is read: one switch with as many reasons as there are full queues, and what came meanwhile."""

from collections import deque
from collections.abc import Callable

from protocol.signalr.events import Event

__all__ = ["Flow", "Parked"]


class Flow:
    """How many reasons there are to read nothing; ``changed`` is called when the last one goes.

    ``stopped``: whether there is one. ``bound`` names the configuration field that was reached last.
    """

    __slots__ = ("_changed", "_reasons", "bound", "stopped")

    def __init__(self, changed: Callable[[], None]) -> None:
        self._reasons = 0
        self._changed = changed
        self.bound = ""
        self.stopped = False

    def stop(self, bound: str) -> None:
        """One more reason."""
        self._reasons += 1
        self.stopped = True
        self.bound = bound

    def go_on(self) -> None:
        """One reason less."""
        self._reasons -= 1
        if self._reasons == 0:
            self.stopped = False
            self._changed()


class Parked:
    """What was received and waits until the flow goes on; ``size_bytes`` is its size on the wire, at most."""

    __slots__ = ("events", "size_bytes")

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.size_bytes = 0

    def add(self, events: list[Event], size_bytes: int) -> None:
        """Behind what waits already."""
        if events:
            self.events.extend(events)
            self.size_bytes += size_bytes
