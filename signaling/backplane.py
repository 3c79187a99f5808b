"""How pods reach each other's connections: four verbs, at most once, in order per publisher and channel.

All routing sits above, in ``lifetime``; what is swapped is only this. A publisher does not hear itself: local
delivery does not depend on the bus. ``publish`` never waits, and what it cannot take is dropped and counted:
nothing that must arrive may rely on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Backplane", "Handler", "MemoryBackplane", "MemoryBus", "Payload"]

Handler = Callable[[bytes], None]
Payload = Callable[[], bytes]


class Backplane(Protocol):
    """One pod's connection to the bus."""

    def publish(self, channel: str, payload: Payload) -> None:
        """Send to every *other* pod that listens to the channel; ``payload`` is called only if it is needed."""
        ...

    def subscribe(self, channel: str, handler: Handler) -> None:
        """Listen; one handler per channel and pod, a second call replaces it."""
        ...

    def unsubscribe(self, channel: str) -> None:
        """Stop listening; unknown channels are ignored."""
        ...

    async def close(self) -> None:
        """Leave the bus."""
        ...


@dataclass(slots=True)
class MemoryBus:
    """A bus within one process: several pods of a test, or the one pod of a laptop."""

    members: list["MemoryBackplane"] = field(default_factory=list)


class MemoryBackplane:
    """A backplane over a ``MemoryBus``; payloads travel as bytes, as they would over a network."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._handlers: dict[str, Handler] = {}
        bus.members.append(self)

    def publish(self, channel: str, payload: Payload) -> None:
        """See ``Backplane``."""
        handlers = [
            handler
            for member in self._bus.members
            if member is not self and (handler := member._handlers.get(channel)) is not None
        ]
        if handlers:
            body = payload()
            for handler in handlers:
                handler(body)

    def subscribe(self, channel: str, handler: Handler) -> None:
        """See ``Backplane``."""
        self._handlers[channel] = handler

    def unsubscribe(self, channel: str) -> None:
        """See ``Backplane``."""
        self._handlers.pop(channel, None)

    async def close(self) -> None:
        """See ``Backplane``."""
        self._handlers.clear()
        if self in self._bus.members:
            self._bus.members.remove(self)
