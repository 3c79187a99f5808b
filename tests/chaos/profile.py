"""How large runs are, and what one fault of a run is. Which faults a run has is for ``plan``."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tests.chaos.check_packages import ENDS

__all__ = [
    "DATABASES",
    "KILL_POINTS",
    "MAX_FRAME",
    "PHASES",
    "PROFILES",
    "WAITING",
    "Fault",
    "Profile",
    "pause",
]

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
    have come to, see ``check_packages``. With several pods ``crowd`` connections are there beside all work, which
    goes on for ``calm_s`` after the last fault, to be held to what it was like before the first.
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
    crowd: int = 20
    calm_s: float = 8.0


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("smoke", 3, 2, 1, 3, 5, 3, 0.2, 3, 3, 60.0, 2),
        Profile("standard", 8, 4, 3, 12, 30, 24, 1.0, 20, 20, 60.0, 15, ENDS, 60, 15.0),
        Profile("soak", 12, 6, 40, 240, 480, 240, 2.0, 50, 50, 60.0, 200, ENDS, 100, 30.0),
    )
}


class Fault(msgspec.Struct, frozen=True):
    """One fault. ``lane`` is its victim: pod-N, phone-N and others. ``value`` is what its kind needs to know."""

    kind: str
    lane: str
    pause_s: float
    value: str = ""
    length_s: float = 0.0

    @property
    def counted(self) -> str:
        """What it is counted as: points and phases count one by one."""
        return f"{self.kind}:{self.value}" if self.kind.endswith("_kill_at") else self.kind


def pause(rng: random.Random, profile: Profile) -> float:
    """How long a lane waits before a fault."""
    return round(min(rng.expovariate(1 / profile.pause_s), 5 * profile.pause_s), 3)
