"""A run: case after case from one seed, until the time is up or one fails, and that one made short.

A case is made from the seed and its number alone, so any of them can be repeated. It must not know what the subjects
do. Read ``Campaign.run`` first.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]  # the library ships no types

from .hub_subject import Hubs
from .steps import Step, Wrong
from .subjects import Codecs, Frames, Handshakes, Splitters, Subject, Upgrades

__all__ = ["SUBJECTS", "Campaign", "Failure", "Outcome", "shorten"]

SUBJECTS: Final[tuple[Subject, ...]] = (Hubs(), Hubs(), Frames(), Codecs(), Splitters(), Handshakes(), Upgrades())
WARM_UP_CASES: Final = 2_000
LOOK_EVERY: Final = 500
MAX_GROWTH_BYTES: Final = 20 * 2**20
MAX_SHORTENING_TRIES: Final = 2_000


class Failure(msgspec.Struct, frozen=True):
    """A case that failed: how to repeat it, what was wrong, and the shortest steps that were found to do it."""

    seed: str
    case: int
    subject: str
    reason: str
    steps: list[str]


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """What a run did. ``grown_kib``: resident memory beyond that of the first cases."""

    seed: str
    cases: int
    steps: int
    bytes: int
    seconds: float
    grown_kib: int
    subjects: dict[str, int]
    failure: Failure | None = None


@dataclass(slots=True)
class Campaign:
    """``clock``: seconds that only go forward. ``resident_bytes``: memory of this process."""

    seed: str
    subjects: Sequence[Subject] = SUBJECTS
    clock: Callable[[], float] = time.monotonic
    resident_bytes: Callable[[], int] = lambda: int(psutil.Process().memory_info().rss)

    def run(self, seconds: float, *, first: int = 0, only_one: bool = False) -> Outcome:
        """Cases from number ``first`` on, for so long or until one fails."""
        began = self.clock()
        counts: Counter[str] = Counter()
        size = fed = grown = 0
        at_first: int | None = None
        number, failure = first, None
        while failure is None and self.clock() - began < seconds and not (only_one and number > first):
            subject, steps = self.case(number)
            failure = self._failure(number, subject, steps)
            counts[subject.name] += 1
            size += len(steps)
            fed += sum(len(step.data) for step in steps)
            number += 1
            if number - first == WARM_UP_CASES:
                at_first = self.resident_bytes()
            elif at_first is not None and number % LOOK_EVERY == 0:
                grown = self.resident_bytes() - at_first
                if grown > MAX_GROWTH_BYTES:
                    failure = Failure(self.seed, number, subject.name, f"memory has grown by {grown} bytes", [])
        took = self.clock() - began
        return Outcome(self.seed, number - first, size, fed, took, grown // 1_024, dict(counts), failure)

    def case(self, number: int) -> tuple[Subject, list[Step]]:
        """The subject and the steps of one case."""
        rng = random.Random(f"{self.seed}:{number}")
        subject = self.subjects[number % len(self.subjects)]
        return subject, subject.steps(rng)

    def _failure(self, number: int, subject: Subject, steps: list[Step]) -> Failure | None:
        reason = self._reason(number, subject, steps)
        if not reason:
            return None
        kind = reason.partition(":")[0]
        short = shorten(steps, lambda fewer: self._reason(number, subject, fewer).partition(":")[0] == kind)
        return Failure(self.seed, number, subject.name, self._reason(number, subject, short), [_line(s) for s in short])

    def _reason(self, number: int, subject: Subject, steps: Sequence[Step]) -> str:
        try:
            subject.run(steps, random.Random(f"{self.seed}:{number}:cuts"))
        except Wrong as error:
            return f"Wrong: {error}"
        except Exception as error:  # noqa: BLE001  # whatever a subject raises is what is looked for
            return f"{type(error).__name__}: {error}"
        return ""


def shorten(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Fewer steps that still fail (Zeller's ddmin): halves are left out first, single steps last."""
    short = list(steps)
    tries = 0
    size = len(short) // 2
    while size and tries < MAX_SHORTENING_TRIES:
        start = 0
        while start < len(short):
            fewer = short[:start] + short[start + size :]
            tries += 1
            if fails(fewer):
                short = fewer
            else:
                start += size
        size = size // 2 if size > 1 else 0
    return short


def _line(step: Step) -> str:
    what = step.meaning.what if step.meaning else "damaged" if step.data else ""
    return " ".join(part for part in (step.do, what, repr(step.data) if step.data else f"{step.seconds:g}") if part)
