"""Whether a device's recorded events are what was recorded: each is chained to all before it by its hash.

Finds an event that was changed, taken out, put in or moved, and with the head's own count and hash also a tail that was
cut off. This module must not know where events are kept. Read ``ChainCheck`` first.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from .digest import content_digests
from .log_parts import accepted_digest
from .log_values import Delivery, LogEvent, Revision, first_hash

__all__ = ["ChainCheck", "is_as_accepted", "verify"]


@dataclass(slots=True)
class ChainCheck:
    """The events of one device, followed from the first one on; ``broken_at`` is the number of the first wrong one."""

    device: str
    last_n: int = 0
    last_hash: str = ""
    broken_at: int | None = None

    def __post_init__(self) -> None:
        """Begin before the first event."""
        self.last_hash = self.last_hash or first_hash(self.device)

    def follow(self, events: Iterable[LogEvent]) -> bool:
        """Go on with the next events, in the order in which they are kept; whether all is well so far."""
        for event in events:
            if self.broken_at is not None:
                break
            n = self.last_n + 1
            if event.n != n or event.hash_after(self.last_hash, n) != event.hash:
                self.broken_at = n
            else:
                self.last_n, self.last_hash = n, event.hash
        return self.broken_at is None

    def ends_at(self, last_n: int, last_hash: str) -> bool:
        """Whether the events that were followed are all that there ever were, as the device's head tells."""
        if self.broken_at is None and (self.last_n, self.last_hash) != (last_n, last_hash):
            self.broken_at = min(self.last_n, last_n) + 1
        return self.broken_at is None


def verify(device: str, events: Iterable[LogEvent]) -> int | None:
    """The number of the first event that is not what was recorded, None when all are."""
    check = ChainCheck(device)
    check.follow(events)
    return check.broken_at


def is_as_accepted(event: LogEvent, delivery: Delivery) -> bool:
    """Whether a change and its revision are still what the event of its acceptance covers.

    Nothing that is stored beside the content is believed of it: its digests are made anew.
    """
    revision, base = _anew(delivery.revision), _anew(delivery.base)
    is_own = (revision, base) == (delivery.revision, delivery.base)
    return is_own and accepted_digest(replace(delivery, revision=revision, base=base)) == event.digest


def _anew(revision: Revision) -> Revision:
    return replace(revision, digests=content_digests(revision.content))
