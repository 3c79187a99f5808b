"""What is to be done at its time, once in a whole cluster: written in the same step as what it is about, taken later.

Whoever takes an item has it for a while; if its process dies, somebody else takes it then. So a thing may be done
twice, and is never forgotten. This module must not know what an item stands for. Read ``Outbox.take`` first.
"""

from typing import NamedTuple, Protocol

from .log_parts import OutboxKind

__all__ = ["DueItem", "Outbox"]


class DueItem(NamedTuple):
    """One item that is taken. ``tries``: how often it was carried out before. Times are Unix seconds of the log."""

    id: int
    device: str
    kind: OutboxKind
    seq: int
    due_at_s: float
    tries: int


class Outbox(Protocol):
    """The items of all devices. Every call raises ``protocol.errors.Unavailable`` when the database is away."""

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        """At most so many that are due and nobody's, the longest due first; nobody else gets them for ``hold_s``."""
        ...

    async def later(self, item: DueItem, due_at_s: float, *, tried: bool) -> None:
        """It is to be done at that time; ``tried``: once more than before. Nothing when it is done already."""
        ...

    async def done(self, item: DueItem) -> None:
        """It is over."""
        ...

    def now_s(self) -> float:
        """The time that items are due by."""
        ...
