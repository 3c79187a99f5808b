"""Whether a lease is still held, as the fitter that holds it sees it. Pure: time is an argument.

The server's word counts, and where there is none, the time: a lease that could not be renewed for as long as it lives
is lost, so that nobody goes on turning sliders of a device that somebody else has. It must not know hubs. Read
``renewed`` first, then ``restored``.
"""

from dataclasses import dataclass, replace
from typing import Final

from protocol.contract.base import Failure
from protocol.contract.devices import LeaseAnswer
from protocol.contract.sessions import LeaseLost, LeaseRenewed

__all__ = ["LOST_CODES", "HeldLease", "renewed", "restored"]

# Every other refusal is of the moment, and says nothing of the lease.
LOST_CODES: Final = frozenset({"lease_lost", "fence_stale", "lease_held", "not_found", "not_allowed"})


@dataclass(frozen=True, slots=True)
class HeldLease:
    """``asked_at_s``: when the request was sent that the lease was last granted with, so it lives a little longer."""

    device: str
    session: str
    fence: int
    asked_at_s: float
    lease_for_s: float

    def has_run_out(self, now_s: float) -> bool:
        """Whether it may have ended for want of a renewal."""
        return now_s >= self.asked_at_s + self.lease_for_s

    def lost(self, detail: str) -> LeaseLost:
        """The news that it is over."""
        return LeaseLost(device=self.device, reason="expired", detail=detail)


def renewed(
    lease: HeldLease, answer: LeaseRenewed | Failure | None, *, asked_at_s: float, now_s: float
) -> HeldLease | LeaseLost:
    """After a renewal was asked for at ``asked_at_s``; ``answer`` None: nobody knows what became of it."""
    if isinstance(answer, LeaseRenewed):
        return replace(lease, asked_at_s=asked_at_s, lease_for_s=answer.lease_for_ms / 1_000)
    return _unrenewed(lease, answer, now_s)


def restored(
    lease: HeldLease, answer: LeaseAnswer | Failure | None, *, asked_at_s: float, now_s: float
) -> HeldLease | LeaseLost:
    """After a new link has asked for the lease again. Another fence means another session: this one has ended."""
    if not isinstance(answer, LeaseAnswer):
        return _unrenewed(lease, answer, now_s)
    if answer.fence != lease.fence:
        return lease.lost("the lease had ended when the link came back")
    return replace(lease, asked_at_s=asked_at_s, lease_for_s=answer.lease_for_ms / 1_000)


def _unrenewed(lease: HeldLease, failure: Failure | None, now_s: float) -> HeldLease | LeaseLost:
    if failure is not None and failure.error.code in LOST_CODES:
        return lease.lost(failure.error.message)
    return lease.lost("it could not be renewed in time") if lease.has_run_out(now_s) else lease
