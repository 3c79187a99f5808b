"""How pods reach each other's connections: a few verbs, at most once, in order per publisher and channel.

All routing sits above, in ``lifetime``; what is swapped is only this. A publisher does not hear itself: local
delivery does not depend on the bus. ``publish`` never waits, and what it cannot take is dropped and counted:
nothing that must arrive may rely on it. While the bus is away (``BusState.DEGRADED``) everything else goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

__all__ = ["Backplane", "BusState", "Handler", "MemoryBackplane", "MemoryBus", "Payload"]

Handler = Callable[[bytes], None]
Payload = Callable[[], bytes]


class BusState(Enum):
    """CONNECTED: what is published arrives, as far as anybody knows. DEGRADED: it does not, or what others publish."""

    CONNECTED = "connected"
    DEGRADED = "degraded"


class Backplane(Protocol):
    """One pod's connection to the bus."""

    @property
    def state(self) -> BusState:
        """How it is now."""
        ...

    async def open(self) -> None:
        """Join the bus, now or whenever it is there; does not wait for it."""
        ...

    def publish(self, channel: str, payload: Payload) -> None:
        """Send to every *other* pod that listens to the channel; ``payload`` is not called for what cannot be sent."""
        ...

    def subscribe(self, channel: str, handler: Handler, on_late: Callable[[], None] | None = None) -> None:
        """Listen; one handler per channel and pod, a second call replaces it.

        ``on_late`` is called when listening has begun later than this returned: what came in between was missed.
        """
        ...

    def unsubscribe(self, channel: str) -> None:
        """Stop listening; unknown channels are ignored."""
        ...

    def until_heard(self, channels: Sequence[str], begin: Callable[[], Callable[[], None]]) -> None:
        """If some of these, which were subscribed to, are not listened to yet: call ``begin``, and its result later.

        That is called once: as soon as all are, or as that is not to be had, because the bus is away or takes too long.
        """
        ...

    def on_missed(self, missed: Callable[[], None]) -> None:
        """Have ``missed`` called whenever messages may have been lost on any channel, after the bus is there again."""
        ...

    async def close(self) -> None:
        """Leave the bus."""
        ...


@dataclass(slots=True)
class MemoryBus:
    """A bus within one process: several pods of a test, or the one pod of a laptop."""

    members: list["MemoryBackplane"] = field(default_factory=list)


class MemoryBackplane:
    """A backplane over a ``MemoryBus``; payloads travel as bytes, as they would over a network. It misses nothing."""

    state = BusState.CONNECTED

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._handlers: dict[str, Handler] = {}
        bus.members.append(self)

    async def open(self) -> None:
        """See ``Backplane``."""

    def publish(self, channel: str, payload: Payload) -> None:
        """See ``Backplane``; what nobody hears is never encoded."""
        handlers = [
            handler
            for member in self._bus.members
            if member is not self and (handler := member._handlers.get(channel)) is not None
        ]
        if handlers:
            body = payload()
            for handler in handlers:
                handler(body)

    def subscribe(self, channel: str, handler: Handler, on_late: Callable[[], None] | None = None) -> None:
        """See ``Backplane``; never late."""
        self._handlers[channel] = handler

    def unsubscribe(self, channel: str) -> None:
        """See ``Backplane``."""
        self._handlers.pop(channel, None)

    def until_heard(self, channels: Sequence[str], begin: Callable[[], Callable[[], None]]) -> None:
        """See ``Backplane``; they always are."""

    def on_missed(self, missed: Callable[[], None]) -> None:
        """See ``Backplane``; nothing is."""

    async def close(self) -> None:
        """See ``Backplane``."""
        self._handlers.clear()
        if self in self._bus.members:
            self._bus.members.remove(self)
