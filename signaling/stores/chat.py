"""The messages of visits, in one order per visit, and how far everybody has read. ``ChatStore`` is the port.

This module must not know who may write, nor what anybody is told. Read ``ChatStore.append`` first.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from media.chat import Message, Reader
from protocol.errors import Overloaded

__all__ = ["ChatStore", "MemoryChatStore"]


class ChatStore(Protocol):
    """Messages and readers by visit. Every call is atomic, and raises Unavailable when the store is away."""

    async def append(self, message: Message) -> Message:
        """Store a message with the next number, and return it as it is stored; ``n`` of what is given does not count.

        When its writer has stored one with its ``client_id`` before, that one is returned and nothing changes.

        Raises:
            Overloaded: the visit has as many messages as it may have, or the store is full.
        """
        ...

    async def after(self, visit: str, n: int, limit: int) -> tuple[Message, ...]:
        """The messages behind number ``n``, oldest first."""
        ...

    async def last_n(self, visit: str) -> int:
        """The number of the newest message, 0 when there is none."""
        ...

    async def unread(self, visit: str, participant: str, read_to: int) -> int:
        """How many messages of others are behind number ``read_to``."""
        ...

    async def reader(self, visit: str, participant: str) -> Reader:
        """How far somebody has read."""
        ...

    async def mark_read(self, visit: str, participant: str, n: int) -> int:
        """Somebody has read up to ``n``; how far he has read now, which is never less than before."""
        ...

    async def wake_at(self, visit: str, participant: str, due_at_s: float) -> None:
        """The phone of somebody is to be woken then, unless it is to be woken already."""
        ...

    async def due(self, now_s: float, limit: int) -> tuple[Reader, ...]:
        """Those whose phones are due, the longest due first."""
        ...

    async def settle(self, seen: Reader, after: Reader) -> bool:
        """What became of waking a phone, when nobody else has seen to it since: of two who try one succeeds.

        ``seen`` is what was due; of ``after`` the times and tries count.
        """
        ...


class MemoryChatStore:
    """Messages of one process, ``max_messages`` of one visit, in at most ``max_visits`` visits."""

    def __init__(self, *, max_visits: int, max_messages: int, reached: Callable[[str], None]) -> None:
        self._max_visits = max_visits
        self._max_messages = max_messages
        self._reached = reached
        self._messages: dict[str, list[Message]] = {}
        self._readers: dict[tuple[str, str], Reader] = {}

    async def append(self, message: Message) -> Message:
        """See ``ChatStore``."""
        known = self._messages.get(message.visit, [])
        for one in known:
            if (one.participant, one.client_id) == (message.participant, message.client_id):
                return one
        if len(known) >= self._max_messages:
            self._reached("max_visit_messages")
            raise Overloaded("no more can be written in this visit")
        if message.visit not in self._messages and len(self._messages) >= self._max_visits:
            self._reached("max_visits")
            raise Overloaded("no more can be kept here")
        stored = replace(message, n=len(known) + 1)
        self._messages.setdefault(message.visit, known).append(stored)
        return stored

    async def after(self, visit: str, n: int, limit: int) -> tuple[Message, ...]:
        """See ``ChatStore``."""
        return tuple(self._messages.get(visit, [])[n : n + limit])

    async def last_n(self, visit: str) -> int:
        """See ``ChatStore``."""
        return len(self._messages.get(visit, []))

    async def unread(self, visit: str, participant: str, read_to: int) -> int:
        """See ``ChatStore``."""
        return sum(one.participant != participant for one in self._messages.get(visit, [])[read_to:])

    async def reader(self, visit: str, participant: str) -> Reader:
        """See ``ChatStore``."""
        return self._readers.get((visit, participant), Reader(visit, participant))

    async def mark_read(self, visit: str, participant: str, n: int) -> int:
        """See ``ChatStore``."""
        before = await self.reader(visit, participant)
        after = replace(before, read_to=max(before.read_to, n))
        self._readers[visit, participant] = after
        return after.read_to

    async def wake_at(self, visit: str, participant: str, due_at_s: float) -> None:
        """See ``ChatStore``."""
        before = await self.reader(visit, participant)
        if before.due_at_s is None:
            self._readers[visit, participant] = replace(before, due_at_s=due_at_s, tries=0)

    async def due(self, now_s: float, limit: int) -> tuple[Reader, ...]:
        """See ``ChatStore``."""
        found = [(one.due_at_s, name) for name, one in self._readers.items() if one.due_at_s is not None]
        return tuple(self._readers[name] for due_at_s, name in sorted(found)[:limit] if due_at_s <= now_s)

    async def settle(self, seen: Reader, after: Reader) -> bool:
        """See ``ChatStore``."""
        key = (seen.visit, seen.participant)
        now = self._readers.get(key)
        if now is None or now.due_at_s != seen.due_at_s:
            return False
        self._readers[key] = replace(now, due_at_s=after.due_at_s, tries=after.tries, pushed_at_s=after.pushed_at_s)
        return True
