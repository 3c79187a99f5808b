"""What the store asks of a database, and what it tells whoever watches it.

Two implementations: ``sqlite_log`` and ``postgres_log``. This module must not know either. Read ``LogDatabase`` first.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fitting.log_parts import KnownKey
from fitting.log_values import Delivery, LogEvent, Revision

from .record import HeadRow, Write

__all__ = ["ChainEnd", "Due", "Loaded", "LogDatabase", "Unwatched", "Watch"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One device as it was written, with the revisions that it names and that were not known before."""

    head: HeadRow
    revisions: Mapping[str, Revision]


class ChainEnd(NamedTuple):
    """The number and the hash of the newest event of a device."""

    device: str
    last_n: int
    last_hash: str


class Due(NamedTuple):
    """Since when time alone may bring something about on a device."""

    due_at: float
    device: str


class LogDatabase(Protocol):
    """Reads and writes the tables. Every call raises ``protocol.errors.Unavailable`` when the database is away."""

    def now_s(self) -> float:
        """The database's time in Unix seconds, as well as it is known without asking."""
        ...

    def epoch(self) -> str:
        """The identity of this database's history."""
        ...

    async def create(self, head: HeadRow) -> bool:
        """Write the first row of a device; False when there is one."""
        ...

    async def load(self, device: str, *, known: Collection[str]) -> Loaded | None:
        """A device with the revisions that it names, but for those that are known; None when there is no device."""
        ...

    async def key_at(self, device: str, key: str) -> tuple[int, KnownKey | None]:
        """The version of a device, and what it knew of an idempotency key then; version -1 when there is no device."""
        ...

    async def commit(self, write: Write) -> bool:
        """Write all of it, or nothing: False when the row has another version or its lease is not as assumed.

        Raises UnknownOutcome when the connection was lost while the write was on its way.
        """
        ...

    async def versions(self, devices: Collection[str]) -> Mapping[str, int]:
        """The versions of devices now."""
        ...

    async def newest(self, devices: Collection[str]) -> Mapping[str, int]:
        """The number of the newest event of each of the devices."""
        ...

    async def due(self, limit: int, after: "Due | None" = None) -> tuple["Due", ...]:
        """Devices on which time alone may bring something about now, the latest first, those after one."""
        ...

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        """A delivery as it was written last."""
        ...

    async def deliveries(self, device: str, before: int, limit: int) -> tuple[Delivery, ...]:
        """Deliveries as they were written last, newest first, those with a lower seq than ``before``."""
        ...

    async def ends(self, after: str, limit: int) -> tuple[ChainEnd, ...]:
        """What the heads of devices say of the end of their chains, by device, those after one."""
        ...

    async def due_soon(self, within_s: float, limit: int) -> tuple[str, ...]:
        """Devices on which time alone may bring something about within that time, the earliest first."""
        ...

    async def events(self, device: str, after: int, limit: int) -> tuple[LogEvent, ...]:
        """Events after a number, oldest first."""
        ...

    async def revision(self, device: str, revision_id: str) -> Revision | None:
        """One revision."""
        ...

    async def revisions(self, device: str, before: str | None, limit: int) -> tuple[Revision, ...]:
        """Revisions, newest first, those older than ``before``."""
        ...


class Watch(Protocol):
    """What is counted of the databases. Nothing that is told here names a device."""

    def reached(self, bound: str) -> None:
        """A bound was reached; ``bound`` is its configuration field."""
        ...

    def cached(self, hit: bool) -> None:
        """A device's rows were wanted: at hand, or to be read."""
        ...

    def conflicted(self) -> None:
        """Somebody else had written first, so a step was run again."""
        ...

    def committed(self, writes: int, duration_s: float) -> None:
        """One commit with so many writes took so long."""
        ...

    def waiting(self, writes: int) -> None:
        """So many writes wait for their turn now."""
        ...

    def failed(self, reason: str) -> None:
        """The database refused or was away; ``reason`` is one of a few words or an SQLSTATE."""
        ...


class Unwatched:
    """Nobody looks."""

    def reached(self, bound: str) -> None: ...

    def cached(self, hit: bool) -> None: ...

    def conflicted(self) -> None: ...

    def committed(self, writes: int, duration_s: float) -> None: ...

    def waiting(self, writes: int) -> None: ...

    def failed(self, reason: str) -> None: ...
