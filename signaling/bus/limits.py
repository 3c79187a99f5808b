"""The bounds of the bus, and what is counted of it: all that its parts are given besides a server.

Knows no server. Read ``BusLimits`` first.
"""

from dataclasses import dataclass
from typing import Protocol

from signaling.metrics import Tally

__all__ = ["BusLimits", "BusWatch", "LineLimits"]


@dataclass(frozen=True, slots=True)
class BusLimits:
    """``max_messages``, ``max_bytes``: what waits for one server. ``flush_s``: the answer to what is published.

    ``timeout_s``: a connection, a subscription, or an answer that is late already. ``ping_s``: silence after which a
    server is asked whether it is there. ``skew_s``: by how much the clocks of pods may differ. ``confirm_s``: how long
    somebody waits to be told that a channel is heard.
    """

    max_messages: int
    max_bytes: int
    flush_s: float
    timeout_s: float
    ping_s: float
    skew_s: float
    confirm_s: float


@dataclass(frozen=True, slots=True)
class LineLimits:
    """``answer_s``: an answer that takes longer is not waited for. ``timeout_s``: then the connection is given up.

    ``max_waiting``: answers that are waited for at a time.
    """

    answer_s: float
    timeout_s: float
    max_waiting: int


class BusWatch(Protocol):
    """Counts. Nothing that is told here names a channel. ``received``: what other pods said and was handed on."""

    received: Tally

    def reached(self, bound: str) -> None:
        """A bound was reached; ``bound`` is its configuration field."""
        ...

    def published(self, messages: int) -> None:
        """So many were taken by a server."""
        ...

    def dropped(self, reason: str, messages: int) -> None:
        """So many will never arrive; ``reason``: full, away, lost, refused."""
        ...

    def refused(self, reason: str) -> None:
        """What was heard is not handed on; ``reason`` as in ``envelope.Refused``."""
        ...

    def lost(self, cause: str) -> None:
        """A connection to a server was lost, or could not be made."""
        ...

    def late(self) -> None:
        """A server has not answered in its time."""
        ...

    def flushed(self, messages: int, duration_s: float) -> None:
        """So many were written together, and their answers took so long."""
        ...
