"""The part of the care hub that is about the past of devices: a base class of it, so that each file stays small."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from protocol.contract.base import Failure
from protocol.contract.history import (
    Compare,
    CompareAnswer,
    GetHistory,
    GetRevision,
    HistoryAnswer,
    HistoryEvent,
    RevisionAnswer,
    WatchDevice,
)
from signaling.flows.history import DeviceHistory
from signaling.hub import Caller, hub_method
from signaling.policy import DEVICE_READERS, Grants, Rule, authorize

__all__ = ["HISTORY_POLICY", "HistoryMethods"]

HISTORY_POLICY: Final[Mapping[str, Rule]] = dict.fromkeys(
    ("GetHistory", "GetRevision", "CompareRevisions", "WatchDevice"), DEVICE_READERS
)


class HistoryMethods:
    """Methods of the care hub, which gives it ``_history`` and ``_grants``."""

    _history: DeviceHistory
    _grants: Grants

    @hub_method("GetHistory")
    async def get_history(self, _: Caller, request: GetHistory) -> HistoryAnswer:
        """Who changed what, by how many dB, newest first."""
        return await self._history.page(request)

    @hub_method("GetRevision")
    async def get_revision(self, _: Caller, request: GetRevision) -> RevisionAnswer:
        """One revision with its content."""
        return await self._history.revision(request)

    @hub_method("CompareRevisions")
    async def compare_revisions(self, _: Caller, request: Compare) -> CompareAnswer | Failure:
        """Two revisions, and what the aids hold beside them."""
        return await self._history.compare(request)

    @hub_method("WatchDevice")
    async def watch_device(self, caller: Caller, request: WatchDevice) -> AsyncIterator[HistoryEvent]:
        """Every recorded event of a device, those of the past first, for as long as the caller may see them."""

        async def still_may() -> None:
            await authorize(DEVICE_READERS, caller.principal, request.device, self._grants)

        async for event in self._history.watch(request, still_may):
            yield event
