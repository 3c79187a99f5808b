"""What a run will do, from its seed and profile alone: who takes part, which faults in which order, what must be met.

Faults are in lanes, one per victim. A lane does one after the other and waits for each to land, lanes run side by side;
so what a run does is fixed by its plan, and how long it takes by the machine. Read ``plan_of`` first.
"""

import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from tests.chaos.check_packages import ENDS

__all__ = ["DATABASES", "KILL_POINTS", "PHASES", "PROFILES", "WAITING", "Fault", "Plan", "Profile", "plan_of"]

DATABASES: Final = ("sqlite", "postgres")
KILL_POINTS: Final = (
    *("after_parse", "before_commit", "after_commit"),
    *("after_publish", "after_offer", "after_result_before_terminal"),
)
PHASES: Final = (
    *("received", "writing:right", "verified:right", "writing:left", "verified:left"),
    *("committing:right", "committing:left", "active:right", "active:left", "ended"),
)
# A package that is just being put aside.
WAITING: Final = "awaiting_install"
MAX_FRAME: Final = 12


@dataclass(frozen=True, slots=True)
class Profile:
    """How large a run is. ``each``: how often each kind of fault strikes at least; ``pause_s``: mean time between two.

    ``points`` and ``phases``: how many of each a run takes, in turn by seed. ``frames``: cuts after a frame, per side.
    ``warm_up`` and ``after``: accepted changes before the first fault and after the last. ``drain_s``: for the end.
    ``min_open_kills``: kills of a phone that must have landed while its journal was open. ``ends``: what packages must
    have come to, see ``check_packages``.
    """

    name: str
    devices: int
    fitters: int
    each: int
    points: int
    phases: int
    frames: int
    pause_s: float
    warm_up: int
    after: int
    drain_s: float
    min_open_kills: int
    ends: frozenset[str] = frozenset()


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("smoke", 3, 2, 1, 3, 5, 3, 0.2, 3, 3, 20.0, 2),
        Profile("standard", 8, 4, 3, 12, 30, 24, 1.0, 20, 20, 60.0, 15, ENDS),
        Profile("soak", 12, 6, 40, 240, 480, 240, 2.0, 50, 50, 60.0, 200, ENDS),
    )
}


class Fault(msgspec.Struct, frozen=True):
    """One fault. ``lane`` is its victim: server, phone-N or fitter-N. ``value`` is what its kind needs to know."""

    kind: str
    lane: str
    pause_s: float
    value: str = ""
    length_s: float = 0.0

    @property
    def counted(self) -> str:
        """What it is counted as: points and phases count one by one."""
        return f"{self.kind}:{self.value}" if self.kind.endswith("_kill_at") else self.kind


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it is run. ``is_whole`` is false for a part of the faults that its seed gives."""

    seed: int
    profile: Profile
    database: str
    faults: tuple[Fault, ...]
    is_whole: bool = True

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
        return {"seed": self.seed, "profile": self.profile.name, "database": self.database, "faults": faults}


def plan_of(seed: int, profile: Profile, database: str) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"{seed} {profile.name} {database}")
    makers = (_server_faults, _phone_faults, _fitter_faults)
    faults = [fault for make in makers for fault in make(rng, profile, seed, database)]
    rng.shuffle(faults)
    return Plan(seed, profile, database, tuple(faults))


def _pause(rng: random.Random, profile: Profile) -> float:
    return round(min(rng.expovariate(1 / profile.pause_s), 5 * profile.pause_s), 3)


def _server_faults(rng: random.Random, profile: Profile, seed: int, database: str) -> list[Fault]:
    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        return Fault(kind, "server", _pause(rng, profile), value, length_s)

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


def _phone_faults(rng: random.Random, profile: Profile, seed: int, database: str) -> list[Fault]:
    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        lane = f"phone-{rng.randrange(profile.devices)}"
        return Fault(kind, lane, _pause(rng, profile), value, length_s)

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


def _fitter_faults(rng: random.Random, profile: Profile, seed: int, database: str) -> list[Fault]:
    def fault(kind: str, value: str = "", length_s: float = 0.0) -> Fault:
        lane = f"fitter-{rng.randrange(profile.fitters)}"
        return Fault(kind, lane, _pause(rng, profile), value, length_s)

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
