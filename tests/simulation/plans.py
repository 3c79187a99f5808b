"""Plans that lead to where a bug of ``bugs`` shows, for those that chance finds too seldom.

Read ``PLANS``.
"""

from collections.abc import Mapping
from typing import Final

from .plan import Plan, Step, kept_apart

__all__ = ["PLANS"]


def _woken_for_nothing(fault: Step) -> list[Plan]:
    """A package for a phone that is asleep, whose first push is lost; then hours go by."""
    return [
        Plan(
            seed,
            (
                Step("patient", "sleep", at_s=5.0, length_s=200 * 3_600.0),
                Step("fault", "push_lost", at_s=5.0, amount=2),
                Step("ann", "package", at_s=8.0, amount=1),
                fault,
                Step("time", "hours", at_s=40.0, length_s=3_600.0),
                Step("time", "hours", at_s=60.0, length_s=3_600.0),
            ),
        )
        for seed in range(3)
    ]


# Where chance takes too long to go, or what it would have to meet is known.
PLANS: Final[Mapping[str, list[Plan]]] = {
    "ignores the generation": [
        Plan(
            seed,
            (
                Step("ann", "live"),
                *[Step("ann", "up")] * 6,
                # The server finds out long after the phone has come back.
                *(Step("fault", "cut_phone", at_s=6.0 + 3 * n, length_s=25.0) for n in range(8)),
            ),
        )
        for seed in range(2)
    ],
    "never catches up": [
        Plan(
            seed,
            (
                Step("ann", "live"),
                Step("ann", "up"),
                Step("fault", "database_away", point=f"chunk#{n}", length_s=5.0),
            ),
        )
        for seed, n in enumerate((2, 6, 10, 14))
    ],
    # A burst leaves two that wait, which a change by hand hardly ever does.
    "swaps two": [
        Plan(seed, (Step("ann", "live"), Step("ann", "burst", at_s=2.0, length_s=25.0, amount=amount)))
        for seed, amount in enumerate((5, 6, 7, 8, 9))
    ],
    "waits for answers": [
        Plan(
            seed,
            (
                Step("ann", "live"),
                Step("ann", "up"),
                Step("ann", "up"),
                Step("ann", "up"),
                Step("fault", "half_open_phone", point=f"chunk#{n}"),
                Step("patient", "undo", at_s=12.0),
            ),
        )
        for seed, n in enumerate((18, 20, 22, 34, 36, 40))
    ],
    # The same band each day, as much as one package may.
    "counts from today": [
        Plan(
            seed,
            tuple(
                step
                for day in range(4)
                for step in (
                    # Until the night, then the morning.
                    Step("ann", "wait", length_s=40.0),
                    Step("ann", "louder", at_s=6.0, amount=3),
                    Step("time", "hours", at_s=18.0 + 30.0 * day, length_s=20 * 3_600.0),
                )
            ),
            ends_at_s=150.0,
        )
        for seed in range(5)
    ],
    # Two are installed, and the second is taken back.
    "takes back too much": [
        Plan(
            seed,
            (
                Step("ann", "wait", length_s=5.0),
                Step("ann", "package", amount=1),
                Step("ann", "wait", length_s=35.0),
                Step("ann", "package", amount=2),
                Step("patient", "take_back", at_s=85.0),
            ),
        )
        for seed in range(6)
    ],
    # The first aid keeps it, and the consent is withdrawn.
    "takes a copy back": [
        Plan(
            seed,
            (
                Step("ann", "live"),
                Step("ann", "up"),
                Step("ann", "save", amount=1),
                Step("patient", "withdraw", point="nvm#1"),
            ),
        )
        for seed in range(6)
    ],
    # Much quieter, and taken back.
    "startles": [
        Plan(
            seed,
            (
                Step("ann", "wait", length_s=5.0),
                Step("ann", "hush"),
                Step("patient", "take_back", at_s=60.0),
            ),
            ends_at_s=100.0,
        )
        for seed in range(6)
    ],
    # For longer than a week.
    "forgets what one ear keeps": [kept_apart(seed, days=8.0) for seed in range(4)],
    # The copies of the second aid do not verify, and that the first one has begun is one report too many.
    "forgets what it refuses": [
        Plan(
            seed,
            (
                Step("fault", "nvm_fails", at_s=1.0, amount=3, ear="left"),
                Step("ann", "wait", length_s=5.0),
                Step("ann", "hush"),
                Step("ann", "wait", length_s=60.0),
                Step("ann", "louder", amount=3),
            ),
            max_reports=7,
        )
        for seed in range(6)
    ],
    "forgets the outbox": _woken_for_nothing(Step("fault", "kill_server", at_s=20.0, length_s=2.0)),
    "takes for good": _woken_for_nothing(Step("fault", "kill_server", point="taken#1", length_s=2.0)),
}
