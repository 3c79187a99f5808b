"""Who waits until channels are heard: he is told once, when the last of them is, or when nobody waits any longer.

Bounded by who waits: a connection that hears nothing waits for a few channels. Must not know servers, nor clocks. Read
``Confirming.wait`` first.
"""

from collections.abc import Callable, Collection

__all__ = ["Confirming"]


class _Wait:
    """``left``: channels that are not heard yet; 0: it is over."""

    __slots__ = ("left", "then")

    def __init__(self, left: int, then: Callable[[], None]) -> None:
        self.left = left
        self.then = then


class Confirming:
    """``later`` calls something after the longest time that anybody waits; ``on_late`` is told that he has."""

    def __init__(self, *, later: Callable[[Callable[[], None]], object], on_late: Callable[[], None]) -> None:
        self._later = later
        self._on_late = on_late
        self._waits: dict[bytes, list[_Wait]] = {}

    def __len__(self) -> int:
        """How many channels somebody waits for."""
        return len(self._waits)

    def wait(self, channels: Collection[bytes], then: Callable[[], None]) -> None:
        """Have ``then`` called when each of these, which is not heard yet, is."""
        wait = _Wait(len(channels), then)
        for channel in channels:
            self._waits.setdefault(channel, []).append(wait)
        self._later(lambda: self._late(wait))

    def confirmed(self, channel: bytes) -> None:
        """It is heard, or nobody wants it any more."""
        for wait in self._waits.pop(channel, ()):
            if wait.left:
                wait.left -= 1
                if not wait.left:
                    wait.then()

    def give_up(self) -> None:
        """Nothing will be confirmed: nobody waits."""
        for channel in tuple(self._waits):
            for wait in self._waits.pop(channel, ()):
                self._end(wait)

    def _late(self, wait: _Wait) -> None:
        if wait.left:
            self._on_late()
            self._end(wait)

    def _end(self, wait: _Wait) -> None:
        if wait.left:
            wait.left = 0
            wait.then()
