"""What a seed stands for: who does what, and what goes wrong when. A list of steps, each of which may be left out.

Pure. Must not know how a step is carried out. Read ``drawn`` first.
"""

import random
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from .chance import Chance

__all__ = ["FAULTS", "FITTING", "PACKING", "POINTS", "WEARING", "Plan", "Step", "drawn", "kept_apart"]

Who = Literal["ann", "bob", "patient", "fault", "time"]
# How often each is drawn, beside the others.
FITTING: Final = {
    "up": 14, "down": 9, "one_ear": 8, "burst": 7, "mpo_up": 2, "save": 6, "revert": 2, "undo": 1, "stop": 1,
    "cancel": 3, "repeat": 3, "conflict": 1, "earlier": 2, "silence": 2, "leave": 2, "release": 1, "steal": 1,
    "read_back": 1, "stale": 2, "call": 3, "package": 2, "draft": 3,
}  # fmt: skip
# The same of a week in which packages are sent; "visit" stands for a whole one.
PACKING: Final = {
    "package": 10, "louder": 8, "brief": 3, "pair": 4, "back": 3, "draft": 2, "loud": 1, "cancel": 3, "repeat": 2,
    "conflict": 1, "wait": 8, "visit": 6,
}  # fmt: skip
WEARING: Final = {
    "undo": 5, "stop": 3, "withdraw": 2, "background": 4, "button": 3, "battery_low": 2, "battery_flat": 2,
    "other_app": 1, "busy": 2, "sleep": 5, "wake": 2, "take_back": 4,
}  # fmt: skip
FAULTS: Final = {
    "kill_server": 8, "kill_phone": 8, "cut_phone": 8, "cut_ann": 4, "half_open_phone": 4, "half_open_ann": 2,
    "stall_phone": 4, "away_phone": 3, "drop_aid": 6, "reboot_aid": 5, "refuse_connects": 3, "corrupt": 3,
    "lie": 2, "nvm_fails": 3, "drop_in_commit": 3, "slow_aid": 2, "database_away": 4, "slow_phone": 3,
    "token_phone": 2, "token_ann": 2, "aid_away": 2, "push_lost": 2, "push_twice": 2, "push_throttled": 2,
    "push_refused": 2, "token_dead": 2,
}  # fmt: skip
# Where something may strike: the n-th time that it is reached.
POINTS: Final = (
    "before_commit", "after_commit", "before_save", "after_save", "chunk", "nvm",
    "to_server:phone", "to_client:phone", "to_server:ann", "to_client:ann", "taken", "pushed",
)  # fmt: skip
_COUNTS: Final = {
    "before_commit": 60,
    "after_commit": 60,
    "before_save": 120,
    "after_save": 120,
    "chunk": 160,
    "nvm": 2,
    "taken": 5,
    "pushed": 3,
}
_HOURS: Final = (1, 1, 5, 12, 24, 24, 30, 72, 80, 168)
_STRIKES_AT_A_POINT: Final = frozenset(
    {"kill_server", "kill_phone", "cut_phone", "cut_ann", "half_open_phone", "away_phone", "drop_aid", "reboot_aid"}
)


# Of so many runs chance would hardly ever find the way there.
_KEPT_APART: Final = 0.01
_FEW_REPORTS: Final = 0.05


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """``at_s``: when, from the beginning; for a fitter how long to wait first. ``point``: the n-th time it is reached.

    ``length_s``: how long it lasts, ``amount`` how much or how many, ``ear`` on which side.
    """

    who: Who
    what: str
    at_s: float = 0.0
    point: str = ""
    length_s: float = 0.0
    amount: int = 0
    ear: Literal["left", "right"] = "right"


class Plan(msgspec.Struct, frozen=True):
    """One run. ``ends_at_s``: from then on everything heals. Nobody is awake in the hours of ``time``: they add
    nothing to the seconds in which the others' steps are told. ``max_reports``: how many the log takes of a delivery.
    """

    seed: int
    steps: tuple[Step, ...]
    ends_at_s: float = 90.0
    agrees: bool = True
    max_reports: int = 64

    def of(self, *who: Who) -> list[Step]:
        """The steps of some, in their order."""
        return [step for step in self.steps if step.who in who]

    def with_steps(self, steps: Sequence[Step]) -> "Plan":
        """The same run with only these steps."""
        return msgspec.structs.replace(self, steps=tuple(steps))


def drawn(seed: int) -> Plan:
    """The plan of a seed."""
    chance = Chance(seed).of("plan")
    is_week = chance.random() < 0.5
    steps: list[Step] = []
    for who in ("ann", "bob"):
        if who == "ann" or chance.random() < 0.4:
            steps += _packing(who, chance) if is_week else _fitting(who, chance)
    ends_at_s = chance.choice((40.0, 70.0, 100.0))
    if not is_week and chance.random() < 0.06:
        # Live work gives up an aid that is away for longer than most visits last.
        steps.append(Step("fault", "aid_away", at_s=chance.uniform(5.0, 20.0), length_s=50.0))
        ends_at_s = 190.0
    if is_week:
        steps += [_night(chance, ends_at_s) for _ in range(chance.randint(1, 5))]
        steps += [_slept(chance, ends_at_s) for _ in range(chance.randint(1, 5))]
        steps += [_push_fault(chance) for _ in range(chance.choice((0, 0, 1, 2)))]
    steps += [_worn(chance, ends_at_s) for _ in range(chance.choice((0, 0, 1, 2, 3)))]
    steps += [_fault(chance, ends_at_s) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4, 6)))]
    agrees, rare = chance.random() < 0.97, Chance(seed).of("rare")
    if rare.random() < _KEPT_APART:
        return kept_apart(seed, days=rare.uniform(1.0, 12.0))
    max_reports = rare.randint(7, 10) if rare.random() < _FEW_REPORTS else 64
    return Plan(seed, tuple(steps), ends_at_s, agrees, max_reports)


def kept_apart(seed: int, *, days: float) -> Plan:
    """Much quieter in one aid only, for days; then somebody keeps in both what the other one has kept, and goes on."""
    steps = (
        Step("ann", "wait", length_s=5.0),
        Step("ann", "hush"),
        Step("fault", "nvm_fails", at_s=1.0, amount=3, ear="left"),
        # Nor can what the first one has kept be taken back.
        Step("fault", "nvm_fails", point="nvm#1", amount=3),
        Step("time", "hours", at_s=60.0, length_s=days * 24 * 3_600.0),
        *[Step("ann", "wait", length_s=40.0)] * 3,
        Step("ann", "live"),
        Step("ann", "save", amount=1),
        Step("ann", "release", amount=1),
        Step("ann", "louder", amount=3),
        Step("ann", "wait", length_s=20.0),
    )
    return Plan(seed, steps, ends_at_s=200.0)


def _fitting(who: Literal["ann", "bob"], chance: random.Random) -> list[Step]:
    first = Step(who, "live", at_s=chance.uniform(0.0, 3.0) if who == "ann" else chance.uniform(2.0, 60.0))
    return [first, *(_fitted(who, chance) for _ in range(chance.randint(2, 9)))]


def _packing(who: Literal["ann", "bob"], chance: random.Random) -> list[Step]:
    """Packages, and a visit now and then, which is over when the next package is sent, or not."""
    steps: list[Step] = [Step(who, "wait", length_s=chance.uniform(0.0, 6.0) if who == "ann" else 15.0)]
    for _ in range(chance.randint(3, 9)):
        what = _pick(PACKING, chance)
        if what != "visit":
            steps.append(_fitted(who, chance, what))
            continue
        steps.append(Step(who, "live"))
        steps += [_fitted(who, chance) for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.7:
            steps.append(_fitted(who, chance, chance.choice(("leave", "release", "save"))))
    return steps


def _night(chance: random.Random, ends_at_s: float) -> Step:
    return Step("time", "hours", at_s=chance.uniform(4.0, ends_at_s), length_s=3_600.0 * chance.choice(_HOURS))


def _push_fault(chance: random.Random) -> Step:
    what = chance.choice(("push_lost", "push_twice", "push_throttled", "push_refused", "token_dead"))
    return Step("fault", what, at_s=chance.uniform(1.0, 20.0), amount=chance.randint(0, 8))


def _slept(chance: random.Random, ends_at_s: float) -> Step:
    what = chance.choice(("sleep", "sleep", "sleep", "wake", "take_back"))
    return Step("patient", what, at_s=chance.uniform(1.0, ends_at_s), length_s=3_600.0 * chance.choice(_HOURS))


def _fitted(who: Literal["ann", "bob"], chance: random.Random, what: str = "") -> Step:
    return Step(
        who,
        what or _pick(FITTING, chance),
        at_s=chance.choice((0.0, 0.05, 0.3, 1.0, 3.0)) * chance.random(),
        length_s=chance.choice((3.0, 11.0, 17.0, 25.0)),
        amount=chance.randint(1, 9),
        ear=chance.choice(("left", "right")),
    )


def _worn(chance: random.Random, ends_at_s: float) -> Step:
    return Step(
        "patient",
        _pick(WEARING, chance),
        at_s=chance.uniform(2.0, ends_at_s),
        length_s=chance.choice((2.0, 12.0, 35.0)),
        ear=chance.choice(("left", "right")),
    )


def _fault(chance: random.Random, ends_at_s: float) -> Step:
    what = _pick(FAULTS, chance)
    point = ""
    if what in _STRIKES_AT_A_POINT and chance.random() < 0.7:
        name = chance.choice(POINTS)
        point = f"{name}#{chance.randint(1, _COUNTS.get(name, 80))}"
    return Step(
        "fault",
        what,
        at_s=chance.uniform(1.0, ends_at_s),
        point=point,
        length_s=chance.choice((0.3, 2.0, 8.0, 20.0, 45.0)),
        amount=chance.randint(0, 8),
        ear=chance.choice(("left", "right")),
    )


def _pick(weights: dict[str, int], chance: random.Random) -> str:
    drawn: list[str] = chance.choices(list(weights), list(weights.values()))
    return drawn[0]
