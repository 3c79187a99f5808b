"""The lease of the one who fits: one holder at a time, and a fence that only rises.

The fence travels with every change, so that a holder who was away too long is refused wherever its
change arrives, in the log and in the phone. This module must not know where a lease is kept nor what
time it is. Read ``request`` first.
"""

from dataclasses import dataclass

from .log_values import LeaseState

__all__ = ["Granted", "Held", "live", "request"]


@dataclass(frozen=True, slots=True)
class Granted:
    """The lease as it is now; ``renewed`` when the same session held it already, with the same fence."""

    lease: LeaseState
    renewed: bool


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else holds the device for another ``remaining_s`` at most."""

    remaining_s: float


def live(lease: LeaseState | None, now_s: float) -> LeaseState | None:
    """The lease if it has not ended; at ``until_s`` it has."""
    return lease if lease is not None and now_s < lease.until_s else None


def request(
    lease: LeaseState | None, *, fence: int, session: str, holder: str, now_s: float, ttl_s: float
) -> Granted | Held:
    """Ask for the device. ``fence`` is the highest that was ever granted; a new grant is one above it.

    A session's name alone does not make a holder: the same session of another holder waits.
    """
    held = live(lease, now_s)
    if held is None:
        return Granted(LeaseState(holder, session, fence + 1, now_s + ttl_s), renewed=False)
    if (held.session, held.holder) == (session, holder):
        return Granted(LeaseState(holder, session, held.fence, now_s + ttl_s), renewed=True)
    return Held(held.until_s - now_s)
