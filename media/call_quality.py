"""How the way between two peers of a call is told, from what one of them reports: not at each report, but as it lasts.

One report is better or worse than what was told last, or has other advice; only several in a row are told, for the
worse sooner than for the better. What the numbers mean is in ``quality``. This module must not know where reports come
from, nor what else an advice does. Read ``TABLE`` and ``step``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from msgspec import UNSET

from protocol.contract.calls import Advice, Grade, ReportQuality

from .quality import LinkNumbers, judge

__all__ = ["TABLE", "Lately", "Move", "Seems", "Tendency", "Verdict", "mean", "middle", "seems", "step", "verdict_of"]

_ORDER: Final[tuple[Grade, ...]] = ("good", "fair", "bad")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grade, and what would help."""

    grade: Grade = "good"
    advice: tuple[Advice, ...] = ()


class Seems(Enum):
    """How one report looks beside what was told."""

    SAME = auto()
    WORSE = auto()
    BETTER = auto()
    OTHERWISE = auto()
    """As good, and other advice."""


class Lately(Enum):
    """What the last reports were like that have not been told."""

    STEADY = auto()
    """As it was told."""
    WORSE_ONCE = auto()
    BETTER_ONCE = auto()
    BETTER_TWICE = auto()
    TURNED_ONCE = auto()


@dataclass(frozen=True, slots=True)
class Move:
    """One cell: what the last reports are like now, and whether that is told, after which it is steady."""

    to: Lately
    is_told: bool = False


_TOLD: Final = Move(Lately.STEADY, is_told=True)
_ANEW: Final[Mapping[Seems, Move]] = MappingProxyType(
    {
        Seems.SAME: Move(Lately.STEADY),
        Seems.WORSE: Move(Lately.WORSE_ONCE),
        Seems.BETTER: Move(Lately.BETTER_ONCE),
        Seems.OTHERWISE: Move(Lately.TURNED_ONCE),
    }
)
TABLE: Final[Mapping[Lately, Mapping[Seems, Move]]] = MappingProxyType(
    {
        Lately.STEADY: _ANEW,
        Lately.WORSE_ONCE: MappingProxyType({**_ANEW, Seems.WORSE: _TOLD}),
        Lately.BETTER_ONCE: MappingProxyType({**_ANEW, Seems.BETTER: Move(Lately.BETTER_TWICE)}),
        Lately.BETTER_TWICE: MappingProxyType({**_ANEW, Seems.BETTER: _TOLD}),
        Lately.TURNED_ONCE: MappingProxyType({**_ANEW, Seems.OTHERWISE: _TOLD}),
    }
)


@dataclass(frozen=True, slots=True)
class Tendency:
    """What was told of a way, what its last reports were like, and what may be told of them."""

    told: Verdict = Verdict()
    lately: Lately = Lately.STEADY
    pending: Verdict = Verdict()


def verdict_of(report: ReportQuality) -> Verdict:
    """What one report says by itself."""
    frames = None if report.frames_per_s is UNSET else report.frames_per_s
    numbers = LinkNumbers(
        rtt_ms=None if report.rtt_ms is UNSET else report.rtt_ms,
        loss_permille=report.loss_permille,
        jitter_ms=report.jitter_ms,
        has_audio=True,
        has_video=frames is not None,
        frames_per_s=frames,
        may_use_tcp=report.transport == "udp",
    )
    return Verdict(*judge(numbers))


def seems(told: Verdict, verdict: Verdict) -> Seems:
    """How a verdict looks beside what was told."""
    before, now = _ORDER.index(told.grade), _ORDER.index(verdict.grade)
    if now != before:
        return Seems.WORSE if now > before else Seems.BETTER
    return Seems.SAME if verdict.advice == told.advice else Seems.OTHERWISE


def step(before: Tendency, verdict: Verdict) -> Tendency:
    """The tendency after one more report; ``told`` is another one when that is to be told."""
    seen = seems(before.told, verdict)
    move = TABLE[before.lately][seen]
    # One more of the same kind, or the first of another.
    goes_on = move.is_told or move.to is Lately.BETTER_TWICE
    pending = _of_both(seen, before.pending, verdict) if goes_on else verdict
    return Tendency(pending) if move.is_told else Tendency(before.told, move.to, pending)


def _of_both(seen: Seems, one: Verdict, other: Verdict) -> Verdict:
    """What may be told of two reports: no worse than the better of them when it gets worse, and no better than the
    worse of them when it gets better; the later one of two that are alike.
    """
    if seen is Seems.WORSE:
        return min(other, one, key=_badness)
    return max(other, one, key=_badness) if seen is Seems.BETTER else other


def _badness(verdict: Verdict) -> int:
    return _ORDER.index(verdict.grade)


def middle(values: Sequence[int]) -> int | None:
    """The median, None of none."""
    ordered = sorted(values)
    return round((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2) if values else None


def mean(values: Sequence[int]) -> int | None:
    """The mean, None of none."""
    return round(sum(values) / len(values)) if values else None
