"""What waits to be published: bounded by count and by bytes, the oldest is dropped for the newest.

Knows neither servers nor what a message means.
"""

from collections import deque
from typing import NamedTuple, TypeAlias

__all__ = ["Dropped", "Waiting", "WaitingMessage", "nobody"]

# Channel and payload: one is made for every message, and a class of its own costs more.
WaitingMessage: TypeAlias = tuple[bytes, bytes]


class Dropped(NamedTuple):
    """So many made room; ``bound`` is the configuration field that was reached."""

    bound: str
    messages: int


class Waiting:
    """A queue that never waits and never refuses the newest, unless that alone is too big.

    ``wake`` is called for the first that waits: whoever takes some knows of those that came behind it.
    """

    __slots__ = ("_max_bytes", "_max_messages", "_messages", "size_bytes", "wake")

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self.wake = nobody
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: deque[WaitingMessage] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def put(self, message: WaitingMessage) -> Dropped | None:
        """Queue one; what was dropped for it, if something was."""
        messages = self._messages
        if not messages:
            self.wake()
        messages.append(message)
        self.size_bytes += len(message[0]) + len(message[1])
        if self.size_bytes <= self._max_bytes and len(messages) <= self._max_messages:
            return None
        return self._make_room()

    def take(self, max_messages: int, max_bytes: int) -> list[WaitingMessage]:
        """The oldest, at least one if there is one, and no more than that."""
        if len(self._messages) <= max_messages and self.size_bytes <= max_bytes:  # nearly always
            taken = list(self._messages)
            self.clear()
            return taken
        taken, room = [], max_bytes
        while self._messages and len(taken) < max_messages and (not taken or _size(self._messages[0]) <= room):
            room -= _size(self._messages[0])
            taken.append(self._drop())
        return taken

    def clear(self) -> int:
        """Drop everything; how many there were."""
        count = len(self._messages)
        self._messages.clear()
        self.size_bytes = 0
        return count

    def _make_room(self) -> Dropped:
        before = len(self._messages)
        while self.size_bytes > self._max_bytes:
            self._drop()
        dropped = before - len(self._messages)
        if dropped:
            return Dropped("max_bus_bytes", dropped)
        self._drop()
        return Dropped("max_bus_messages", 1)

    def _drop(self) -> WaitingMessage:
        message = self._messages.popleft()
        self.size_bytes -= _size(message)
        return message


def nobody() -> None:
    """Whom to wake when nobody takes what waits."""


def _size(message: WaitingMessage) -> int:
    return len(message[0]) + len(message[1])
