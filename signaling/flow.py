"""Whether a connection is read: one switch with as many reasons as there are full queues, and what came meanwhile."""

from collections import deque
from collections.abc import Callable

from protocol.signalr.events import Event

from .transport import SessionTransport

__all__ = ["Flow", "Parked"]


class Flow:
    """How many reasons there are to read nothing; ``changed`` is called when the last one goes.

    ``stopped``: whether there is one. ``bound`` names the configuration field that was reached last.
    """

    __slots__ = ("_changed", "_reasons", "bound", "stopped")

    def __init__(self, changed: Callable[[], object]) -> None:
        self._reasons = 0
        self._changed = changed
        self.bound = ""
        self.stopped = False

    def close(self) -> None:
        """Nobody is told any more."""
        self._changed = lambda: None

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

    def __init__(self, events: list[Event], size_bytes: int) -> None:
        self.events = deque(events)
        self.size_bytes = size_bytes if events else 0

    def add(self, events: list[Event], size_bytes: int) -> None:
        """Behind what waits already."""
        if events:
            self.events.extend(events)
            self.size_bytes += size_bytes

    def hold_back(self, transport: SessionTransport, limit_bytes: int) -> bool:
        """Stop reading if more than ``limit_bytes`` wait, which is said, or if the transport lives without it.

        Up to there it is read on: pings show that the client lives, and its Acks may be what a full stream waits for.
        Beyond it nothing is heard, so that a method which takes nothing from there has the client's time-out.
        """
        too_much = self.size_bytes > limit_bytes
        if too_much or transport.inherent_keep_alive:
            transport.pause_reading()
        return too_much
