"""What a phone tells of its aids unasked, and what is asked of it: read-backs, signs of life, a wearer's settings.

Knows no delivery and no lease; what follows for a session is judged in ``session``. Read ``DeviceNews.report`` first.
"""

from msgspec import UNSET

from fitting.log import DeviceLog
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import PhoneView
from protocol.contract.sessions import DeviceChanged, Done, Heartbeat, ReadBackNow, Relayed, ReportDevice
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.phones import Phones
from signaling.hub import Caller
from signaling.tasks import TaskSet

__all__ = ["DeviceNews"]


class DeviceNews:
    """Carries news of the aids to the log and to those who watch."""

    def __init__(self, *, log: DeviceLog, phones: Phones, delivery: DeliveryFlow, tasks: TaskSet) -> None:
        self._log = log
        self._phones = phones
        self._delivery = delivery
        self._tasks = tasks

    def read_back(self, device: str) -> Relayed:
        """Have both aids read now."""
        return Relayed(relayed=self._phones.relay(device, ReadBackNow(device=device)))

    def heartbeat(self, caller: Caller, heartbeat: Heartbeat) -> Done:
        """One end is there; a phone says how it stands with its device."""
        if isinstance(heartbeat.device, str):
            phone = self._phones.of(heartbeat.device, caller)
            if phone is not None:
                phone.beat(heartbeat, self._phones.now_s())
        return Done()

    async def report(self, caller: Caller, told: ReportDevice) -> Done | Failure:
        """What the aids hold, unasked."""
        phone = self._phones.of(told.device, caller)
        if phone is not None:
            phone.heard_s = self._phones.now_s()
        learned = await self._log.report_device(told, generation=0 if phone is None else phone.generation)
        if isinstance(learned, Refusal):
            return Failure(error=learned, errors=(learned,))
        self._phones.tell_in_aid(told.device, learned.changed, learned.in_aid)
        self._delivery.ended(told.device, learned.ended)
        self.tell(told.device, told)
        return Done()

    def tell(self, device: str, told: ReportDevice | None = None) -> None:
        """Tell those who watch how it stands with the phone and the wearer's own settings."""
        self._tasks.spawn(self._tell(device, told))

    async def _tell(self, device: str, told: ReportDevice | None) -> None:
        head = await self._log.head(device)
        if isinstance(head, Refusal):
            return
        phone = self._phones.get(device)
        battery = head.battery if phone is None or phone.battery is None else phone.battery
        view = PhoneView(
            online=phone is not None,
            ears=tuple(head.aids),
            battery=UNSET if battery is None else battery,
        )
        self._phones.tell_fitters(
            device,
            DeviceChanged(
                device=device,
                phone=view,
                alarms=tuple(sorted(head.alarms)),
                slot=UNSET if told is None else told.slot,
                volume_ddb=UNSET if told is None else told.volume_ddb,
                muted=UNSET if told is None else told.muted,
            ),
        )
