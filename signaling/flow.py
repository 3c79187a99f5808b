"""Whether a connection is read: one switch with as many reasons as there are full queues."""

from collections.abc import Callable

__all__ = ["Flow"]


class Flow:
    """How many reasons there are to read nothing; ``changed`` is called when the last one goes.

    ``bound`` names the configuration field that was reached last.
    """

    __slots__ = ("_changed", "_reasons", "bound")

    def __init__(self, changed: Callable[[], None]) -> None:
        self._reasons = 0
        self._changed = changed
        self.bound = ""

    @property
    def stopped(self) -> bool:
        """Whether nothing must be read."""
        return self._reasons > 0

    def stop(self, bound: str) -> None:
        """One more reason."""
        self._reasons += 1
        self.bound = bound

    def go_on(self) -> None:
        """One reason less."""
        self._reasons -= 1
        if self._reasons == 0:
            self._changed()
