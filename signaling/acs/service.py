"""What is asked of Azure Communication Services, as a port: ``SdkService`` carries it out with Microsoft's SDKs.

Identities, tokens, rooms and threads have names that lead to people: none is ever logged. Read
``CommunicationService``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["AcsMessage", "AcsToken", "CommunicationService"]


@dataclass(frozen=True, slots=True)
class AcsToken:
    """A token of a person, until when it is good in Unix seconds."""

    token: str = field(repr=False)
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class AcsMessage:
    """A text in a thread. ``sender`` is an identity; ``ours`` our own id of it, "" when it was written there."""

    id: str
    sender: str = field(repr=False)
    text: str = field(repr=False)
    at_s: float
    ours: str = ""


class CommunicationService(Protocol):
    """Every call raises ``media.acs.Trouble`` and nothing else. ``until_s``: how long it may wait for its turn,
    monotonic seconds; None: as long as anybody waits.
    """

    async def create(self, scopes: Sequence[str], *, until_s: float | None = None) -> tuple[str, AcsToken]:
        """A new identity, with its first token."""
        ...

    async def token(self, identity: str, scopes: Sequence[str], *, until_s: float | None = None) -> AcsToken:
        """A token of an identity."""
        ...

    async def revoke(self, identity: str) -> None:
        """None of its tokens is good any more."""
        ...

    async def delete(self, identity: str) -> None:
        """It is no more, and what was kept of it there."""
        ...

    async def open_room(self, opens_s: float, until_s: float, people: Mapping[str, str]) -> str:
        """A room for people, with their roles; open until ``until_s``, Unix seconds."""
        ...

    async def set_room(self, room: str, people: Mapping[str, str]) -> None:
        """These are in it, as this."""
        ...

    async def leave_room(self, room: str, people: Sequence[str]) -> None:
        """These are not."""
        ...

    async def close_room(self, room: str) -> None:
        """It is no more."""
        ...

    async def open_thread(self, token: AcsToken, topic: str, key: str) -> str:
        """A thread; the same one for the same ``key``."""
        ...

    async def add(self, token: AcsToken, thread: str, identity: str, name: str) -> None:
        """Somebody is in it."""
        ...

    async def remove(self, token: AcsToken, thread: str, identity: str) -> None:
        """Somebody is not."""
        ...

    async def close_thread(self, token: AcsToken, thread: str) -> None:
        """It is no more, and what was written there."""
        ...

    async def write(self, token: AcsToken, thread: str, text: str, *, name: str, ours: str) -> None:
        """Write there, under our own id of it."""
        ...

    async def since(self, token: AcsToken, thread: str, at_s: float) -> tuple[AcsMessage, ...]:
        """What was written there since, the oldest first."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...
