"""Which pod has a connection: the first one that its token came to, and no other for as long as the token is good.

An entry lasts ``OWNED_S`` and is renewed for connections that may be asked for again, wherever a load balancer sends
that. Whoever asks must do without an answer as well (``OWNERS_AWAY``). Read ``Owners`` first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

__all__ = ["OWNERS_AWAY", "MemoryOwners", "OwnerBoard", "Owners", "OwnersAway"]


class OwnersAway(Enum):
    """Nobody can tell now; what was claimed may hold or not."""

    AWAY = "away"


OWNERS_AWAY: Final = OwnersAway.AWAY


class Owners(Protocol):
    """One pod's view of who has which connection."""

    @property
    def are_sure(self) -> bool:
        """Whether they can tell now."""
        ...

    async def claim(self, connection_id: str) -> str | OwnersAway:
        """Have the connection unless a pod has it already: the pod that has it now."""
        ...

    async def take(self, connection_id: str) -> str | OwnersAway:
        """Have one that no other pod has, as they have said themselves: the pod that has it, if somebody can tell.

        Otherwise it is this one's, and others are told so as soon as that can be.
        """
        ...

    async def find(self, connection_id: str) -> str | OwnersAway | None:
        """The pod that has it; None: none, or it was long ago."""
        ...

    def keep(self, connection_id: str) -> None:
        """This pod has it until ``leave``, however long that is."""
        ...

    def leave(self, connection_id: str) -> None:
        """It is over: its entry ends by itself. Unknown ones are ignored."""
        ...

    async def open(self) -> None:
        """Begin to renew what is kept."""
        ...

    async def close(self) -> None:
        """Renew nothing any more."""
        ...


@dataclass(slots=True)
class OwnerBoard:
    """What several pods of one process share: who has a connection, and until when."""

    owned: dict[str, tuple[str, float]] = field(default_factory=dict)


class MemoryOwners:
    """``Owners`` within one process: the only pod of a laptop, or several of a test that share a board."""

    def __init__(self, pod: str, board: OwnerBoard, *, ttl_s: float, monotonic: Callable[[], float]) -> None:
        self._pod = pod
        self._board = board
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._kept: set[str] = set()

    @property
    def are_sure(self) -> bool:
        """See ``Owners``."""
        return True

    async def claim(self, connection_id: str) -> str | OwnersAway:
        """See ``Owners``."""
        found = await self.find(connection_id)
        if found is not None:
            return found
        self._board.owned[connection_id] = self._pod, self._monotonic() + self._ttl_s
        return self._pod

    async def take(self, connection_id: str) -> str | OwnersAway:
        """See ``Owners``."""
        return await self.claim(connection_id)

    async def find(self, connection_id: str) -> str | OwnersAway | None:
        """See ``Owners``."""
        now_s = self._monotonic()
        for one in [one for one, (_, until_s) in self._board.owned.items() if until_s < now_s]:
            del self._board.owned[one]
        found = self._board.owned.get(connection_id)
        return found[0] if found is not None else None

    def keep(self, connection_id: str) -> None:
        """See ``Owners``."""
        self._kept.add(connection_id)
        self._board.owned[connection_id] = self._pod, float("inf")

    def leave(self, connection_id: str) -> None:
        """See ``Owners``."""
        if connection_id in self._kept:
            self._kept.discard(connection_id)
            self._board.owned[connection_id] = self._pod, self._monotonic() + self._ttl_s

    async def open(self) -> None:
        """See ``Owners``."""

    async def close(self) -> None:
        """See ``Owners``."""
        for connection_id in tuple(self._kept):
            self.leave(connection_id)
