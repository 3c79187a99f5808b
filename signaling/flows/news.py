"""What a phone tells of its aids unasked, and what is asked of it: read-backs, signs of life, a wearer's settings.

Knows no delivery and no lease; what follows for a session is judged in ``session``, and carried out in ``endings``.
Read ``DeviceNews.report`` first.
"""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from fitting.log import DeviceLog
from fitting.log_values import SessionEnded
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import PhoneView
from protocol.contract.sessions import DeviceChanged, Done, Heartbeat, ReadBackNow, Relayed, ReportDevice
from protocol.errors import Unavailable
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.far_phones import FarPhones
from signaling.flows.onlookers import PhonesAnywhere
from signaling.flows.phones import Phones
from signaling.hub import Caller
from signaling.metrics import Metrics
from signaling.tasks import TaskSet

__all__ = ["DeviceNews"]


@dataclass(frozen=True, slots=True)
class _Settings:
    """The wearer's own doing, as far as it was told."""

    slot: int | UnsetType = UNSET
    volume_ddb: int | UnsetType = UNSET
    muted: bool | UnsetType = UNSET

    def after(self, earlier: "_Settings") -> "_Settings":
        """Both together; what was told later counts."""
        return _Settings(
            slot=earlier.slot if self.slot is UNSET else self.slot,
            volume_ddb=earlier.volume_ddb if self.volume_ddb is UNSET else self.volume_ddb,
            muted=earlier.muted if self.muted is UNSET else self.muted,
        )


class DeviceNews:
    """Carries news of the aids to the log and to those who watch.

    ``max_untold``: devices of which those who watch still have to be told, because the log was away.
    """

    def __init__(
        self,
        *,
        log: DeviceLog,
        phones: Phones,
        anywhere: PhonesAnywhere,
        far: FarPhones,
        delivery: DeliveryFlow,
        tasks: TaskSet,
        metrics: Metrics,
        max_untold: int,
    ) -> None:
        self._log = log
        self._phones = phones
        self._anywhere = anywhere
        self._far = far
        self._delivery = delivery
        self._tasks = tasks
        self._metrics = metrics
        self._max_untold = max_untold
        self._untold: dict[str, _Settings] = {}

    async def read_back(self, device: str, actor: str) -> Relayed:
        """Have both aids read now, by a phone wherever it is attached."""
        if self._phones.get(device) is not None:
            return Relayed(relayed=self._phones.relay(device, ReadBackNow(device=device)))
        if self._far.are_there and not self._far.can_be_heard:
            # The pod that has the phone finds it in the log.
            await self._log.note(device, "session", "read_back", actor=actor)
            return Relayed(relayed=False)
        return Relayed(relayed=await self._far.read_back(device))

    def heartbeat(self, caller: Caller, heartbeat: Heartbeat) -> Done:
        """One end is there; a phone says how it stands with its device."""
        if isinstance(heartbeat.device, str):
            phone = self._phones.of(heartbeat.device, caller)
            if phone is not None:
                phone.beat(heartbeat, self._phones.now_s())
        return Done()

    async def report(
        self, caller: Caller, told: ReportDevice, *, on_ended: Callable[[str, SessionEnded], None]
    ) -> Done | Failure:
        """What the aids hold, unasked. ``on_ended`` is called with the device when that has ended its live session."""
        phone = self._phones.of(told.device, caller)
        if phone is not None:
            phone.heard_s = self._phones.now_s()
        learned = await self._log.report_device(told, generation=0 if phone is None else phone.generation)
        if isinstance(learned, Refusal):
            return Failure(error=learned, errors=(learned,))
        self._phones.tell_in_aid(told.device, learned.changed, learned.in_aid)
        self._delivery.ended(told.device, learned.ended)
        if learned.session is not None:
            on_ended(told.device, learned.session)
        self._delivery.alarmed(learned.alarm_moves)
        self.tell(told.device, told)
        return Done()

    def tell(self, device: str, told: ReportDevice | None = None) -> None:
        """Tell those who watch how it stands with the phone and the wearer's own settings."""
        settings = _Settings() if told is None else _Settings(told.slot, told.volume_ddb, told.muted)
        self._tasks.spawn(self._tell_or_keep(device, settings))

    async def sweep(self) -> None:
        """Tell what could not be told while the log was away. Raises Unavailable when it still is."""
        for device in tuple(self._untold):
            # Whatever is told meanwhile is newer, and includes what waits.
            await self._tell(device, _Settings())

    async def _tell_or_keep(self, device: str, settings: _Settings) -> None:
        try:
            await self._tell(device, settings)
        except Unavailable:
            waiting = self._untold.get(device)
            if waiting is None and len(self._untold) >= self._max_untold:
                self._metrics.reached("max_untold_devices")
                return
            self._untold[device] = settings.after(waiting or _Settings())

    async def _tell(self, device: str, settings: _Settings) -> None:
        head = await self._log.head(device)
        settings = settings.after(self._untold.pop(device, _Settings()))
        if isinstance(head, Refusal):
            return
        phone = self._phones.get(device)
        battery = head.battery if phone is None or phone.battery is None else phone.battery
        view = PhoneView(
            online=await self._anywhere.is_attached(head),
            ears=tuple(head.aids),
            battery=UNSET if battery is None else battery,
        )
        self._phones.tell_fitters(
            device,
            DeviceChanged(
                device=device,
                phone=view,
                alarms=tuple(sorted(head.alarms)),
                slot=settings.slot,
                volume_ddb=settings.volume_ddb,
                muted=settings.muted,
            ),
        )
