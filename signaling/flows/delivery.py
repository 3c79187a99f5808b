"""A change on its way: offers to the phone that carries the aids, its reports into the log, the news to the fitter.

The log decides what is offered and what a report means; this carries it out. A phone is attached by one connection
at a time, and the newest wins. Lost wake-ups cost milliseconds, never a change: the sweep asks the log again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, cast

from msgspec import UNSET

from fitting.digest import body_hash
from fitting.log import DeviceLog
from fitting.log_commands import OVER_TRIAL
from fitting.log_values import Attached, Delivery, Ended, LogEvent, Withdrawn
from fitting.model import offer_body
from fitting.signing import OfferSigner
from protocol.contract.base import EARS, Failure, Refusal
from protocol.contract.devices import (
    Alarm,
    AttachAnswer,
    AttachDevice,
    DeliveryChanged,
    DeliveryState,
    Offer,
    Report,
    ReportAnswer,
    Settled,
    Target,
    Targets,
)
from protocol.contract.fitting import Base
from protocol.contract.sessions import Withdraw
from protocol.contract.times import iso_ms
from protocol.errors import Unavailable
from signaling.flows.phones import Phone, Phones
from signaling.hub import Caller
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.pushes import push
from signaling.stores.devices import DeviceStore
from signaling.tasks import TaskSet
from signaling.troubles import Troubles

__all__ = ["DeliveryFlow"]

# A phone that was offered something which this server did not sign, or whose own copy of the hard limits disagrees with
# the kernel: somebody is to look at it, whatever becomes of the change.
_ALERTS: Final = frozenset({"E_SIG", "E_RANGE"})
_PHONES_AT_ONCE: Final = 256


class DeliveryFlow:
    """Carries deliveries between the log, the phones of this pod, and the fitters anywhere.

    ``objection``: why a package must not be begun any more, None while it may; as the code that it ends with.
    ``is_frozen``: whether nothing may rise in a device's session now, which another pod may not know yet.
    """

    def __init__(
        self,
        *,
        log: DeviceLog,
        devices: DeviceStore,
        phones: Phones,
        signer: OfferSigner,
        tasks: TaskSet,
        book: LogBook,
        metrics: Metrics,
        offer_timeout_s: float,
        troubles: Troubles,
        objection: Callable[[Delivery], Awaitable[str | None]],
    ) -> None:
        self._log = log
        self._devices = devices
        self._phones = phones
        self._signer = signer
        self._tasks = tasks
        self._book = book
        self._metrics = metrics
        self._offer_timeout_s = offer_timeout_s
        self._troubles = troubles
        self._objection = objection
        self.is_frozen: Callable[[str], bool] = lambda _: False

    async def attach(self, caller: Caller, claim: AttachDevice) -> Attached | Refusal:
        """A phone says hello for its aids; what waits for them is offered after the answer."""
        # Listening comes before reading: a change that is appended in between must not be missed.
        self._phones.listen(claim.device, lambda: self.woken(claim.device))
        attached = await self._log.attach(claim)
        if isinstance(attached, Refusal):
            self._phones.forget(claim.device)
            return attached
        phone = Phone(caller, attached.generation, attached.from_seq - 1, self._phones.now_s())
        self._phones.carry(claim.device, phone)
        if attached.resume == "ahead":
            self._book.history_lost(resume=attached.resume)
        self.alarmed(attached.alarm_moves)
        self._phones.tell_in_aid(claim.device, attached.changed, attached.in_aid)
        self._offer_soon(claim.device)
        return attached

    def answer(self, attached: Attached) -> AttachAnswer:
        """What the phone is told of its attaching, and the key that offers are signed with."""
        return AttachAnswer(
            epoch=attached.epoch,
            from_seq=attached.from_seq,
            generation=attached.generation,
            resume=attached.resume,
            key_id=self._signer.key_id,
            public_key=self._signer.public_key,
        )

    async def detach(self, connection_id: str) -> tuple[str, ...]:
        """A connection is gone: its devices, which are no longer carried by it."""
        gone = tuple(self._phones.drop(connection_id))
        for device, phone in gone:
            # Without it the log takes the phone for there until the next one attaches, and nothing comes of that.
            with suppress(Unavailable):
                await self._log.detach(device, phone.generation)
        return tuple(device for device, _ in gone)

    def appended(self, device: str) -> None:
        """The log has something new for a device: offer it here, or wake the pod that carries it."""
        if self._phones.get(device) is not None:
            self._offer_soon(device)
        else:
            self._phones.wake(device)

    def package_accepted(self, device: str) -> None:
        """Tell those who watch, after the answer to the call at hand, if it has to wait, and why."""
        self._tasks.spawn(self._tell_waiting_or_later(device))

    async def report(
        self, caller: Caller, report: Report, *, on_alarm: Callable[[str], None]
    ) -> ReportAnswer | Failure:
        """Record what the phone did, tell the fitters, and settle what has ended.

        ``on_alarm`` is called with the device when one of its alarms was raised or cleared.
        """
        phone = self._phones.of(report.device, caller)
        if phone is not None:
            phone.heard_s = self._phones.now_s()
        recorded = await self._log.report(report, generation=0 if phone is None else phone.generation)
        if isinstance(recorded, Refusal):
            return Failure(error=recorded, errors=(recorded,))
        delivery = recorded.delivery
        self._tell_events(delivery, recorded.events)
        self.alarmed(recorded.alarm_moves)
        if recorded.alarm_moves:
            on_alarm(report.device)
        if report.code in _ALERTS and not recorded.repeated:
            self._alarm(str(report.code))
        self._phones.tell_in_aid(report.device, recorded.changed, recorded.in_aid)
        if recorded.ended:
            if phone is None or delivery.seq <= phone.settled:
                push(caller, Settled(device=delivery.device, epoch=delivery.epoch, seq=delivery.seq))
            self.ended(report.device, recorded.others)
            self._settle(report.device, delivery.epoch, recorded.last_terminal)
            self._offer_soon(report.device)
        return ReportAnswer(state=delivery.state)

    def alarmed(self, moves: Mapping[Alarm, bool]) -> None:
        """Count what was raised, and tell those who run the server."""
        for alarm, is_on in moves.items():
            if is_on:
                self._alarm(alarm)
            if is_on and alarm == "poison":
                self._metrics.reached("max_unanswered_attachments")

    def _alarm(self, alarm: str) -> None:
        self._metrics.alarms.labels(alarm).inc()
        self._book.alarm_raised(alarm=alarm)

    def ended(self, device: str, ended: tuple[Ended, ...]) -> None:
        """Tell the fitters of changes that fell away, and the phone up to where all have ended."""
        for one in ended:
            self._tell_events(one.delivery, one.events)
            self._settle(device, one.delivery.epoch, one.last_terminal)

    def _settle(self, device: str, epoch: str, last_terminal: int) -> None:
        phone = self._phones.get(device)
        if phone is None:
            return
        for seq in range(phone.settled + 1, last_terminal + 1):
            push(phone.caller, Settled(device=device, epoch=epoch, seq=seq))
        phone.settled = max(phone.settled, last_terminal)

    def withdrawn(self, device: str, withdrawn: Iterable[Withdrawn]) -> None:
        """What shall not begin: tell of what has ended, and have the phone asked about the rest."""
        for one in withdrawn:
            if one.ended is not None:
                self.ended(device, (one.ended,))
        self.appended(device)

    async def sweep(self) -> None:
        """End what has expired; offer again what was not acknowledged in time, and what no wake-up told of."""
        for late in await self._log.expire():
            with self._troubles.of(late.delivery.device):
                self.withdrawn(late.delivery.device, (late,))
        for number, (device, phone) in enumerate(self._phones.all(), 1):
            if number % _PHONES_AT_ONCE == 0:
                # Nothing may have been waited for, and others want their turn.
                await asyncio.sleep(0)
            if self._log.is_quiet(device, phone.generation):
                continue
            with self._troubles.of(device):
                again = await self._log.reoffer(device, phone.generation, older_than_s=self._offer_timeout_s)
                if again is not None:
                    await self._send(phone, again)
                elif not await self._offer(device):
                    await self._tell_waiting(device)

    def woken(self, device: str) -> None:
        """Another pod has written to the device's log."""
        self._log.overheard(device)
        self._offer_soon(device)

    def _offer_soon(self, device: str) -> None:
        """After the answer to the call at hand: it is already being sent when a new task first runs."""
        self._tasks.spawn(self._offer_or_later(device))

    async def _offer_or_later(self, device: str) -> None:
        # With the log away nothing is lost: the sweep asks it again for every phone that is here.
        with suppress(Unavailable):
            await self._offer(device)

    async def _tell_waiting_or_later(self, device: str) -> None:
        # The sweep tells it as well, for every phone that is here.
        with suppress(Unavailable):
            await self._tell_waiting(device)

    async def _tell_waiting(self, device: str) -> None:
        """Tell those who watch which packages wait for the aids, and why; once for each attachment of their phone."""
        phone = self._phones.get(device)
        told = 0 if phone is None else phone.told_waiting
        waiting = [one for one in await self._log.pending(device) if one.code == OVER_TRIAL and one.seq > told]
        for one in waiting:
            why = LogEvent(0, "delivery", one.state, one.revision.at_s, one.seq, code=OVER_TRIAL)
            self._phones.tell_fitters(device, _delivery_changed(one, why))
        if phone is not None and waiting:
            phone.told_waiting = waiting[-1].seq

    async def _offer(self, device: str) -> bool:
        """Whether there was something to send."""
        phone = self._phones.get(device)
        if phone is None:
            return False
        if self.is_frozen(device) and (rises := await self._log.take_back_rises(device)):
            self.withdrawn(device, rises)
        delivery = await self._log.next_offer(device, phone.generation)
        if delivery is not None:
            await self._send(phone, delivery)
        return delivery is not None

    async def _send(self, phone: Phone, delivery: Delivery) -> None:
        if delivery.withdrawn is not None:
            withdraw = Withdraw(
                device=delivery.device, epoch=delivery.epoch, seq=delivery.seq, cause=delivery.withdrawn
            )
            push(phone.caller, withdraw)
            return
        record = await self._devices.get(delivery.device)
        if record is None or (delivery.mode == "standard" and await self._is_taken_back(delivery)):
            return
        targets = Targets(
            **{
                ear: Target(serial=aid.serial, firmware=aid.firmware)
                for ear, aid in record.aids.items()
                if ear in delivery.ears
            }
        )
        push(phone.caller, self._signer.sign(_offer(delivery, targets)))
        self._metrics.deliveries.of(delivery.mode, "offered").value += 1

    async def tell_here(self, device: str, events: Iterable[LogEvent]) -> None:
        """Tell those on this pod who watch what has become of deliveries, as others have recorded it."""
        for (seq, _), event in {(one.seq, one.ear): one for one in events if one.kind == "delivery"}.items():
            delivery = None if seq is None else await self._log.delivery(device, seq)
            if delivery is not None:
                self._phones.tell_fitters_here(device, _delivery_changed(delivery, event))

    async def look_again(self, device: str) -> None:
        """What packages are judged by has changed: those that wait may have to be taken back. Raises Unavailable."""
        for delivery in await self._log.pending(device):
            await self._is_taken_back(delivery)

    async def _is_taken_back(self, delivery: Delivery) -> bool:
        code = await self._objection(delivery)
        if code is not None:
            taken = await self._log.take_back_package(delivery.device, delivery.seq, code=code)
            self.withdrawn(delivery.device, taken)
        return code is not None

    def _tell_events(self, delivery: Delivery, events: tuple[LogEvent, ...]) -> None:
        for event in events:
            self._metrics.deliveries.of(delivery.mode, event.state).value += 1
            self._phones.tell_fitters(delivery.device, _delivery_changed(delivery, event))


def _offer(delivery: Delivery, targets: Targets) -> Offer:
    # Both times are the log's own: how far another clock is off does not matter.
    left_s = delivery.expires_at_s - (delivery.offered_at_s or delivery.expires_at_s)
    base, revision = delivery.base, delivery.revision
    ears = tuple(ear for ear in EARS if ear in delivery.ears)
    body = offer_body(base.content, revision.content, revision.digests, ears, revision.vendor)
    changes = {ear: getattr(base.digests, ear) for ear in EARS if ear in delivery.ears}
    return Offer(
        device=delivery.device,
        epoch=delivery.epoch,
        seq=delivery.seq,
        after=delivery.after,
        attempt=delivery.attempt,
        revision_id=revision.revision_id,
        mode=delivery.mode,
        kind=delivery.kind,
        fence=delivery.fence,
        base=Base(revision=base.revision_id, **changes),
        target=targets,
        body=body,
        body_hash=body_hash(body),
        expires_in_s=max(1, int(left_s)),
    )


def _delivery_changed(delivery: Delivery, event: LogEvent) -> DeliveryChanged:
    return DeliveryChanged(
        device=delivery.device,
        epoch=delivery.epoch,
        seq=delivery.seq,
        n=event.n or UNSET,
        state=cast("DeliveryState", event.state),
        at=iso_ms(event.at_s),
        ear=UNSET if event.ear is None else event.ear,
        code=UNSET if event.code is None else event.code,
        # That of no ear is what the log holds the change to, not what an aid holds.
        digest=UNSET if event.digest is None or event.ear is None else event.digest,
    )
