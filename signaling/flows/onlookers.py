"""Those who watch a device are told whether its wearer is there: anywhere, on any pod, over any connection.

Each pod looks for the wearers of the devices that somebody on it watches, and tells its own people alone: nobody of
another clinic watches a device. A wearer is away until he is said to be there, so whoever begins to watch is told of
one who is. It is advice: a wearer who is said to be away may be reached all the same. Read ``Onlookers.look`` first,
and ``PhonesAnywhere`` for the phone of one device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fitting.log_values import DeviceHead
from protocol.contract.session import PresenceChanged
from signaling.flows.far_phones import FarPhones
from signaling.flows.phones import Phones, device_of
from signaling.presence import Mark, Presence
from signaling.stores.devices import OnFile
from signaling.troubles import Troubles

__all__ = ["Onlookers", "PhonesAnywhere", "PresencePace"]

# A phone that is not counted yet answers at once, and one that is gone never.
_LATELY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class PresencePace:
    """``every_s``: how often everybody is looked at. ``grace_s``: who is back within it was never gone.

    ``max_people``: wearers who are looked at; of others nobody is told.
    """

    every_s: float
    grace_s: float
    max_people: int


@dataclass(slots=True)
class _Wearer:
    """``is_online``: what was told last, if anything was. ``gone_since_s``: not told yet."""

    user: str
    mark: Mark
    is_online: bool = False
    gone_since_s: float | None = None


class Onlookers:
    """Looks, and tells. ``reached`` is told when there are too many wearers."""

    def __init__(
        self,
        presence: Presence,
        phones: Phones,
        devices: OnFile,
        *,
        pace: PresencePace,
        troubles: Troubles,
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
    ) -> None:
        self._presence = presence
        self._phones = phones
        self._devices = devices
        self._pace = pace
        self._troubles = troubles
        self._monotonic = monotonic
        self._reached = reached
        self._wearers: dict[str, _Wearer] = {}
        self._marks: dict[Mark, None] = {}
        self._due_s = float("-inf")
        self._has_moved = False
        presence.on_moved(self._moved)

    def began(self, group: str, connection_id: str) -> None:
        """Somebody here has joined a group: others in it may have been told already what he was not."""
        device = device_of(group)
        if device is None:
            return
        wearer = self._wearers.get(device)
        if wearer is None:
            self._has_moved = True
        elif wearer.is_online:
            self._phones.tell_one_here(connection_id, _news_of(wearer))

    def _moved(self, marks: Sequence[Mark]) -> None:
        self._has_moved = self._has_moved or any(mark in self._marks for mark in marks)

    async def look(self) -> None:
        """Look at everybody when it is time, or when somebody has come or gone. Raises Unavailable."""
        now_s = self._monotonic()
        if not (self._has_moved or now_s >= self._due_s):
            return
        self._has_moved = False
        self._due_s = now_s + self._pace.every_s
        await self._follow()
        await self._judge(now_s)

    async def _follow(self) -> None:
        """Know the wearers of all devices that are watched here, and of no others."""
        watched = dict.fromkeys(self._phones.watched_here())
        for device in self._wearers.keys() - watched.keys():
            del self._wearers[device]
        for device in watched.keys() - self._wearers.keys():
            if len(self._wearers) >= self._pace.max_people:
                self._reached("max_watched_people")
                break
            record = await self._devices.get(device)
            if record is not None:
                mark = self._presence.person(record.clinic, record.patient)
                self._wearers[device] = _Wearer(record.patient, mark)
        self._marks = dict.fromkeys(one.mark for one in self._wearers.values())

    async def _judge(self, now_s: float) -> None:
        marks = tuple(self._marks)
        counts = await self._presence.count(marks, patient=True)
        known = None if counts is None else dict(zip(marks, counts, strict=True))
        for device, wearer in tuple(self._wearers.items()):
            with self._troubles.of(device):
                if self._presence.here(wearer.mark) or (known is not None and known[wearer.mark]):
                    self._is_there(device, wearer)
                elif known is not None:
                    self._is_away(device, wearer, now_s)

    def _is_there(self, device: str, wearer: _Wearer) -> None:
        was, wearer.is_online, wearer.gone_since_s = wearer.is_online, True, None
        if not was:
            self._tell(device, wearer)

    def _is_away(self, device: str, wearer: _Wearer, now_s: float) -> None:
        if not wearer.is_online:
            return
        wearer.gone_since_s = now_s if wearer.gone_since_s is None else wearer.gone_since_s
        if now_s - wearer.gone_since_s >= self._pace.grace_s:
            wearer.is_online, wearer.gone_since_s = False, None
            self._tell(device, wearer)
        else:
            self._due_s = min(self._due_s, wearer.gone_since_s + self._pace.grace_s)

    def _tell(self, device: str, wearer: _Wearer) -> None:
        self._phones.tell_fitters_here(device, _news_of(wearer))


def _news_of(wearer: _Wearer) -> PresenceChanged:
    return PresenceChanged(user=wearer.user, online=wearer.is_online)


class PhonesAnywhere:
    """Whether a device's phone is attached, here or on another pod."""

    def __init__(self, phones: Phones, far: FarPhones, presence: Presence) -> None:
        self._phones = phones
        self._far = far
        self._presence = presence
        phones.on_carried = self._carried

    async def is_attached(self, head: DeviceHead) -> bool:
        """What other pods say, or the log when they cannot be asked: a phone whose pod has died is there in it."""
        if self._phones.get(head.device) is not None:
            return True
        if not head.attached:
            return False
        counts = await self._presence.count((self._presence.device(head.device),))
        if counts is not None and counts[0]:
            return True
        if not (self._far.are_there and self._far.can_be_heard):
            return counts is None
        # Redis was late, or it has attached a moment ago and is not counted yet, or its pod has died.
        within_s = None if counts is None else _LATELY_S
        return await self._far.signs(head.device, head.generation, within_s=within_s) is not None

    async def is_known_attached(self, device: str) -> bool:
        """The same without the log: what cannot be known is taken for no."""
        if self._phones.get(device) is not None:
            return True
        counts = await self._presence.count((self._presence.device(device),))
        return counts is not None and counts[0] > 0

    def _carried(self, device: str, is_carried: bool) -> None:
        mark = self._presence.device(device)
        (self._presence.came if is_carried else self._presence.left)(mark)
