"""Bugs that the checks must find, put in by replacing one part. Only here: nothing of the product can be switched so.

Each is what RELIABILITY means by a mutation: a checker that finds none of them proves nothing. Read ``BUGS``.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from clients.device_driver import Memory, VendorData
from clients.journal import Back, JournalRecord
from clients.phone_book import SendReport
from clients.phone_driver import OfferRunner
from clients.virtual_aid.memory import with_slots
from fitting.log_parts import Entry
from fitting.log_rows import DeviceRows
from fitting.log_values import Delivery, Stolen
from protocol.contract.base import EARS, Ear, Refusal
from protocol.contract.devices import EarImage, Report, SlotImage
from protocol.contract.sessions import RestoreCause

from .disk import SlowMemoryStore
from .handset import Driver, Hand, PhoneParts
from .package_bugs import PACKAGE_BUGS
from .watched_log import WatchedLog
from .world import Options

__all__ = ["BUGS"]


class _DropsOffers(WatchedLog):
    """An offer that is lost is not made again before the phone attaches anew."""

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        offered = await super().next_offer(device, generation)
        return None if offered is not None and offered.seq % 5 == 0 else offered

    async def reoffer(self, device: str, generation: int, *, older_than_s: float) -> Delivery | None:
        return None


class _SwapsTwo(WatchedLog):
    """Two changes that wait change places."""

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        def swap(rows: DeviceRows, _: float) -> None:
            if len(rows.pending) > 1:
                rows.pending.rotate(1)

        await self._store.run(device, swap)
        return await super().next_offer(device, generation)


class _GrantsAFenceTwice(WatchedLog):
    """Whoever steals the lease works under the fence of the one before."""

    async def steal(self, device: str, *, session: str, holder: str, reason: str, **more: Any) -> Any:
        outcome = await super().steal(device, session=session, holder=holder, reason=reason, **more)
        if isinstance(outcome, Stolen) and outcome.loser is not None:

            def lower(rows: DeviceRows, _: float) -> None:
                rows.fence -= 1
                rows.lease = None if rows.lease is None else replace(rows.lease, fence=rows.fence)
                rows.touch()

            await self._store.run(device, lower)
            outcome = replace(outcome, granted=replace(outcome.granted, fence=outcome.granted.fence - 1))
            self._checks.granted(outcome)
        return outcome


class _IgnoresTheFence(WatchedLog):
    """What is asked for under a fence of before is taken as if it were under the present one."""

    async def append(self, proposal: Any) -> Any:
        head = await self.head(proposal.device)
        now = proposal if isinstance(head, Refusal) else replace(proposal, fence=head.fence)
        return await super().append(now)


class _IgnoresTheGeneration(WatchedLog):
    """Whatever connection asks for what is to be offered gets it."""

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        offered = await super().next_offer(device, await self._newest(device))
        self._checks.offered(offered, generation)
        return offered

    async def reoffer(self, device: str, generation: int, *, older_than_s: float) -> Delivery | None:
        offered = await super().reoffer(device, await self._newest(device), older_than_s=older_than_s)
        self._checks.offered(offered, generation)
        return offered

    async def _newest(self, device: str) -> int:
        head = await self.head(device)
        return 0 if isinstance(head, Refusal) else head.generation


class _Resurrects(WatchedLog):
    """What was superseded comes back to life."""

    async def append(self, proposal: Any) -> Any:
        outcome = await super().append(proposal)
        for one in getattr(outcome, "ended", ()):

            def revive(rows: DeviceRows, _: float, delivery: Delivery = one.delivery) -> None:
                ears: dict[Ear, Any] = dict.fromkeys(delivery.ears, "accepted")
                rows.entries[delivery.seq] = Entry(replace(delivery, state="accepted", ears=ears, code=None))
                rows.pending.insert(1, delivery.seq)
                rows.touch()

            await self._store.run(proposal.device, revive)
        return outcome


class _AcknowledgesFirst(SlowMemoryStore):
    """The answer goes out before the commit."""

    async def _write_down(self, device: str, rows: DeviceRows) -> None:
        self._keep(rows)
        self._disk.point("before_commit")
        self._process.spawn(self._later(device, rows))

    async def _later(self, device: str, rows: DeviceRows) -> None:
        await asyncio.sleep(2.0)
        await super()._write_down(device, rows)


class _BusyDisk(SlowMemoryStore):
    """No bug: each commit waits for others, so that more happens while one is under way."""

    async def _write_down(self, device: str, rows: DeviceRows) -> None:
        await asyncio.sleep(self._disk.chance.random())
        await super()._write_down(device, rows)


class _UsesASeqTwice(SlowMemoryStore):
    """After a restart the last number is given once more."""

    def __init__(self, disk: Any, process: Any, limits: Any) -> None:
        super().__init__(disk, process, limits)
        for rows in self._devices.values():
            rows.last_seq = max(0, rows.last_seq - 1)


class _LosesARow(SlowMemoryStore):
    """One event in thirty is not written."""

    def _keep(self, rows: DeviceRows) -> None:
        rows.fresh.events = [event for event in rows.fresh.events if event.n % 30]
        super()._keep(rows)


class _BreaksTheChain(SlowMemoryStore):
    """An event is written with another actor than it was chained with."""

    def _keep(self, rows: DeviceRows) -> None:
        rows.fresh.events = [replace(one, actor="nobody") if one.n % 30 == 0 else one for one in rows.fresh.events]
        super()._keep(rows)


class _Forgets(Hand):
    """A phone with no journal of what is under way and what has ended."""

    def save(self, record: JournalRecord) -> None:
        super().save(record)
        if self._process.is_alive:
            self._paper.record = dataclasses.replace(record, in_flight=None, ended=())


class _DoesNotVerify(Driver):
    """What was acknowledged is believed to be there."""

    _believed: EarImage | None = None

    async def read(self, memory: Memory) -> EarImage:
        read = await super().read(memory)
        return read if memory == "nvm" or self._believed is None else self._believed

    async def write_trial(self, slots: tuple[SlotImage, ...], vendor: VendorData | None = None) -> None:
        before = await self.read("ram")
        await super().write_trial(slots, vendor)
        self._believed = with_slots(before, slots)

    async def restore(self, image: EarImage) -> None:
        await super().restore(image)
        self._believed = image


class _LeavesOneEar(Driver):
    """The left aid says that it was restored, and was not."""

    async def restore(self, image: EarImage) -> None:
        if self.ear == EARS[0]:
            await super().restore(image)


class _WritesToTheNeighbour(Driver):
    """The aid of the other ear gets what was meant for this one too."""

    async def write_trial(self, slots: tuple[SlotImage, ...], vendor: VendorData | None = None) -> None:
        await super().write_trial(slots, vendor)
        other = self.pair.aid("left" if self.ear == "right" else "right")
        if other.connected:
            await other.write_trial(slots, vendor)


class _NeverCatchesUp(OfferRunner):
    """What a server could not record is told again only when it offers again."""

    async def catch_up(self, report: SendReport) -> None:
        """Nothing."""


class _TakesACopyBack(OfferRunner):
    """A withdrawn consent takes back what both aids are just being given to keep."""

    async def revert(self, cause: RestoreCause, report: SendReport | None = None) -> bool:
        entry = self.record.in_flight
        if cause == "consent_withdrawn" and entry is not None and entry.is_committing:
            self._book.change(entry.going_back(Back("E_CONSENT")))
        return await super().revert(cause, report)


class _WaitsForAnswers(OfferRunner):
    """An answer of the server is waited for with the aids in hand."""

    async def _send(self, report: SendReport, told: Report) -> None:
        await report(told)


BUGS: Final[Mapping[str, Options]] = {
    "drops offers": Options(log=_DropsOffers),
    "resends without a journal": Options(phone=PhoneParts(hand=_Forgets)),
    "swaps two": Options(log=_SwapsTwo),
    "writes to the neighbour": Options(phone=PhoneParts(driver=_WritesToTheNeighbour)),
    "grants a fence twice": Options(log=_GrantsAFenceTwice),
    "acknowledges before the commit": Options(store=_AcknowledgesFirst),
    "reports without verifying": Options(phone=PhoneParts(driver=_DoesNotVerify)),
    "uses a seq twice": Options(store=_UsesASeqTwice),
    "leaves one ear": Options(phone=PhoneParts(driver=_LeavesOneEar)),
    "ignores the fence": Options(log=_IgnoresTheFence),
    "ignores the generation": Options(log=_IgnoresTheGeneration, store=_BusyDisk),
    "resurrects": Options(log=_Resurrects),
    "loses a row": Options(store=_LosesARow),
    "breaks the chain": Options(store=_BreaksTheChain),
    "never catches up": Options(phone=PhoneParts(runner=_NeverCatchesUp)),
    "waits for answers": Options(phone=PhoneParts(runner=_WaitsForAnswers)),
    "takes a copy back": Options(phone=PhoneParts(runner=_TakesACopyBack)),
    **PACKAGE_BUGS,
}
