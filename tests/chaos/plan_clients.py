"""The faults of phones and fitters, and whom each of them strikes: every kind those of either protocol, in turn.

A phone speaks SignalR or Socket.IO for the whole of a run. Read ``transports_of`` first, then ``PhoneLanes``.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, Literal

from tests.chaos.profile import MAX_FRAME, PHASES, WAITING, Fault, Profile, pause

__all__ = ["CLIENT", "CLIENTS", "PhoneLanes", "Transport", "fitter_faults", "phone_faults", "transports_of"]

Transport = Literal["signalr", "socketio"]
CLIENTS: Final = ("mixed", "signalr", "socketio")
"""What phones speak: every third Socket.IO and the others SignalR, or all the same."""
CLIENT: Final = "mixed"
_MIXED: Final[tuple[Transport, ...]] = ("socketio", "signalr", "signalr")


def transports_of(client: str, devices: int) -> tuple[Transport, ...]:
    """What each phone of a run speaks; ``client`` is one of ``CLIENTS``."""
    given: dict[str, tuple[Transport, ...]] = {"signalr": ("signalr",), "socketio": ("socketio",)}
    turn = given.get(client, _MIXED)
    return tuple(turn[number % len(turn)] for number in range(devices))


class PhoneLanes:
    """Which phone is struck next. Of what is the same every ``every``-th strikes one on Socket.IO, if there are any.

    So two runs of a profile that has each fault more than once, or three small ones, strike with all of them at both.
    """

    def __init__(self, rng: random.Random, seed: int, transports: Sequence[Transport], *, every: int) -> None:
        self._rng, self._seed, self._every = rng, seed, every
        phones = [(f"phone-{number}", transport) for number, transport in enumerate(transports)]
        self._lanes = {
            is_socketio: [lane for lane, transport in phones if (transport == "socketio") is is_socketio]
            or [lane for lane, _ in phones]
            for is_socketio in (True, False)
        }
        self._turns: dict[str, int] = {}

    def next(self, what: str) -> str:
        """The lane of a phone."""
        turn = self._turns.get(what, self._seed + len(self._turns))
        self._turns[what] = turn + 1
        return self._rng.choice(self._lanes[turn % self._every == 0])


def phone_faults(rng: random.Random, profile: Profile, seed: int, lanes: PhoneLanes) -> list[Fault]:
    """All of them, in no order."""

    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        what = {"phone_kill_at": value.rpartition(":")[0], "phone_cut_frame": value}.get(kind, "")
        lane = lanes.next(f"{kind} {what}")
        return Fault(kind, lane, pause(rng, profile), value, length_s)

    phases = [PHASES[(seed * profile.phases + place) % len(PHASES)] for place in range(profile.phases)]
    if profile.each > 1:
        phases += [WAITING] * profile.each
    faults = [fault("phone_kill_at", f"{phase}:{rng.choice(('before', 'after'))}") for phase in phases]
    faults += _network(rng, profile, fault, "phone")
    for _ in range(profile.each):
        faults += [fault("phone_kill"), fault("takeover", length_s=rng.uniform(0.2, 0.6))]
        faults += [fault(kind, length_s=rng.uniform(0.5, 2.0)) for kind in ("phone_sleep", "phone_freeze")]
        faults += [fault("aid_lies"), fault("aid_link_lost", str(rng.randint(0, 8)))]
        faults += [fault("aid_reboots", str(rng.randint(0, 8))), fault("aid_corrupts")]
    return faults


def fitter_faults(rng: random.Random, profile: Profile, fitters: int) -> list[Fault]:
    """All of them, in no order."""

    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        lane = f"fitter-{rng.randrange(fitters)}"
        return Fault(kind, lane, pause(rng, profile), value, length_s)

    return _network(rng, profile, fault, "fitter")


def _network(rng: random.Random, profile: Profile, fault: Callable[..., Fault], whose: str) -> list[Fault]:
    first = rng.randrange(MAX_FRAME)
    frames = [str(1 + (first + place) % MAX_FRAME) for place in range(profile.frames)]
    faults = [fault(f"{whose}_cut_frame", frame) for frame in frames]
    for _ in range(profile.each):
        faults.append(fault(f"{whose}_cut_byte", str(rng.randint(1, 3_000))))
        faults += [fault(f"{whose}_{kind}") for kind in ("reset", "fin", "mirror")]
        for kind in ("half_open", "black_hole", "delay"):
            faults.append(fault(f"{whose}_{kind}", length_s=rng.uniform(0.3, 1.5)))
    return faults
