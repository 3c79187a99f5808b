"""Carries an offer out on a pair of aids: the journal first, then the aid, then the report.

The decisions are ``phone_core`` and ``ear_work``; here they are awaited, one aid at a time, the right ear
first. Must not know the network: reports go through a callback, and when that fails the work on the aids
goes on, because a half-written aid is worse than a silent phone. Read ``OfferRunner.run_offer`` first.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from msgspec import UNSET

from clients.device_driver import AidError, AidPair, AidRebooted, AidRefused, DeviceDriver, LinkUnavailable
from clients.ear_work import (
    OPERATIONS,
    EarEvent,
    Operation,
    outcome,
    read_event,
    resumed,
    step,
)
from clients.journal import EarPlan, Journal, JournalEntry, JournalRecord
from clients.phone_core import AidFacts, Place, ears_of, examine, place, refusal_report, report_on, slots_of
from fitting.digest import ear_digest
from protocol.contract.base import Ear
from protocol.contract.devices import (
    AttachAnswer,
    AttachDevice,
    Images,
    InFlight,
    Offer,
    Report,
    ReportedState,
    Settled,
)
from protocol.errors import AuricleError, LocalProtocolError

__all__ = ["AttachNeeded", "OfferRunner", "PhoneLimits", "SendReport"]

SendReport = Callable[[Report], Awaitable[object]]


class AttachNeeded(AuricleError):
    """The offer does not follow on what the phone knows: attach again. Nothing was written."""

    code = "attach_needed"


@dataclass(frozen=True, slots=True)
class PhoneLimits:
    """Bounds of one phone: deliveries whose reports are kept, attempts to reach an aid, writes per ear and run."""

    max_ended: int = 256
    connect_tries: int = 3
    max_writes: int = 6


class _Uplink:
    """The way to the server for one run; it fails once, then it is down: the reports stay in the journal."""

    def __init__(self, send: SendReport | None) -> None:
        self._send = send

    async def tell(self, *reports: Report) -> None:
        for report in reports:
            if self._send is None:
                return
            try:
                await self._send(report)
            except (ConnectionError, TimeoutError, AuricleError):
                self._send = None


class OfferRunner:
    """Runs the offers of one device, one at a time; a second one waits for the first."""

    def __init__(
        self,
        pair: AidPair,
        journal: Journal,
        *,
        device: str,
        limits: PhoneLimits = PhoneLimits(),  # frozen, so it can be shared
    ) -> None:
        self._pair, self._journal, self._device, self._limits = pair, journal, device, limits
        self._record = journal.load()
        self._turn = asyncio.Lock()

    @property
    def record(self) -> JournalRecord:
        """What the journal holds now."""
        return self._record

    async def attach_claim(self) -> AttachDevice:
        """What to say hello with: where the phone stands, and a read-back of every aid that can be reached."""
        aids = [self._pair.aid(ear) for ear in self._pair.ears]
        images = {aid.ear: await _read_back(aid) for aid in aids if aid.connected}
        entry = self._record.in_flight
        return AttachDevice(
            device=self._device,
            epoch=self._record.epoch,
            last_terminal=self._record.last_settled,
            fence_max=self._record.fence_max,
            left=images.get("left", UNSET),
            right=images.get("right", UNSET),
            in_flight=UNSET if entry is None else InFlight(seq=entry.offer.seq, phase=entry.phase),
        )

    def attached(self, answer: AttachAnswer) -> None:
        """The server answered the hello."""
        self._save(self._record.attached(answer))

    def settled(self, message: Settled) -> None:
        """The server holds the end of a delivery."""
        if message.device == self._device:
            self._save(self._record.settled(message))

    async def recover(self) -> None:
        """Bring aids that were being written when the phone stopped to a known content, without reporting.

        Good before a hello, so that its read-back shows no mixture. The reports come with the next offer.
        """
        async with self._turn:
            await self._recover()

    async def run_offer(self, offer: Offer, report: SendReport) -> None:
        """Carry one offer out, to the end of both ears, and report every step.

        ``report`` may raise ConnectionError, TimeoutError or any AuricleError: the server is then out of
        reach for the rest of this run, and gets the reports when it offers again. Raises AttachNeeded.
        """
        async with self._turn:
            uplink = _Uplink(report)
            if place(offer, self._record) is Place.ATTACH:
                await self._recover()
            where = place(offer, self._record)
            if where is Place.ATTACH or offer.device != self._device:
                raise AttachNeeded("this offer does not follow on what the phone knows")
            if where is Place.REPLAY:
                await uplink.tell(*(self._record.reports_of(offer.epoch, offer.seq) or ()))
            elif where is Place.RESUME:
                await self._resume(offer, uplink)
            else:
                await self._start(offer, uplink)

    async def _start(self, offer: Offer, uplink: _Uplink) -> None:
        worn = set(self._pair.ears)
        facts = {ear: await self._facts(self._pair.aid(ear)) for ear in ears_of(offer) if ear in worn}
        examined = examine(offer, self._record, facts)
        if examined.refusals:
            entry = JournalEntry(offer, ())
            for refused in examined.refusals:
                entry = entry.reported(refusal_report(offer, entry.reports, refused))
            self._finish(entry)
            await uplink.tell(*entry.reports)
            return
        received = report_on(offer, (), "received")
        self._save(self._record.begun(JournalEntry(offer, examined.plans).reported(received)))
        await uplink.tell(received)
        await self._work(uplink)

    async def _resume(self, offer: Offer, uplink: _Uplink) -> None:
        entry = replace(self._entry(), offer=offer)
        self._save(self._record.with_entry(entry))
        await uplink.tell(*entry.reports)
        await self._work(uplink)

    async def _recover(self) -> None:
        """Work only on ears that a write may have touched; forget an offer of another log that touched none."""
        entry = self._record.in_flight
        if entry is None:
            return
        for plan in entry.open_plans():
            if entry.last_state(plan.ear) is not None:
                await self._work_ear(plan, _Uplink(None))
        entry = self._entry()
        untouched = all(entry.last_state(plan.ear) is None for plan in entry.open_plans())
        if not entry.open_plans() or (untouched and entry.offer.epoch != self._record.epoch):
            self._finish(entry)

    async def _work(self, uplink: _Uplink) -> None:
        for plan in self._entry().open_plans():
            await self._work_ear(plan, uplink)
        if not self._entry().open_plans():
            self._finish(self._entry())

    async def _work_ear(self, plan: EarPlan, uplink: _Uplink) -> None:
        """Run the table of one ear to its end, or until its aid is out of reach."""
        aid, work = self._pair.aid(plan.ear), resumed(self._entry().last_state(plan.ear))
        writes, held = 0, None
        while (operation := OPERATIONS.get(work.phase)) is not None:
            if operation is Operation.READ:
                held = await self._read(aid)
                event = _meaning(held, plan)
            elif writes < self._limits.max_writes:
                writes += 1
                event = await self._write(aid, operation, plan)
            else:
                event = EarEvent.EXHAUSTED
            work, cell = step(work, event)
            if cell.report is not None:
                await self._tell(plan.ear, cell.report, uplink, code=cell.cause)
        end = outcome(work)
        if end is not None:
            state, code = end
            await self._tell(plan.ear, state, uplink, code=code, held=held)

    async def _read(self, aid: DeviceDriver) -> Images | None:
        return await _read_back(aid) if await self._reach(aid) else None

    async def _write(self, aid: DeviceDriver, operation: Operation, plan: EarPlan) -> EarEvent:
        try:
            if operation is Operation.RESTORE:
                await aid.restore(plan.before)
            else:
                await aid.write_trial(slots_of(self._entry().offer, plan.ear))
        except AidRebooted:
            return EarEvent.REBOOTED
        except AidRefused:
            return EarEvent.REFUSED
        except AidError:
            # Whatever else went wrong, the read-back will say what the aid holds.
            return EarEvent.LOST
        return EarEvent.WRITTEN

    async def _reach(self, aid: DeviceDriver) -> bool:
        for _ in range(self._limits.connect_tries):
            if aid.connected:
                break
            with contextlib.suppress(LinkUnavailable):
                await aid.connect()
        return aid.connected

    async def _facts(self, aid: DeviceDriver) -> AidFacts | None:
        if not await self._reach(aid):
            return None
        identity = await aid.identify()
        return AidFacts(
            serial=identity.serial,
            firmware=identity.firmware,
            sheet=await aid.capabilities(),
            ram=await aid.read("ram"),
        )

    async def _tell(
        self,
        ear: Ear,
        state: ReportedState,
        uplink: _Uplink,
        *,
        code: str | None = None,
        held: Images | None = None,
    ) -> None:
        """Journal a report, then send it. The same state twice in a row is told once."""
        entry = self._entry()
        if entry.last_state(ear) == state:
            return
        told = report_on(entry.offer, entry.reports, state, ear, code=code, held=held)
        self._save(self._record.with_entry(entry.reported(told)))
        await uplink.tell(told)

    def _entry(self) -> JournalEntry:
        entry = self._record.in_flight
        if entry is None:
            raise LocalProtocolError("no delivery is under way")
        return entry

    def _finish(self, entry: JournalEntry) -> None:
        self._save(self._record.finished(entry, max_ended=self._limits.max_ended))

    def _save(self, record: JournalRecord) -> None:
        self._journal.save(record)
        self._record = record


def _meaning(held: Images | None, plan: EarPlan) -> EarEvent:
    if held is None:
        return EarEvent.LOST
    return read_event(held.ram, before=plan.before_digest, target=plan.target_digest)


async def _read_back(aid: DeviceDriver) -> Images:
    """Read both memories. The digests are computed here, from what was read: an aid's word is no proof."""
    identity, image = await aid.identify(), await aid.read("ram")
    return Images(
        serial=identity.serial,
        firmware=identity.firmware,
        ram=ear_digest(image),
        nvm=ear_digest(await aid.read("nvm")),
        image=image,
        battery=identity.battery_percent,
    )
