"""Which pods there are, and where each is reached inside the deployment.

A pod says that it lives, and is believed for a while; what was known when nobody could be asked stays known. Nothing
here says that a pod answers: whoever turns to one must do without it as well. Read ``PodDirectory`` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["DirectoryTimes", "MemoryDirectory", "PodBoard", "PodDirectory"]


class PodDirectory(Protocol):
    """One pod's view of all."""

    pod: str
    """This one."""

    def reached_at(self, address: str) -> None:
        """Where this pod is reached inside, ``http://host:port`` or ``unix:/path``; told to the others from now on."""
        ...

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called whenever pods have come or gone."""
        ...

    async def open(self) -> None:
        """Begin to say that this pod lives; does not wait for anybody to hear it."""
        ...

    def pods(self) -> tuple[str, ...]:
        """Those believed alive now, this one included, in order; from memory."""
        ...

    @property
    def has_looked(self) -> bool:
        """Whether it is known at all which others there are: a pod that has just begun knows itself alone."""
        ...

    @property
    def is_settled(self) -> bool:
        """Whether who is not there is gone: whoever keeps the directory may have forgotten everybody a moment ago."""
        ...

    async def have_gone(self, pods: Sequence[str], *, patient: bool) -> bool:
        """Whether none of these says any more that it lives; not if that cannot be known now.

        ``patient``: nobody waits, so that finding out may take seconds.
        """
        ...

    def address_of(self, pod: str) -> str | None:
        """Where a pod is reached inside; None: it is unknown, or gone, or nowhere reached. From memory."""
        ...

    async def look(self, pod: str) -> str | None:
        """The same; asked of those who may know when memory does not.

        Raises:
            Unavailable: whether the pod is gone cannot be known now.
        """
        ...

    async def looked(self) -> None:
        """Return once it is known which others there are, and they can find this one: perhaps never."""
        ...

    async def close(self) -> None:
        """Be gone at once for the others."""
        ...


@dataclass(frozen=True, slots=True)
class DirectoryTimes:
    """``beat_s``: how often a pod says that it lives. ``gone_s``: after that long without, it is gone."""

    beat_s: float
    gone_s: float


@dataclass(slots=True)
class PodBoard:
    """Where several pods of one process find each other."""

    addresses: dict[str, str | None] = field(default_factory=dict)
    changed: list[Callable[[], None]] = field(default_factory=list)

    def tell(self) -> None:
        """Somebody has come or gone, or moved."""
        for changed in tuple(self.changed):
            changed()


class MemoryDirectory:
    """``PodDirectory`` within one process: the only pod of a laptop, or several of a test that share a board."""

    def __init__(self, pod: str, board: PodBoard) -> None:
        self.pod = pod
        self._board = board
        self._address: str | None = None
        self._is_open = False

    def reached_at(self, address: str) -> None:
        """See ``PodDirectory``."""
        self._address = address
        if self._is_open:
            self._board.addresses[self.pod] = address
            self._board.tell()

    def on_change(self, changed: Callable[[], None]) -> None:
        """See ``PodDirectory``."""
        self._board.changed.append(changed)

    async def open(self) -> None:
        """See ``PodDirectory``."""
        self._is_open = True
        self._board.addresses[self.pod] = self._address
        self._board.tell()

    def pods(self) -> tuple[str, ...]:
        """See ``PodDirectory``."""
        return tuple(sorted({*self._board.addresses, self.pod}))

    @property
    def has_looked(self) -> bool:
        """See ``PodDirectory``."""
        return self._is_open

    @property
    def is_settled(self) -> bool:
        """See ``PodDirectory``."""
        return True

    async def have_gone(self, pods: Sequence[str], *, patient: bool) -> bool:
        """See ``PodDirectory``; it always can."""
        return self._board.addresses.keys().isdisjoint(pods)

    def address_of(self, pod: str) -> str | None:
        """See ``PodDirectory``."""
        return self._board.addresses.get(pod)

    async def look(self, pod: str) -> str | None:
        """See ``PodDirectory``."""
        return self.address_of(pod)

    async def looked(self) -> None:
        """See ``PodDirectory``; a directory in memory has looked when it is open."""

    async def close(self) -> None:
        """See ``PodDirectory``."""
        self._is_open = False
        if self._board.addresses.pop(self.pod, self) is not self:
            self._board.tell()
