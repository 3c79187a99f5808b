"""The faults of a run with several pods: of the pods, of what they share, of the way to it, and of crowds.

Each of the shared things is one lane, so that no two faults of it overlap, and everything else may. Read ``pod_faults``
first.
"""

import random
from collections.abc import Callable
from typing import Final

from tests.chaos.plan_clients import PhoneLanes
from tests.chaos.profile import KILL_POINTS, Fault, Profile, pause
from tests.chaos.waiting import PATIENCE

__all__ = ["RESUMERS", "pod_faults"]

RESUMERS: Final = ("resumer-0", "resumer-1")
FREEZE_S: Final = (4.0 * PATIENCE, 6.0 * PATIENCE)
LONG_FREEZE_S: Final = 20.0 * PATIENCE
Make = Callable[..., Fault]


def pod_faults(
    rng: random.Random, profile: Profile, phones: PhoneLanes, *, seed: int, pods: int, fitters: int
) -> list[Fault]:
    """All of them, in no order."""

    def make(kind: str, lane: str, value: str = "", length_s: float = 0.0) -> Fault:
        return Fault(kind, lane, pause(rng, profile), value, round(length_s, 3))

    lanes = [f"pod-{number}" for number in range(pods)]
    faults = [*_of_pods(rng, profile, seed, lanes, make), *_of_edges(rng, profile, lanes, make)]
    faults += [*_of_bus(rng, profile, make), *_of_database(rng, profile, make)]
    faults += _of_clients(rng, profile, fitters, phones, make)
    return faults


def _of_pods(rng: random.Random, profile: Profile, seed: int, lanes: list[str], make: Make) -> list[Fault]:
    first = seed * profile.points
    points = [KILL_POINTS[(first + place) % len(KILL_POINTS)] for place in range(profile.points)]
    turn = rng.randrange(len(lanes))
    faults = []
    for place, point in enumerate(points):
        faults.append(make("server_kill_at", lanes[(turn + place) % len(lanes)], f"{point}:{rng.randint(1, 2)}"))
    for place in range(profile.each):
        pods = [lanes[(turn + place + more) % len(lanes)] for more in range(3)]
        faults += [make("server_kill", pods[0]), make("server_terminate", pods[1])]
        # One of them longer than any lease and dead-man.
        is_long = place == 0 and profile.each > 1
        faults.append(make("server_freeze", pods[2], length_s=LONG_FREEZE_S if is_long else rng.uniform(*FREEZE_S)))
    return faults


def _of_edges(rng: random.Random, profile: Profile, lanes: list[str], make: Make) -> list[Fault]:
    faults = []
    for _ in range(profile.each):
        for edge in ("bus", "database"):
            kinds = {"reset": 0.0, "black_hole": rng.uniform(0.5, 3.0), "delay": rng.uniform(0.5, 2.0)}
            for kind, length_s in kinds.items():
                faults.append(make(f"edge_{kind}", rng.choice(lanes), edge, length_s))
            faults.append(make("edge_cut_byte", rng.choice(lanes), f"{edge}:{rng.randint(1, 5_000)}"))
    return faults


def _of_bus(rng: random.Random, profile: Profile, make: Make) -> list[Fault]:
    faults = []
    for _ in range(profile.each):
        for kind in ("bus_kill", "bus_freeze", "bus_slow", "bus_black_hole", "bus_deaf", "bus_mute"):
            faults.append(make(kind, "bus", length_s=rng.uniform(0.5, 3.0)))
        faults += [make("bus_drop_subscribers", "bus", length_s=rng.uniform(1.0, 3.0)), make("bus_fail_over", "bus")]
        for lane in RESUMERS:
            # While the bus is away, and with nothing else.
            faults += [make("resume_bus_kill", lane, length_s=rng.uniform(0.5, 2.0)), make("resume_cut", lane)]
    return faults


def _of_database(rng: random.Random, profile: Profile, make: Make) -> list[Fault]:
    faults = []
    for _ in range(profile.each):
        faults.append(make("database_kill", "database", length_s=rng.uniform(0.0, 1.0)))
        faults.append(make("database_freeze", "database", length_s=rng.uniform(0.5, 1.5)))
    return faults


def _of_clients(rng: random.Random, profile: Profile, fitters: int, phones: PhoneLanes, make: Make) -> list[Fault]:
    faults = []
    for _ in range(profile.each):
        faults += [make("storm", "crowd"), make("slow_reader", "slow")]
        faults.append(make("takeover_elsewhere", phones.next("takeover_elsewhere"), length_s=rng.uniform(0.2, 0.6)))
        for kind in ("rate", "deaf", "mute"):
            for side, lane in (("phone", phones.next(kind)), ("fitter", f"fitter-{rng.randrange(fitters)}")):
                faults.append(make(f"{side}_{kind}", lane, length_s=rng.uniform(0.5, 2.0)))
    return faults
