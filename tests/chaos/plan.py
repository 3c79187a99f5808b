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

from tests.chaos.plan_clients import CLIENT, PhoneLanes, Transport, fitter_faults, phone_faults, transports_of
from tests.chaos.plan_pods import pod_faults
from tests.chaos.profile import KILL_POINTS, Fault, Profile, pause

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before it is run. ``is_whole`` is false for a part of the faults that its seed gives.

    ``client``, one of ``CLIENTS``: what its phones speak.
    """

    seed: int
    profile: Profile
    database: str
    faults: tuple[Fault, ...]
    pods: int = 1
    client: str = CLIENT
    is_whole: bool = True

    @property
    def transports(self) -> dict[str, Transport]:
        """What each phone speaks, by its lane."""
        spoken = transports_of(self.client, self.profile.devices)
        return {f"phone-{number}": transport for number, transport in enumerate(spoken)}

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
            **{"pods": self.pods, "client": self.client, "faults": faults},
        }


def fitters_of(profile: Profile, pods: int) -> int:
    """How many professionals a run has."""
    return profile.fitters if pods == 1 else max(profile.fitters, 2 * pods)


def plan_of(seed: int, profile: Profile, database: str, pods: int = 1, client: str = CLIENT) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"{seed} {profile.name} {database}" + (f" {pods}" if pods > 1 else ""))
    phones = PhoneLanes(rng, seed, transports_of(client, profile.devices), every=3 if profile.each == 1 else 2)
    if pods == 1:
        faults = _server_faults(rng, profile, seed, database)
    else:
        faults = pod_faults(rng, profile, phones, seed=seed, pods=pods, fitters=fitters_of(profile, pods))
    faults += phone_faults(rng, profile, seed, phones)
    faults += fitter_faults(rng, profile, fitters_of(profile, pods))
    rng.shuffle(faults)
    return Plan(seed, profile, database, tuple(faults), pods, client)


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
