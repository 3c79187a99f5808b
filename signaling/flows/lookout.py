"""Looks into the log for what no message told of: while the bus is away, and once after it has come back.

A message between pods says only what the log says too, so that losing one costs the time until the next look: for
devices that are worked on live a moment, for others a little longer. One question is asked for all devices of a look.
Knows neither the bus nor the database. Read ``Lookout.look`` first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from fitting.log import DeviceLog
from fitting.log_values import LogEvent
from protocol.contract.base import EARS, Refusal
from protocol.contract.sessions import ReadBackNow, RestoreCause, RevertNow
from signaling.backplane import Backplane, BusState
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.phones import Phones
from signaling.flows.session import SessionFlow
from signaling.troubles import Troubles

__all__ = ["LookTimes", "Lookout"]

_PAGE: Final = 100
# Higher than any fence of a session: whatever a phone holds, it is to restore.
_TOP_FENCE: Final = 2**53 - 1
# What is recorded of somebody who wants the aids quiet again, whatever the log takes them to hold.
_RESTORES: Final[dict[str, RestoreCause]] = {
    "revert": "revert",
    "undo": "undo",
    "stop": "stop",
    "consent_withdrawn": "consent_withdrawn",
}
# Of a device that was not looked at before: longer than it takes to notice that the bus is away.
_LATELY_S: Final = 10.0
# So much later than it was done may a restore be recorded, and still be known as done.
_RECORDED_WITHIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class LookTimes:
    """``all_every_s``: how often all devices are looked at. ``max_devices``: those of one look; others come next."""

    all_every_s: float
    max_devices: int


class _Seen(NamedTuple):
    """The newest event of a device at the last looks: what came after ``old`` may have been lost with the bus.

    That it is away is noticed some seconds later at worst: so much is told again.
    """

    new: int
    mid: int
    old: int

    def moved(self, n: int) -> "_Seen":
        """After one more look at which nothing seemed to be lost."""
        return _Seen(n, self.new, self.mid)


class Lookout:
    """Has the phones and fitters of this pod hear what is in the log."""

    def __init__(
        self,
        *,
        log: DeviceLog,
        phones: Phones,
        delivery: DeliveryFlow,
        session: SessionFlow,
        backplane: Backplane,
        troubles: Troubles,
        times: LookTimes,
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
    ) -> None:
        self._log = log
        self._phones = phones
        self._delivery = delivery
        self._session = session
        self._backplane = backplane
        self._troubles = troubles
        self._times = times
        self._monotonic = monotonic
        self._reached = reached
        self._seen: dict[str, _Seen] = {}
        self._looked_s = float("-inf")
        # Devices to be looked at as soon as possible, and those of them of which something may have been lost.
        self._next: dict[str, None] = {}
        self._lost: set[str] = set()
        self._missed = False
        backplane.on_missed(self._on_missed)

    def _on_missed(self) -> None:
        self._missed = True

    async def look(self) -> None:
        """One look, at what is due. Raises Unavailable when the log is away: then all of it is due again."""
        self._plan()
        devices = list(self._next)[: self._times.max_devices]
        if not devices:
            return
        if len(self._next) > len(devices):
            self._reached("max_looked_devices")
        newest = await self._log.newest(devices)
        for device in devices:
            with self._troubles.of(device):
                await self._compare(device, newest.get(device))
            del self._next[device]
            self._lost.discard(device)

    def _plan(self) -> None:
        now_s, phones = self._monotonic(), self._phones
        is_away = self._backplane.state is BusState.DEGRADED
        if self._missed or now_s - self._looked_s >= self._times.all_every_s:
            here = dict.fromkeys((*(device for device, _ in phones.all()), *phones.watched_here()))
            self._next.update(here)
            if self._missed or is_away:
                self._lost.update(here)
            for device in self._seen.keys() - here.keys():
                del self._seen[device]
            self._looked_s, self._missed = now_s, False
        if is_away:
            live = [device for device in self._session.devices() if self._is_here(device)]
            self._next.update(dict.fromkeys(live))
            self._lost.update(live)
        self._next.update(dict.fromkeys(phones.doubted))
        self._lost.update(phones.doubted)
        phones.doubted.clear()

    def _is_here(self, device: str) -> bool:
        return self._phones.get(device) is not None or self._phones.is_watched_here(device)

    async def _compare(self, device: str, n: int | None) -> None:
        seen = self._seen.get(device)
        if n is None:
            return
        if device not in self._lost:
            self._seen[device] = _Seen(n, n, n) if seen is None else seen.moved(n)
            return
        if seen is None or seen.old != n:
            self._log.overheard(device)
            n = await self._catch_up(device, None if seen is None else seen.old, n)
            # Behind what restores: a change that was thought of later comes later.
            self._delivery.woken(device)
        self._seen[device] = _Seen(n, n, n)

    async def _catch_up(self, device: str, after: int | None, n: int) -> int:
        """Tell what was recorded after an event, None: lately; the number of the last one that was told."""
        events = await self._log.changed_since(device, n - _PAGE if after is None else after, limit=_PAGE)
        head = await self._log.head(device)
        if isinstance(head, Refusal):
            return n
        if after is None:
            events = tuple(event for event in events if head.at_s - event.at_s < _LATELY_S)
        # Before the phone is told why.
        self._restore(device, events, head.at_s)
        await self._session.compare(device)
        if self._phones.is_watched_here(device):
            await self._delivery.tell_here(device, events)
            self._phones.tell_in_aid(device, EARS, head.in_aid, here=True)
        return events[-1].n if after is not None and len(events) == _PAGE else n

    def _restore(self, device: str, events: Iterable[LogEvent], at_s: float) -> None:
        """Have the phone of this pod do what somebody asked for elsewhere, unless it was asked to since."""
        phone = self._phones.get(device)
        if phone is not None and any((event.kind, event.state) == ("session", "read_back") for event in events):
            # Once more does no harm.
            self._phones.relay(device, ReadBackNow(device=device))
        for event in events:
            cause = _RESTORES.get(event.state) if event.kind == "session" else None
            if phone is None or cause is None:
                continue
            asked_s = self._monotonic() - (at_s - event.at_s)
            if phone.restored_s < asked_s - _RECORDED_WITHIN_S:
                self._phones.relay(device, RevertNow(device=device, fence=_TOP_FENCE, cause=cause))
