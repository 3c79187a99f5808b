"""The bounds of the stores in SQL: how much they keep in memory, how long they wait. Imports nothing of them."""

from dataclasses import dataclass

__all__ = ["PostgresLimits", "SqliteLimits", "StoreLimits"]


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of what a process keeps in memory, and of how old it may be.

    ``max_cached_devices``: devices whose rows are kept. ``max_unwritten_steps``: steps on one device that are told and
    not written down. ``flush_s``: how long they may stay so. ``stale_s``: how old an answer may be when another
    process writes to the same device; refusals are never old. ``max_due_devices``: devices of one look for what has
    expired.
    """

    max_cached_devices: int = 10_000
    max_unwritten_steps: int = 256
    flush_s: float = 0.5
    stale_s: float = 0.25
    max_due_devices: int = 256


@dataclass(frozen=True, slots=True)
class SqliteLimits:
    """``max_waiting_writes``: pieces of work that wait for the writing thread.

    ``timeout_s``: wait for another process that writes. ``ballast_bytes``: room that is set aside, so that what became
    of things can still be written on a full disk.
    """

    max_waiting_writes: int = 4_096
    timeout_s: float = 5.0
    ballast_bytes: int = 1_048_576


@dataclass(frozen=True, slots=True)
class PostgresLimits:
    """``max_connections`` to the database. ``timeout_s``: for one statement, and for a connection."""

    max_connections: int = 10
    timeout_s: float = 5.0
