"""What a visit has changed in the aids: taken from the device's history, and from what the aids keep when it ends.

Read ``VisitSummaries.kept`` first.
"""

from msgspec import UNSET

from fitting.diff import differences
from fitting.log import DeviceLog
from fitting.log_values import DeviceHead, Revision
from media.visit import Visit
from protocol.contract.base import EARS, Refusal
from protocol.contract.bookings import VisitSummary
from protocol.contract.history import GetHistory
from protocol.contract.times import iso_ms
from signaling.flows.history import DeviceHistory

__all__ = ["VisitSummaries"]

_MOST = 100


class VisitSummaries:
    """Reads the log and decides nothing."""

    def __init__(self, log: DeviceLog, history: DeviceHistory) -> None:
        self._log = log
        self._history = history

    async def kept(self, device: str) -> str:
        """The newest revision that both aids keep by their last read-back, "" when that is none that is known."""
        head = await self._log.head(device)
        if isinstance(head, Refusal):
            return ""
        for revision in await self._log.revisions(device, limit=_MOST):
            if _is_kept(head, revision):
                return revision.revision_id
        return ""

    async def of(self, visit: Visit) -> VisitSummary:
        """The summary of a visit, as far as it has come. Raises Unavailable."""
        found = await self._history.page(GetHistory(device=visit.device, limit=_MOST))
        begin = None if visit.live_at_s is None else iso_ms(visit.live_at_s)
        end = "9999" if visit.over_at_s is None else iso_ms(visit.over_at_s)
        made = tuple(one for one in found.revisions if begin is not None and begin <= one.at <= end)
        before = await self._revision(visit, visit.base_revision)
        kept = await self._revision(visit, visit.kept_revision)
        return VisitSummary(
            visit=visit.visit,
            device=visit.device,
            revisions=made,
            before=visit.base_revision or UNSET,
            kept=visit.kept_revision or UNSET,
            changes=UNSET if before is None or kept is None else differences(before.content, kept.content),
        )

    async def _revision(self, visit: Visit, revision: str) -> Revision | None:
        return await self._log.revision(visit.device, revision) if revision else None


def _is_kept(head: DeviceHead, revision: Revision) -> bool:
    known = 0
    for ear in EARS:
        digest, truth = getattr(revision.digests, ear), getattr(head.in_aid, ear)
        if digest is UNSET:
            continue
        if truth is UNSET or truth.nvm != digest:
            return False
        known += 1
    return known > 0
