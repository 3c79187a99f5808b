"""How good a call is, as this end of it sees it: what aiortc counts is summed up and reported, for as long as it lasts.

A browser does the same over ``getStats``. Read ``QualityReporter.run``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiortc import RTCPeerConnection
from msgspec import UNSET

from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.calls import ReportQuality
from protocol.contract.sessions import Done

__all__ = ["Counted", "QualityReporter", "counted", "summed_up"]

_CLOCK_HZ: Final = {"audio": 48_000, "video": 90_000}


@dataclass(frozen=True, slots=True)
class Counted:
    """What one connection has counted until now. ``rtt_ms`` is None before anybody has answered."""

    received: int = 0
    lost: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    jitter_ms: int = 0
    rtt_ms: int | None = None


async def counted(link: RTCPeerConnection) -> Counted:
    """As it stands now."""
    report: Mapping[str, Any] = await link.getStats()
    inbound = [one for one in report.values() if one.type == "inbound-rtp"]
    answered = [one for one in report.values() if one.type == "remote-inbound-rtp"]
    transports = [one for one in report.values() if one.type == "transport"]
    rtts_ms = [one.roundTripTime * 1_000 for one in answered if one.roundTripTime is not None]
    return Counted(
        received=sum(one.packetsReceived for one in inbound),
        lost=sum(max(0, one.packetsLost) for one in inbound),
        in_bytes=sum(one.bytesReceived for one in transports),
        out_bytes=sum(one.bytesSent for one in transports),
        jitter_ms=round(max((one.jitter * 1_000 / _CLOCK_HZ[one.kind] for one in inbound), default=0)),
        rtt_ms=round(max(rtts_ms)) if rtts_ms else None,
    )


def summed_up(before: Counted, now: Counted, *, within_s: float, visit: str, call_id: str, to: int) -> ReportQuality:
    """What became between two looks at the connection to one peer."""
    lost, received = max(0, now.lost - before.lost), max(0, now.received - before.received)
    return ReportQuality(
        visit=visit,
        call_id=call_id,
        to=to,
        loss_permille=round(1_000 * lost / (lost + received)) if lost + received else 0,
        jitter_ms=min(now.jitter_ms, 60_000),
        rtt_ms=UNSET if now.rtt_ms is None else min(now.rtt_ms, 60_000),
        in_kbps=_kbps(now.in_bytes - before.in_bytes, within_s),
        out_kbps=_kbps(now.out_bytes - before.out_bytes, within_s),
    )


class QualityReporter:
    """Reports of one call over one hub connection. ``links`` gives the connections as they are now, by peer."""

    def __init__(
        self,
        hub: HubClient,
        visit: str,
        call_id: str,
        links: Callable[[], Mapping[int, RTCPeerConnection]],
        *,
        every_s: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.refused: list[str] = []
        self._hub = hub
        self._visit = visit
        self._call_id = call_id
        self._links = links
        self._every_s = every_s
        self._sleep = sleep
        self._before: dict[int, tuple[RTCPeerConnection, Counted]] = {}

    async def run(self) -> None:
        """Report for ever; whoever has begun it cancels it. Errors of the call to the hub end it."""
        while True:
            await self._sleep(self._every_s)
            await self.report()

    async def report(self) -> None:
        """One report of each peer."""
        links = dict(self._links())
        for peer, link in links.items():
            now = await counted(link)
            known, before = self._before.get(peer, (link, Counted()))
            # Another connection has begun to count anew.
            before = before if known is link else Counted()
            self._before[peer] = link, now
            request = summed_up(before, now, within_s=self._every_s, visit=self._visit, call_id=self._call_id, to=peer)
            outcome = await self._hub.ask("ReportQuality", request, answer=Done)
            if isinstance(outcome, Failure):
                self.refused.append(outcome.error.code)
        for peer in self._before.keys() - links.keys():
            del self._before[peer]


def _kbps(octets: int, within_s: float) -> int:
    return min(round(max(0, octets) * 8 / 1_000 / within_s), 1_000_000)
