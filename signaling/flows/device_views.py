"""A device as it is shown, to whoever asks over a hub or over REST: what is worn, wanted, in the aids, on its way.

Reads the log and decides nothing. Must not know who may see what. Read ``DeviceViews.device`` first.
"""

from typing import Any

from msgspec import UNSET, UnsetType

from fitting.log import DeviceLog
from fitting.log_values import Delivery, DeviceHead, Revision
from protocol.contract.base import EARS, Failure, Refusal
from protocol.contract.device_reads import DeliveryView
from protocol.contract.devices import (
    DeliveryAnswer,
    DeliveryQuery,
    DeviceAnswer,
    EarStates,
    HeadView,
    PhoneView,
)
from protocol.contract.times import iso_ms
from protocol.errors import NotFound

from .onlookers import PhonesAnywhere

__all__ = ["DeviceViews", "head_view"]


class DeviceViews:
    """Answers what is known of devices now."""

    def __init__(self, log: DeviceLog, phones: PhonesAnywhere) -> None:
        self._log = log
        self._phones = phones

    async def head(self, device: str) -> DeviceHead:
        """The newest of a device. Raises NotFound."""
        head = await self._log.head(device)
        if isinstance(head, Refusal):
            raise NotFound("no such device")
        return head

    async def phone(self, head: DeviceHead) -> PhoneView:
        """What is known of the phone that carries the aids, wherever it is attached."""
        online = await self._phones.is_attached(head)
        ears = tuple(ear for ear in EARS if getattr(head.in_aid, ear) is not UNSET)
        battery = UNSET if head.battery is None else head.battery
        return PhoneView(online=online, ears=ears, battery=battery)

    async def device(self, device: str) -> DeviceAnswer:
        """What is worn, what was wanted, what is in the aids. Raises NotFound."""
        head = await self.head(device)
        return DeviceAnswer(
            device=head.device,
            in_aid=head.in_aid,
            phone=await self.phone(head),
            last_seq=head.last_seq,
            left=head.aids.get("left", UNSET),
            right=head.aids.get("right", UNSET),
            head=head_view(head.revision),
            alarms=tuple(sorted(head.alarms)),
        )

    async def delivery(self, request: DeliveryQuery) -> DeliveryAnswer | Failure:
        """Where a delivery is now; refused when the log of that epoch has none."""
        delivery = await self._log.delivery(request.device, request.seq)
        if delivery is None or delivery.epoch != request.epoch:
            return _unknown()
        return DeliveryAnswer(**_state(delivery))

    async def delivery_view(self, device: str, seq: int) -> DeliveryView | Failure:
        """One delivery and what it is made of; refused when the log has none."""
        delivery = await self._log.delivery(device, seq)
        return _unknown() if delivery is None else _view(delivery)

    async def deliveries(self, device: str, *, before: int | None, limit: int) -> tuple[DeliveryView, ...]:
        """Deliveries with a lower seq than ``before``, newest first."""
        return tuple(_view(one) for one in await self._log.deliveries(device, before=before, limit=limit))


def head_view(revision: Revision | None) -> HeadView | UnsetType:
    """A revision as the head of its device."""
    if revision is None:
        return UNSET
    return HeadView(revision=revision.revision_id, digests=revision.digests, content=revision.content)


def _unknown() -> Failure:
    refusal = Refusal(code="unknown_delivery", message="the log holds no such delivery")
    return Failure(error=refusal, errors=(refusal,))


def _state(delivery: Delivery) -> dict[str, Any]:
    return {
        "device": delivery.device,
        "epoch": delivery.epoch,
        "seq": delivery.seq,
        "state": delivery.state,
        "ears": EarStates(left=delivery.ears.get("left", UNSET), right=delivery.ears.get("right", UNSET)),
        "code": UNSET if delivery.code is None else delivery.code,
    }


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        **_state(delivery),
        kind=delivery.kind,
        mode=delivery.mode,
        revision=delivery.revision.revision_id,
        base=delivery.base.revision_id,
        author=delivery.revision.author,
        reason=delivery.revision.reason,
        at=iso_ms(delivery.revision.at_s),
        expires_at=iso_ms(delivery.expires_at_s),
    )
