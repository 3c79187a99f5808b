"""What must have happened for a run to prove anything, beside what it promises. Read ``uncovered`` first."""

from collections import Counter
from dataclasses import dataclass

from tests.chaos.plan import Plan

__all__ = ["Met", "uncovered"]


@dataclass(frozen=True, slots=True)
class Met:
    """What did happen: faults that ``begun`` and ``landed``, by what they are counted as.

    ``spoken``: the faults of phones that have landed, by what the phone spoke. ``open_kills``: phones that were killed
    with a delivery in their journal. ``packages``: what packages came to.
    """

    begun: Counter[str]
    landed: Counter[str]
    spoken: Counter[str]
    open_kills: int
    packages: Counter[str]


def uncovered(plan: Plan, met: Met) -> dict[str, int]:
    """What a run did not meet, and by how much. Of a part of a plan only that its own faults have landed."""
    missing = dict(met.begun - met.landed)
    if plan.is_whole:
        unspoken = set(plan.transports.values()) - (+met.spoken).keys()
        missing |= {f"faults of phones on {transport}": 1 for transport in unspoken}
    if plan.is_whole and met.begun == plan.required:
        if met.open_kills < plan.profile.min_open_kills:
            missing["kills with an open journal"] = plan.profile.min_open_kills - met.open_kills
        missing |= {f"packages: {name}": 1 for name in plan.profile.ends - (+met.packages).keys()}
    return missing
