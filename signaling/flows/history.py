"""A device's past for those who may see it: revisions with what each changed, comparisons, and events as they come.

Reads the log and decides nothing. Read ``DeviceHistory.page`` and ``watch`` first.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec import UNSET

from fitting.diff import differences, three_way
from fitting.log import DeviceLog
from fitting.log_values import LogEvent, Revision
from protocol.contract.base import Failure, Refusal
from protocol.contract.history import (
    Compare,
    CompareAnswer,
    GetHistory,
    GetRevision,
    HistoryAnswer,
    HistoryEvent,
    RevisionAnswer,
    RevisionView,
    WatchDevice,
)
from protocol.contract.times import iso_ms
from protocol.errors import NotFound

__all__ = ["DeviceHistory"]

_PAGE = 100


class DeviceHistory:
    """Answers questions about the past of devices. ``look_every_s``: how often a watched log is asked for more."""

    def __init__(self, log: DeviceLog, *, look_every_s: float) -> None:
        self._log = log
        self._look_every_s = look_every_s

    async def page(self, request: GetHistory) -> HistoryAnswer:
        """Revisions, newest first, each with what it changed of its parent."""
        before = None if request.before is UNSET else request.before
        found = await self._log.revisions(request.device, before=before, limit=request.limit)
        views = tuple([await self._view(request.device, revision) for revision in found])
        is_last = len(found) < request.limit or not found[-1].parent
        return HistoryAnswer(revisions=views, next=UNSET if is_last else found[-1].revision_id)

    async def revision(self, request: GetRevision) -> RevisionAnswer:
        """One revision. Raises NotFound."""
        revision = await self._get(request.device, request.revision)
        return RevisionAnswer(view=await self._view(request.device, revision), content=revision.content)

    async def compare(self, request: Compare) -> CompareAnswer | Failure:
        """Two revisions, and what the aids hold beside them. Raises NotFound."""
        base = await self._get(request.device, request.base)
        wanted = await self._get(request.device, request.wanted)
        changes = differences(base.content, wanted.content)
        if not request.aid:
            return CompareAnswer(changes=changes)
        held = await self._log.held(request.device)
        if held is None:
            refusal = Refusal(code="not_read_back", message="what the aids hold is not known", retryable=True)
            return Failure(error=refusal, errors=(refusal,))
        return CompareAnswer(changes=changes, three_way=three_way(base.content, held, wanted.content))

    async def events(self, device: str, *, after: int, limit: int) -> tuple[HistoryEvent, ...]:
        """Recorded events after a number, oldest first."""
        return tuple(_event(one) for one in await self._log.changed_since(device, after, limit=limit))

    async def watch(
        self, request: WatchDevice, still_may: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[HistoryEvent]:
        """Recorded events after a number, then those that come, for as long as somebody reads them and may.

        ``still_may`` is asked before each look, and raises for who may not any more.
        """
        after = request.after
        while True:
            await still_may()
            events = await self._log.changed_since(request.device, after, limit=_PAGE)
            for event in events:
                yield _event(event)
                after = event.n
            if not events:
                await asyncio.sleep(self._look_every_s)

    async def _get(self, device: str, revision_id: str) -> Revision:
        revision = await self._log.revision(device, revision_id)
        if revision is None:
            raise NotFound("no such revision")
        return revision

    async def _view(self, device: str, revision: Revision) -> RevisionView:
        parent = await self._log.revision(device, revision.parent) if revision.parent else None
        return RevisionView(
            revision=revision.revision_id,
            parent=revision.parent,
            origin=revision.origin,
            author=revision.author,
            reason=revision.reason,
            at=iso_ms(revision.at_s),
            digests=revision.digests,
            safety=revision.safety,
            changes=() if parent is None else differences(parent.content, revision.content),
        )


def _event(event: LogEvent) -> HistoryEvent:
    return HistoryEvent(
        n=event.n,
        kind=event.kind,
        at=iso_ms(event.at_s),
        actor=event.actor,
        seq=UNSET if event.seq is None else event.seq,
        state=event.state,
        ear=UNSET if event.ear is None else event.ear,
        code=UNSET if event.code is None else event.code,
        digest=UNSET if event.digest is None else event.digest,
        text=UNSET if event.text is None else event.text,
        hash=event.hash,
    )
