"""A change on its way: offers to the phone that carries the aids, its reports into the log, the news to the fitter.

The log decides what is offered and what a report means; this carries it out. A phone is attached by one connection
at a time, and the newest wins. Lost wake-ups cost milliseconds, never a change: the sweep asks the log again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from msgspec import UNSET, UnsetType

from fitting.digest import body_hash
from fitting.log import DeviceLog
from fitting.log_values import Delivery, LogEvent
from fitting.model import offer_body
from protocol.contract.base import EARS, Ear, Failure, Refusal
from protocol.contract.devices import (
    AttachAnswer,
    AttachDevice,
    DeliveryChanged,
    DeliveryState,
    InAid,
    InAidChanged,
    Offer,
    Report,
    ReportAnswer,
    Settled,
    Target,
    Targets,
)
from protocol.contract.fitting import Base
from protocol.contract.times import iso_ms
from protocol.signalr.messages import Invocation
from signaling.backplane import Backplane
from signaling.hub import Caller
from signaling.lifetime import LifetimeManager
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.outbound import Outbound
from signaling.stores.devices import DeviceStore
from signaling.tasks import TaskSet

__all__ = ["DeliveryFlow", "device_group"]


@dataclass(frozen=True, slots=True)
class _Phone:
    """The connection that carries a device's aids."""

    caller: Caller
    generation: int


class DeliveryFlow:
    """Carries deliveries between the log, the phones of this pod, and the fitters anywhere."""

    def __init__(
        self,
        *,
        log: DeviceLog,
        devices: DeviceStore,
        lifetime: LifetimeManager,
        backplane: Backplane,
        tasks: TaskSet,
        clock: Callable[[], float],
        book: LogBook,
        metrics: Metrics,
        offer_timeout_s: float,
    ) -> None:
        self._log = log
        self._devices = devices
        self._lifetime = lifetime
        self._backplane = backplane
        self._tasks = tasks
        self._clock = clock
        self._book = book
        self._metrics = metrics
        self._offer_timeout_s = offer_timeout_s
        self._phones: dict[str, _Phone] = {}

    def is_online(self, device: str) -> bool:
        """Whether a phone of this pod carries the device."""
        return device in self._phones

    async def attach(self, caller: Caller, claim: AttachDevice) -> AttachAnswer | Failure:
        """A phone says hello for its aids; what waits for them is offered after the answer."""
        # Listening comes before reading: a change that is appended in between must not be missed.
        self._backplane.subscribe(_wake_channel(claim.device), lambda _: self._offer_soon(claim.device))
        attached = await self._log.attach(claim)
        if isinstance(attached, Refusal):
            if claim.device not in self._phones:
                self._backplane.unsubscribe(_wake_channel(claim.device))
            return Failure(error=attached, errors=(attached,))
        older = self._phones.get(claim.device)
        if older is not None and older.caller.connection_id != caller.connection_id:
            older.caller.abort()
        self._phones[claim.device] = _Phone(caller, attached.generation)
        if attached.resume == "ahead":
            self._book.history_lost(resume=attached.resume)
        head = await self._log.head(claim.device)
        if not isinstance(head, Refusal):
            self._tell_in_aid(claim.device, attached.changed, head.in_aid)
        self._offer_soon(claim.device)
        return AttachAnswer(
            epoch=attached.epoch,
            from_seq=attached.from_seq,
            generation=attached.generation,
            resume=attached.resume,
        )

    async def detach(self, connection_id: str) -> None:
        """A connection is gone: its devices are no longer carried by it."""
        for device, phone in tuple(self._phones.items()):
            if phone.caller.connection_id == connection_id:
                del self._phones[device]
                self._backplane.unsubscribe(_wake_channel(device))
                await self._log.detach(device, phone.generation)

    def appended(self, device: str) -> None:
        """The log has something new for a device: offer it here, or wake the pod that carries it."""
        if device in self._phones:
            self._offer_soon(device)
        else:
            self._backplane.publish(_wake_channel(device), lambda: b"")

    async def report(self, caller: Caller, report: Report) -> ReportAnswer | Failure:
        """Record what the phone did, tell the fitters, and settle what has ended."""
        phone = self._phones.get(report.device)
        is_carrier = phone is not None and phone.caller.connection_id == caller.connection_id
        generation = phone.generation if phone is not None and is_carrier else 0
        recorded = await self._log.report(report, generation=generation)
        if isinstance(recorded, Refusal):
            return Failure(error=recorded, errors=(recorded,))
        self._tell_events(recorded.delivery, recorded.events)
        self._tell_in_aid(report.device, recorded.changed, recorded.in_aid)
        delivery = recorded.delivery
        if recorded.ended:
            caller.send("Settled", Settled(device=delivery.device, epoch=delivery.epoch, seq=delivery.seq))
            self._offer_soon(report.device)
        return ReportAnswer(state=delivery.state)

    async def sweep(self) -> None:
        """End what has expired; offer again what was not acknowledged in time, and what no wake-up told of."""
        for expired in await self._log.expire():
            self._tell_events(expired.delivery, expired.events)
        for device, phone in tuple(self._phones.items()):
            late = await self._log.reoffer(device, phone.generation, older_than_s=self._offer_timeout_s)
            if late is not None:
                await self._send_offer(phone, late)
            else:
                await self._offer(device)

    def _offer_soon(self, device: str) -> None:
        """After the answer to the call at hand: it is already being sent when a new task first runs."""
        self._tasks.spawn(self._offer(device))

    async def _offer(self, device: str) -> None:
        phone = self._phones.get(device)
        if phone is None:
            return
        delivery = await self._log.next_offer(device, phone.generation)
        if delivery is not None:
            await self._send_offer(phone, delivery)

    async def _send_offer(self, phone: _Phone, delivery: Delivery) -> None:
        record = await self._devices.get(delivery.device)
        if record is None:
            return
        targets = Targets(
            **{
                ear: Target(serial=aid.serial, firmware=aid.firmware)
                for ear, aid in record.aids.items()
                if ear in delivery.ears
            }
        )
        phone.caller.send("Offer", _offer(delivery, targets, self._clock()))
        self._metrics.deliveries.labels(delivery.mode, "offered").inc()

    def _tell_events(self, delivery: Delivery, events: tuple[LogEvent, ...]) -> None:
        for event in events:
            self._metrics.deliveries.labels(delivery.mode, event.state).inc()
            self._tell(delivery.device, "DeliveryChanged", _delivery_changed(delivery, event))

    def _tell_in_aid(self, device: str, ears: tuple[Ear, ...], in_aid: InAid) -> None:
        for ear in ears:
            truth = in_aid.left if ear == "left" else in_aid.right
            if not isinstance(truth, UnsetType):
                change = InAidChanged(
                    device=device, ear=ear, ram=truth.ram, nvm=truth.nvm, cause=truth.cause, at=truth.at
                )
                self._tell(device, "InAidChanged", change)

    def _tell(self, device: str, target: str, payload: object) -> None:
        message = Invocation(target=target, arguments=(payload,))
        self._lifetime.send_group(device_group(device), Outbound(message))


def device_group(device: str) -> str:
    """The group of those who watch a device; named by the server, never by a client."""
    return f"device:{device}"


def _wake_channel(device: str) -> str:
    return f"wake:{device}"


def _offer(delivery: Delivery, targets: Targets, now_s: float) -> Offer:
    base, revision = delivery.base, delivery.revision
    body = offer_body(base.content, revision.content, revision.digests)
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
        expires_in_s=max(1, int(delivery.expires_at_s - now_s)),
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
        digest=UNSET if event.digest is None else event.digest,
    )
