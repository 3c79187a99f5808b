"""The phones that are attached here, by the device that each carries, and the ways to reach them and their fitters.

One phone carries a device at a time, and the newest wins. A phone of another pod is reached over the backplane, at
most once: what must arrive is asked of the log again. Knows no delivery and no session.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import UNSET

from fitting.log import DeviceLog
from fitting.mode import Signs
from protocol.contract.base import Ear
from protocol.contract.calls import IncomingCall
from protocol.contract.devices import InAid, InAidChanged
from protocol.contract.packages import KeepAsked
from protocol.contract.pushes import PUSHES, Push
from protocol.contract.sessions import Heartbeat, ModeChanged, ReadBackNow, RestoreCause, RevertNow
from signaling.backplane import Backplane
from signaling.flows.phone_words import AskPhone, Attached, GivenUp, PhoneWord, TellPhone, Wake, word_of
from signaling.hub import Caller
from signaling.hub_clients import HubClients
from signaling.pushes import push

__all__ = ["Phone", "Phones", "device_group", "device_of", "overhearing", "phone_channel"]

_RTT_SAMPLES: Final = 20
# Of fewer than twenty the 95th percentile is the slowest: one answer that was late, as after a sleep, must not keep
# live work from beginning for long.
_RTT_COUNTS_S: Final = 20.0
_GO_ON_AFTER: Final[frozenset[RestoreCause]] = frozenset({"revert", "undo"})


@dataclass(slots=True)
class Phone:
    """The connection that carries a device's aids, and what it told of itself.

    ``settled``: it was told that all deliveries up to this one have ended. ``heard_s`` is on the monotonic clock,
    ``background_since_s`` and ``aids_away_since_s`` too, None while the app is in front, and every aid in reach.
    ``rtts_ms`` are its last round trips, each with when it was told. ``restored_s``: when it was last asked to restore,
    and ``ended_s`` when last for good: what it may do live afterwards is another session. ``askers`` are the pods that
    have asked how it is, and when last. ``told_waiting``: up to this delivery those who watch were told why it waits.
    """

    caller: Caller
    generation: int
    settled: int
    heard_s: float
    background_since_s: float | None = None
    aids_away_since_s: float | None = None
    restored_s: float = -math.inf
    ended_s: float = -math.inf
    battery: int | None = None
    rtts_ms: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RTT_SAMPLES))
    askers: dict[str, float] = field(default_factory=dict)
    told_waiting: int = 0

    def restores(self, cause: RestoreCause, now_s: float) -> None:
        """It puts its base back, or is asked to."""
        self.restored_s = now_s
        if cause not in _GO_ON_AFTER:
            self.ended_s = now_s

    def beat(self, heartbeat: Heartbeat, now_s: float) -> None:
        """The phone says that it is there, and how it stands with it."""
        self.heard_s = now_s
        if heartbeat.foreground:
            self.background_since_s = None
        elif self.background_since_s is None:
            self.background_since_s = now_s
        if heartbeat.away == ():
            self.aids_away_since_s = None
        elif heartbeat.away is not UNSET and self.aids_away_since_s is None:
            self.aids_away_since_s = now_s
        if isinstance(heartbeat.battery, int):
            self.battery = heartbeat.battery
        if isinstance(heartbeat.rtt_ms, int):
            self.rtts_ms.append((now_s, heartbeat.rtt_ms))

    def signs(self, now_s: float, fitter_silent_s: float = 0.0) -> Signs:
        """What is known of it now."""
        return Signs(
            phone_silent_s=now_s - self.heard_s,
            fitter_silent_s=fitter_silent_s,
            background_s=None if self.background_since_s is None else now_s - self.background_since_s,
            aids_away_s=None if self.aids_away_since_s is None else now_s - self.aids_away_since_s,
            battery_percent=self.battery,
            rtt_p95_ms=self.recent_rtt_ms(now_s, _RTT_COUNTS_S),
        )

    def recent_rtt_ms(self, now_s: float, within_s: float) -> int | None:
        """The 95th percentile of the round trips told within that time, the newest of all among them; None: none was.

        One that was slow is forgotten soon, so that only a link that stays slow is.
        """
        recent = [rtt_ms for at_s, rtt_ms in self.rtts_ms if now_s - at_s < within_s]
        return _p95(recent or [rtt_ms for _, rtt_ms in self.rtts_ms][-1:])


class Phones:
    """The phones of this pod, by device.

    ``on_asked`` is given what other pods ask of them, ``on_given_up`` the fence of live work that another pod waits for
    no more, ``on_restoring`` what another one had a phone restore for, and ``on_carried`` a device that a phone here
    carries now (true), or none any more.
    """

    def __init__(
        self,
        *,
        clients: HubClients,
        backplane: Backplane,
        monotonic: Callable[[], float],
    ) -> None:
        self._clients = clients
        self._backplane = backplane
        self._monotonic = monotonic
        self._phones: dict[str, Phone] = {}
        self.doubted: set[str] = set()
        self._carried: dict[str, set[str]] = {}
        self.on_asked: Callable[[str, Phone, AskPhone], None] = lambda *_: None
        self.on_given_up: Callable[[str, int], None] = lambda *_: None
        self.on_carried: Callable[[str, bool], None] = lambda *_: None
        self.on_restoring: Callable[[str, RevertNow], None] = lambda *_: None

    def listen(self, device: str, on_wake: Callable[[], None]) -> None:
        """Hear what other pods have for the device; comes before its log is read.

        What was said before listening had really begun may be in the log only: then the device is one of ``doubted``.
        """
        self._backplane.subscribe(
            phone_channel(device),
            lambda payload: self._heard(device, payload, on_wake),
            on_late=lambda: self.doubted.add(device),
        )

    def carry(self, device: str, phone: Phone) -> None:
        """From now on this phone carries the device; an older connection of it is ended, wherever it is."""
        older, connection_id = self._phones.get(device), phone.caller.connection_id
        if older is not None and older.caller.connection_id != connection_id:
            self._let_go(device, older)
            older.caller.abort()
        self._phones[device] = phone
        if older is None:
            self.on_carried(device, True)
        self._carried.setdefault(connection_id, set()).add(device)
        self._say(device, Attached(phone.generation))

    def outdated(self, device: str, generation: int) -> None:
        """A phone of that generation has attached: one of an older one that is here is let go, a newer one never."""
        older = self._phones.get(device)
        if older is None or older.generation >= generation:
            return
        del self._phones[device]
        self.on_carried(device, False)
        self._let_go(device, older)
        self._backplane.unsubscribe(phone_channel(device))
        older.caller.abort()

    def get(self, device: str) -> Phone | None:
        """The phone that carries the device, if it is attached here."""
        return self._phones.get(device)

    def of(self, device: str, caller: Caller) -> Phone | None:
        """The phone that carries the device, if it is this caller."""
        phone = self._phones.get(device)
        return phone if phone is not None and phone.caller.connection_id == caller.connection_id else None

    def worn_by(self, clinic: str, user: str) -> tuple[str, ...]:
        """The devices that are carried here by phones of this user."""
        carried = ((device, phone.caller.principal) for device, phone in self._phones.items())
        return tuple(device for device, who in carried if (who.clinic, who.user) == (clinic, user))

    def drop(self, connection_id: str) -> Iterator[tuple[str, Phone]]:
        """A connection is gone: the devices that it carried are carried by nobody here."""
        for device in self._carried.pop(connection_id, ()):
            self._backplane.unsubscribe(phone_channel(device))
            self.on_carried(device, False)
            yield device, self._phones.pop(device)

    def _let_go(self, device: str, phone: Phone) -> None:
        """Another one carries the device now."""
        carried = self._carried[phone.caller.connection_id]
        carried.discard(device)
        if not carried:
            del self._carried[phone.caller.connection_id]

    def forget(self, device: str) -> None:
        """Nobody attached after all."""
        if device not in self._phones:
            self._backplane.unsubscribe(phone_channel(device))

    def all(self) -> tuple[tuple[str, Phone], ...]:
        """Every device with its phone, as they are now."""
        return tuple(self._phones.items())

    def relay(self, device: str, payload: IncomingCall | KeepAsked | ModeChanged | ReadBackNow | RevertNow) -> bool:
        """Tell the phone of a device, wherever it is; whether it is attached here."""
        phone = self._phones.get(device)
        if phone is not None:
            self._tell(phone, payload)
            return True
        self._say(device, TellPhone(type(payload).__name__, msgspec.Raw(msgspec.msgpack.encode(payload))))
        return False

    def give_up(self, device: str, fence: int) -> None:
        """Nobody here waits for live work any more that another pod was to begin."""
        self._say(device, GivenUp(fence))

    def wake(self, device: str) -> None:
        """The log has something new for a device that another pod may carry."""
        self._say(device, Wake())

    def tell_fitters(self, device: str, payload: Push) -> None:
        """Tell everybody who watches the device, anywhere."""
        push(self._clients.group(device_group(device)), payload)

    def tell_fitters_here(self, device: str, payload: Push) -> None:
        """Tell everybody on this pod who watches the device."""
        push(self._clients.group_here(device_group(device)), payload)

    def tell_one_here(self, connection_id: str, payload: Push) -> None:
        """Tell one connection of this pod."""
        push(self._clients.connection_here(connection_id), payload)

    def is_connected_here(self, connection_id: str) -> bool:
        """Whether a connection hangs on this pod."""
        return self._clients.is_here(connection_id)

    def is_watched_here(self, device: str) -> bool:
        """Whether somebody on this pod watches the device."""
        return self._clients.has_here(device_group(device))

    def watched_here(self) -> tuple[str, ...]:
        """The devices that somebody on this pod watches."""
        prefix = device_group("")
        return tuple(name.removeprefix(prefix) for name in self._clients.groups_here(prefix))

    def tell_in_aid(self, device: str, ears: tuple[Ear, ...], in_aid: InAid, *, here: bool = False) -> None:
        """Tell those who watch what the aids hold now; ``here``: only those on this pod."""
        for ear in ears:
            truth: Any = getattr(in_aid, ear)
            if truth is not UNSET:
                change = InAidChanged(
                    device=device, ear=ear, ram=truth.ram, nvm=truth.nvm, cause=truth.cause, at=truth.at
                )
                (self.tell_fitters_here if here else self.tell_fitters)(device, change)

    def now_s(self) -> float:
        """The clock that silence is measured with."""
        return self._monotonic()

    def _say(self, device: str, word: PhoneWord) -> None:
        self._backplane.publish(phone_channel(device), lambda: msgspec.msgpack.encode(word))

    def _heard(self, device: str, payload: bytes, on_wake: Callable[[], None]) -> None:
        word, phone = word_of(payload), self._phones.get(device)
        if isinstance(word, Wake):
            on_wake()
        elif isinstance(word, Attached):
            self.outdated(device, word.generation)
        elif isinstance(word, GivenUp):
            self.on_given_up(device, word.fence)
        elif phone is None:
            return
        elif isinstance(word, TellPhone):
            told = msgspec.msgpack.decode(word.payload, type=PUSHES[word.target])
            self._tell(phone, told)
            if isinstance(told, RevertNow):
                self.on_restoring(device, told)
        elif phone.generation >= word.generation:
            # Of one that has attached elsewhere since, nothing is told here.
            self.on_asked(device, phone, word)

    def _tell(self, phone: Phone, payload: Push) -> None:
        if isinstance(payload, RevertNow):
            phone.restores(payload.cause, self._monotonic())
        push(phone.caller, payload)


def _p95(values: list[int]) -> int | None:
    ordered = sorted(values)
    return ordered[-(-95 * len(ordered) // 100) - 1] if ordered else None


def device_group(device: str) -> str:
    """The group of those who watch a device; named by the server, never by a client."""
    return f"device:{device}"


def device_of(group: str) -> str | None:
    """The device that those in a group watch; None: it is another kind of group."""
    prefix = device_group("")
    return group.removeprefix(prefix) if group.startswith(prefix) else None


def phone_channel(device: str) -> str:
    """Where the pod that carries a device's phone listens."""
    return f"phone:{device}"


def overhearing(log: DeviceLog) -> Callable[[str], None]:
    """What is done when another pod tells a group something.

    Who asks because of what he has been told must not be answered with what was before it.
    """

    def told(group: str) -> None:
        device = device_of(group)
        if device is not None:
            log.overheard(device)

    return told
