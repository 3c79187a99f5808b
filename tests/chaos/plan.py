"""What a run will do, from its seed and profile alone: who takes part, which faults in which order, what must be met.

Faults are in lanes, one per victim. A lane does one after the other and waits for each to land, lanes run side by side;
so what a run does is fixed by its plan, and how long it takes by the machine. Read ``plan_of`` first.
"""

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tests.chaos.plan_pods import pod_faults
from tests.chaos.profile import KILL_POINTS, MAX_FRAME, PHASES, WAITING, Fault, Profile, pause

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it is run. ``is_whole`` is false for a part of the faults that its seed gives.

    ``pin``, one of ``PINS``: what is kept on one pod.
    """

    seed: int
    profile: Profile
    database: str
    faults: tuple[Fault, ...]
    pods: int = 1
    pin: str = "none"
    is_whole: bool = True

    @property
    def is_pinned(self) -> bool:
        """Whether a device's phone and its fitters hang on one pod."""
        return self.pods > 1 and self.pin == "all"

    @property
    def resumes_anywhere(self) -> bool:
        """Whether a connection that lost its socket comes back through any pod, not only through its own."""
        return self.pin == "none"

    @property
    def fitters(self) -> int:
        """How many professionals there are; at least two for each pod, so that there is somebody to race with."""
        return fitters_of(self.profile, self.pods)

    @property
    def required(self) -> Counter[str]:
        """How often each kind of fault must land, or the run is invalid."""
        return Counter(fault.counted for fault in self.faults)

    def only(self, places: Collection[int]) -> "Plan":
        """The same run with some of its faults, by their place."""
        faults = tuple(fault for place, fault in enumerate(self.faults) if place in places)
        return replace(self, faults=faults, is_whole=False)

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        faults = msgspec.to_builtins(self.faults)
        return {
            **{"seed": self.seed, "profile": self.profile.name, "database": self.database},
            **{"pods": self.pods, "pin": self.pin, "faults": faults},
        }


def fitters_of(profile: Profile, pods: int) -> int:
    """How many professionals a run has."""
    return profile.fitters if pods == 1 else max(profile.fitters, 2 * pods)


def plan_of(seed: int, profile: Profile, database: str, pods: int = 1, pin: str = "none") -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"{seed} {profile.name} {database}" + (f" {pods}" if pods > 1 else ""))
    if pods == 1:
        faults = _server_faults(rng, profile, seed, database)
    else:
        faults = pod_faults(rng, profile, seed, pods, fitters_of(profile, pods), is_pinned=pin == "all")
    faults += _phone_faults(rng, profile, seed)
    faults += _fitter_faults(rng, profile, fitters_of(profile, pods))
    rng.shuffle(faults)
    return Plan(seed, profile, database, tuple(faults), pods, pin)


def _server_faults(rng: random.Random, profile: Profile, seed: int, database: str) -> list[Fault]:
    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        return Fault(kind, "pod-0", pause(rng, profile), value, length_s)

    points = [KILL_POINTS[(seed * profile.points + place) % len(KILL_POINTS)] for place in range(profile.points)]
    faults = [fault("server_kill_at", f"{point}:{rng.randint(1, 3)}") for point in points]
    for _ in range(profile.each):
        faults += [fault("server_kill"), fault("server_terminate")]
        faults.append(fault("server_freeze", length_s=rng.uniform(0.5, 2.0)))
        if database == "sqlite":
            faults.append(fault("disk_full", length_s=rng.uniform(0.5, 1.5)))
        else:
            faults.append(fault("database_kill", length_s=rng.uniform(0.0, 1.0)))
            faults.append(fault("database_freeze", length_s=rng.uniform(0.5, 1.5)))
    return faults


def _phone_faults(rng: random.Random, profile: Profile, seed: int) -> list[Fault]:
    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        lane = f"phone-{rng.randrange(profile.devices)}"
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


def _fitter_faults(rng: random.Random, profile: Profile, fitters: int) -> list[Fault]:
    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        lane = f"fitter-{rng.randrange(fitters)}"
        return Fault(kind, lane, pause(rng, profile), value, length_s)

    return _network(rng, profile, fault, "fitter")


def _network(rng: random.Random, profile: Profile, fault: Any, whose: str) -> list[Fault]:
    first = rng.randrange(MAX_FRAME)
    frames = [str(1 + (first + place) % MAX_FRAME) for place in range(profile.frames)]
    faults = [fault(f"{whose}_cut_frame", frame) for frame in frames]
    for _ in range(profile.each):
        faults.append(fault(f"{whose}_cut_byte", str(rng.randint(1, 3_000))))
        faults += [fault(f"{whose}_{kind}") for kind in ("reset", "fin", "mirror")]
        for kind in ("half_open", "black_hole", "delay"):
            faults.append(fault(f"{whose}_{kind}", length_s=rng.uniform(0.3, 1.5)))
    return faults
