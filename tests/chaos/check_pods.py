"""I9 presence, I10 liveness, I12 availability, I13 bounds: what holds of all pods together, over a whole history.

Times are judged only as far as the machine that ran it kept them: what it was late by is in the history too. Read
``calls_succeed`` first.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Final

from tests.chaos.history import Event
from tests.chaos.paths import ALL, Paths, is_of_bus
from tests.chaos.story import APPLIED, Op, Story, key_of
from tests.chaos.violation import Violation

__all__ = ["SETTLES_NS", "bounds_hold", "calls_succeed", "changes_get_through", "presence_is_true", "waits_s"]

S_NS: Final = 1_000_000_000
CALLS: Final = ("acquire", "steal", "renew", "submit", "save", "cancel")
UNSERVED: Final = frozenset({"not_sent", "unavailable", "overloaded", "internal", "internal_error"})
"""Refusals that say nothing of what was asked for: the server, or the way to it, was not there."""
TOO_LATE_MS: Final = 300
"""A machine that is later than this loses calls by itself."""

SETTLES_NS: Final = 3 * S_NS
CALM_S: Final = 1.0
WITHOUT_BUS_S: Final = 3.0
"""How long pods may take to notice that they do not hear each other, and to look into the log instead."""
LAGS: Final = 10
"""So many turns of processes may lie between a change and its offer, each as late as the machine is."""

HERE_NS: Final = 5 * S_NS
GONE_NS: Final = 45 * S_NS
TOLD_NS: Final = 20 * S_NS
"""How long what is known of a pod that is gone, or cut off, may live on."""

SILENT_NS: Final = 2 * S_NS
"""How long before or after a word about its phone a pod was silent, when it was for so long that it matters."""

GROWTH: Final[Mapping[str, tuple[float, int]]] = {
    "rss_kib": (1.25, 20_480),
    "files": (1.1, 10),
    "threads": (1.1, 4),
    "tasks": (1.1, 15),
}
"""By which factor, and by how much beside it, a pod may weigh more after all faults than before the first."""
LAST: Final = 5


def calls_succeed(stories: Mapping[str, Story], paths: Paths) -> Iterator[Violation]:
    """I12: a call fails only when something on its path has been broken since the last one that did not."""
    by_process: dict[str, list[Op]] = defaultdict(list)
    for story in stories.values():
        for f in CALLS:
            for op in story.ops[f]:
                by_process[op.invoke.p].append(op)
    for process, ops in by_process.items():
        ops.sort(key=lambda op: op.invoke.t)
        well = ops[0].invoke.t
        for op in ops:
            if op.end is None:
                continue
            if op.outcome == "ok" or (op.outcome == "fail" and op.answer["code"] not in UNSERVED):
                # Its answer may have been on the way already when something broke.
                well = op.invoke.t
            elif not paths.broken(process, well, op.end.t) and paths.lag_ms(well, op.end.t) < TOO_LATE_MS:
                why = op.answer.get("code", "its fate is not known")
                text = f"{op.invoke.f} of {process} failed ({why}), and nothing on its path was broken"
                yield Violation("I12", op.invoke.dev, text, op.events)


def waits_s(story: Story, paths: Paths, calm: tuple[float, float]) -> Iterator[tuple[str, float, int, Op]]:
    """How long each accepted live change waited for its offer while its phone had nothing else to do: when, how long.

    ``calm`` for what was waited for after all faults, ``bus`` for while nothing but the bus was broken; and how late
    the machine was.
    """
    offered: dict[tuple[str, int], Event] = {}
    for event in story.facts["offer_in"]:
        offered.setdefault(key_of(event), event)
    steps = [event for event in story.events if event.p.startswith(("phone", "shadow"))]
    place = 0
    for key, op in sorted(story.accepted.items(), key=lambda pair: _end(pair[1])):
        offer = offered.get(key)
        if op.invoke.v.get("mode") != "advanced" or offer is None:
            continue
        since: float = _end(op)
        while place < len(steps) and steps[place].t < offer.t:
            place += 1
        since = max([since, *(event.t for event in steps[max(0, place - 1) : place])])
        when = _when(paths, calm, since, offer.t)
        # A pod that dies behind its answer has not told the other one, which has to find out by itself.
        is_broken = paths.broken(offer.p, since, offer.t) or paths.broken(op.invoke.p, since, offer.t, behind=True)
        if when and not is_broken:
            yield when, (offer.t - since) / S_NS, paths.lag_ms(since, offer.t), op


def _end(op: Op) -> int:
    return op.invoke.t if op.end is None else op.end.t


def _when(paths: Paths, calm: tuple[float, float], since: float, until: float) -> str:
    if calm[0] <= since and until <= calm[1]:
        return "calm"
    return "bus" if any(is_of_bus(fault.event) for fault in paths.active(since, until)) else ""


def changes_get_through(stories: Mapping[str, Story], paths: Paths, calm: tuple[float, float]) -> Iterator[Violation]:
    """I10: with nothing else to do a phone is offered a change at once; with the bus away, nearly so."""
    for story in stories.values():
        for when, wait_s, late_ms, op in waits_s(story, paths, calm):
            bound_s = {"calm": CALM_S, "bus": WITHOUT_BUS_S}[when] + LAGS * late_ms / 1_000
            if wait_s > bound_s:
                text = f"seq {op.answer['seq']} waited {wait_s:.1f} s for its offer with nothing in its way ({when})"
                yield Violation("I10", story.device, text, op.events)
        yield from _forgotten(story, paths, calm)


def _forgotten(story: Story, paths: Paths, calm: tuple[float, float]) -> Iterator[Violation]:
    offered = {key_of(offer) for offer in story.facts["offer_in"] if offer.t <= calm[1]}
    busy = max((event.t for event in story.events if event.p.startswith("phone") and event.t <= calm[1]), default=0)
    for key, op in story.accepted.items():
        final = story.deliveries.get(key)
        since = max(_end(op), busy)
        if key in offered or final is None or final.v["state"] not in APPLIED or since < calm[0]:
            continue
        if (calm[1] - since) / S_NS > CALM_S + LAGS * paths.lag_ms(since, calm[1]) / 1_000:
            yield Violation("I10", story.device, f"seq {key[1]} was not offered while all was calm", op.events)


def presence_is_true(story: Story, paths: Paths) -> Iterator[Violation]:
    """I9: nobody is called away while connected for a while with nothing broken, nor there long after the last sign."""
    steps = [event for event in story.events if event.p.startswith("phone") or event.f == "crash"]
    place, welcome, died = 0, None, None
    for said in story.facts["presence"]:
        while place < len(steps) and steps[place].t <= said.t:
            step = steps[place]
            welcome = step if step.f == "welcome" else None if step.f in {"boot", "hello", "crash"} else welcome
            died = step if step.f == "crash" else None if step.f == "boot" else died
            place += 1
        # What was said was so at some time between question and answer.
        asked_ns = said.t - said.v.get("took_ms", 0) * 1_000_000
        if said.v["online"] and died is not None and asked_ns - died.t > GONE_NS:
            yield Violation("I9", story.device, f"{said.v['pod']} says online of a phone long dead", (died, said))
        is_here = welcome is not None and asked_ns - welcome.t > HERE_NS and _hears(steps[place:])
        was_so = welcome is None or _was_disturbed(welcome.p, asked_ns, said.t, paths)
        if not said.v["online"] and is_here and not was_so and welcome is not None:
            yield Violation(
                "I9", story.device, f"{said.v['pod']} says offline of a phone that is there", (welcome, said)
            )


def _was_disturbed(phone: str, asked_ns: float, said_ns: float, paths: Paths) -> bool:
    """Lately, by whatever may keep one pod from hearing of another's phone, whoever it was done for."""
    for fault in paths.active(asked_ns - TOLD_NS, said_ns):
        if fault.lane in {phone, *ALL} or fault.lane.startswith("pod") or "bus" in fault.event.v["fault"]:
            return True
    # A pod that does not answer is not believed to have a phone: that is so, and no other pod can know better.
    return paths.were_late(paths.pods(phone, asked_ns, said_ns), asked_ns - SILENT_NS, said_ns + SILENT_NS)


def _hears(later: Sequence[Event]) -> bool:
    """Whether a phone's next word from outside came over the link that it had."""
    for event in later:
        if event.f in {"offer_in", "settled_in", "boot", "hello", "crash"}:
            return event.f in {"offer_in", "settled_in"}
    return False


def bounds_hold(samples: Iterable[Event], faults_at: float, calm: tuple[float, float]) -> Iterator[Violation]:
    """I13: after all faults no pod weighs more than the heaviest did before, what its connections need left out."""
    warm = [event for event in samples if event.t < faults_at]
    after: dict[str, list[Event]] = defaultdict(list)
    for event in samples:
        if calm[0] <= event.t <= calm[1]:
            after[event.v["pod"]].append(event)
    for name, (factor, more) in GROWTH.items():
        before = [_net(event, name) for event in warm if name in event.v]
        if not before:
            continue
        bound = max(before) * factor + more
        for pod, events in after.items():
            last = [event for event in events[-LAST:] if name in event.v]
            # The lightest of them: work comes and goes, and what has leaked stays.
            lightest = min(last, key=lambda event: _net(event, name), default=None)
            if len(last) == LAST and lightest is not None and _net(lightest, name) > bound:
                text = f"{pod} has {name} {_net(lightest, name)} after all faults, and {median(before):.0f} before"
                yield Violation("I13", "", text, (lightest,))


def _net(event: Event, name: str) -> int:
    each = {"files": 1}.get(name, 0)
    return int(event.v[name]) - each * int(event.v["connections"])
