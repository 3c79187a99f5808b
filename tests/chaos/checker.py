"""The judge: a merged history in, the broken promises out, each with the shortest witness.

Every invariant is a scan over one device's story, so the whole is O(n log n) in the number of events. It must not
know how the history came about. Read ``check`` first.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Final

from tests.chaos.check_effects import no_duplicate, no_loss, no_phantom
from tests.chaos.check_fences import fences_rise, old_fences_are_dead, one_answer_per_key
from tests.chaos.check_images import no_half_write, truth_is_known
from tests.chaos.check_order import in_order, numbers_have_no_gaps, one_stream, real_time_order
from tests.chaos.check_packages import not_after_its_time, the_wearer_decides, undo_brings_back
from tests.chaos.check_pods import SETTLES_NS, bounds_hold, calls_succeed, changes_get_through, presence_is_true
from tests.chaos.check_record import chain_holds, every_end_is_recorded_once, nothing_strays
from tests.chaos.check_resume import nothing_is_lost_on_the_way
from tests.chaos.history import Event
from tests.chaos.paths import Paths
from tests.chaos.story import Story, stories
from tests.chaos.violation import Violation

__all__ = ["INVARIANTS", "calm_of", "check", "report"]

Invariant = Callable[[Story], Iterator[Violation]]
INVARIANTS: Final[tuple[Invariant, ...]] = (
    no_loss,
    no_duplicate,
    in_order,
    no_phantom,
    the_wearer_decides,
    not_after_its_time,
    undo_brings_back,
    no_half_write,
    truth_is_known,
    fences_rise,
    old_fences_are_dead,
    one_answer_per_key,
    numbers_have_no_gaps,
    nothing_strays,
    chain_holds,
    every_end_is_recorded_once,
    real_time_order,
)


def check(history: Iterable[Event]) -> list[Violation]:
    """All broken promises; an empty list is what a run is for."""
    history = list(history)
    told, paths, calm = stories(history), Paths(history), calm_of(history)
    found = [broken for story in told.values() for invariant in INVARIANTS for broken in invariant(story)]
    for story in told.values():
        found += [*one_stream(story, paths), *presence_is_true(story, paths)]
    found += [*calls_succeed(told, paths), *nothing_is_lost_on_the_way(history, paths)]
    samples = [event for event in history if event.f == "sample"]
    return [*found, *changes_get_through(told, paths, calm), *bounds_hold(samples, _begin(history, "faults"), calm)]


def calm_of(history: Iterable[Event]) -> tuple[float, float]:
    """From when until when a run went on after all faults; an empty time for never."""
    history = list(history)
    return _begin(history, "calm") + SETTLES_NS, _begin(history, "over")


def _begin(history: Iterable[Event], name: str) -> float:
    return next((event.t for event in history if event.f == "phase" and event.v["name"] == name), inf)


def report(history: Iterable[Event], violations: Iterable[Violation], *, each: int = 3) -> str:
    """The witnesses, one after the other; at most ``each`` of one invariant, because one cause breaks it often."""
    told = stories(history)
    shown: Counter[str] = Counter()
    witnesses = []
    for violation in violations:
        shown[violation.invariant] += 1
        if shown[violation.invariant] <= each:
            witnesses.append(violation.witness(told.get(violation.device)))
    more = [f"{name}: {count - each} more" for name, count in sorted(shown.items()) if count > each]
    return "\n\n".join((*witnesses, *more))
