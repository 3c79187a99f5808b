"""Who is online, on how many connections, on any pod; and which devices' phones are attached, on any pod.

Advisory: nothing that is written, offered, begun or stopped may depend on it. What is counted is a mark, which names
nobody to who does not know the name already. Read ``Presence`` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

__all__ = ["Counts", "Mark", "MemoryPresence", "Presence", "PresenceBoard", "PresenceTimes"]

Mark = NewType("Mark", bytes)


class Presence(Protocol):
    """What one pod counts, and what all have counted. Coming and going is told at once and waits for nobody."""

    def person(self, clinic: str, user: str) -> Mark:
        """The mark of a user of a clinic."""
        ...

    def device(self, device: str) -> Mark:
        """The mark of a device whose phone is attached."""
        ...

    def came(self, mark: Mark) -> None:
        """One more here."""
        ...

    def left(self, mark: Mark) -> None:
        """One less here."""
        ...

    def here(self, mark: Mark) -> int:
        """How many there are on this pod."""
        ...

    async def count(self, marks: Sequence[Mark], *, patient: bool = False) -> tuple[int, ...] | None:
        """How many of each there are on all pods; None: that cannot be known now. ``patient``: nobody waits for it."""
        ...

    def on_moved(self, moved: Callable[[Sequence[Mark]], None]) -> None:
        """Have ``moved`` called with marks of which the first has come, or the last has gone, on some pod.

        It hastens; whoever must know looks by himself as well, for a pod that dies tells nobody.
        """
        ...

    async def open(self) -> None:
        """Begin to tell the others; does not wait for anybody to hear it."""
        ...

    async def close(self) -> None:
        """Everybody here is gone at once for the others."""
        ...


@dataclass(frozen=True, slots=True)
class PresenceTimes:
    """``flush_s``: what changes within it is written together. ``beat_s``, ``gone_s``: as in ``DirectoryTimes``.

    ``max_changes``: that are written one by one; with more of them everything is written anew.
    """

    flush_s: float
    beat_s: float
    gone_s: float
    max_changes: int


class Counts:
    """How many of each mark there are on this pod."""

    def __init__(self) -> None:
        self.of: dict[Mark, int] = {}

    def came(self, mark: Mark) -> bool:
        """Whether it is the first."""
        count = self.of.get(mark, 0)
        self.of[mark] = count + 1
        return count == 0

    def left(self, mark: Mark) -> bool:
        """Whether it was the last; one that was never there is none."""
        count = self.of.get(mark, 0)
        if count > 1:
            self.of[mark] = count - 1
            return False
        return self.of.pop(mark, None) is not None


@dataclass(slots=True)
class PresenceBoard:
    """Where several pods of one process count together."""

    pods: list[Counts] = field(default_factory=list)
    moved: list[Callable[[Sequence[Mark]], None]] = field(default_factory=list)


class MemoryPresence:
    """``Presence`` within one process: the only pod of a laptop, or several of a test that share a board."""

    def __init__(self, board: PresenceBoard) -> None:
        self._board = board
        self._counts = Counts()

    def person(self, clinic: str, user: str) -> Mark:
        """See ``Presence``."""
        return Mark(f"u{clinic}\0{user}".encode("utf-8", "surrogatepass"))

    def device(self, device: str) -> Mark:
        """See ``Presence``."""
        return Mark(f"d{device}".encode("utf-8", "surrogatepass"))

    def came(self, mark: Mark) -> None:
        """See ``Presence``."""
        if self._counts.came(mark):
            self._tell(mark)

    def left(self, mark: Mark) -> None:
        """See ``Presence``."""
        if self._counts.left(mark):
            self._tell(mark)

    def here(self, mark: Mark) -> int:
        """See ``Presence``."""
        return self._counts.of.get(mark, 0)

    async def count(self, marks: Sequence[Mark], *, patient: bool = False) -> tuple[int, ...] | None:
        """See ``Presence``; it is always known."""
        pods = {id(counts): counts for counts in (*self._board.pods, self._counts)}
        return tuple(sum(counts.of.get(mark, 0) for counts in pods.values()) for mark in marks)

    def on_moved(self, moved: Callable[[Sequence[Mark]], None]) -> None:
        """See ``Presence``."""
        self._board.moved.append(moved)

    async def open(self) -> None:
        """See ``Presence``."""
        self._board.pods.append(self._counts)

    async def close(self) -> None:
        """See ``Presence``."""
        if self._counts in self._board.pods:
            self._board.pods.remove(self._counts)
        for mark in self._counts.of:
            self._tell(mark)

    def _tell(self, mark: Mark) -> None:
        for moved in tuple(self._board.moved):
            moved((mark,))
