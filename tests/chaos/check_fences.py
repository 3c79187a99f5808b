"""I6 one fitter at a time, I8 one answer per key: what is granted and accepted, and never granted or accepted twice."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Final

from tests.chaos.history import Event
from tests.chaos.story import Op, Story
from tests.chaos.violation import Violation

__all__ = ["fences_rise", "old_fences_are_dead", "one_answer_per_key"]


_NOT_NOW: Final = frozenset({"not_sent", "overloaded", "unavailable"})
"""Refusals that say nothing of what was asked for."""


def fences_rise(story: Story) -> Iterator[Violation]:
    """I6: a fence belongs to one holder's session, and a grant asked for after another was answered is not lower."""
    holders: dict[int, Op] = {}
    for op in _grants(story):
        first = holders.setdefault(op.answer["fence"], op)
        if _session(first) != _session(op):
            text = f"fence {op.answer['fence']} was granted to two sessions"
            yield Violation("I6", story.device, text, (*first.events, *op.events))
    answered = _Highest(_grants(story))
    for op in _grants(story):
        before = answered.by(op.invoke.t)
        if before is not None and before.answer["fence"] > op.answer["fence"]:
            text = f"fence {op.answer['fence']} was granted after fence {before.answer['fence']}"
            yield Violation("I6", story.device, text, (*before.events, *op.events))


def old_fences_are_dead(story: Story) -> Iterator[Violation]:
    """I6: once a fence is granted, nothing first asked for later under a lower one is accepted or begun by a phone."""
    answered = _Highest(_grants(story))
    first_try: dict[str, Op] = {}
    for op in story.changes:
        first = first_try.setdefault(op.invoke.v["idem"], op)
        grant = answered.by(first.invoke.t)
        fence = op.invoke.v.get("fence")
        if op.outcome == "ok" and grant is not None and fence is not None and fence < grant.answer["fence"]:
            text = f"fence {fence} was obeyed after fence {grant.answer['fence']} had been granted"
            yield Violation("I6", story.device, text, (*grant.events, *first.events, *op.events))
    accepted = sorted(story.accepted.values(), key=lambda op: int(op.answer["seq"]))
    fenced = [op for op in accepted if op.invoke.v.get("fence") is not None]
    for before, op in pairwise(fenced):
        if op.invoke.v["fence"] < before.invoke.v["fence"]:
            text = f"seq {op.answer['seq']} has a lower fence than seq {before.answer['seq']}"
            yield Violation("I6", story.device, text, (*before.events, *op.events))
    yield from _old_in_the_record(story)
    yield from _phone_obeys(story)


def _old_in_the_record(story: Story) -> Iterator[Violation]:
    """By the order of the server's own record, which also has what was asked before a grant and taken after it.

    Fences rise by one at least, so behind so many grants a lower one is an old one.
    """
    granted: list[Event] = []
    fences = {op.answer["seq"]: op for op in story.accepted.values() if op.invoke.v.get("fence") is not None}
    for event in sorted(story.facts["read_audit"], key=lambda event: int(event.v["n"])):
        if event.v.get("kind") == "grant":
            granted.append(event)
        op = fences.get(event.v.get("seq", 0)) if event.v.get("state") == "accepted" else None
        if op is not None and event.v.get("ear") is None and op.invoke.v["fence"] < len(granted):
            text = f"seq {event.v['seq']} was taken under fence {op.invoke.v['fence']} behind {len(granted)} grants"
            yield Violation("I6", story.device, text, (granted[-1], event, *op.events))


def _phone_obeys(story: Story) -> Iterator[Violation]:
    fences = {(offer.v["epoch"], offer.v["seq"]): offer for offer in story.facts["offer_in"]}
    highest: Event | None = None
    for journal in story.facts["journal"]:
        offer = fences.get((journal.v["epoch"], journal.v["seq"]))
        if journal.v["phase"] != "received" or offer is None or offer.v.get("fence") is None:
            continue
        if offer.v.get("mode") == "standard":
            # A package is under no lease.
            continue
        if highest is not None and offer.v["fence"] < highest.v["fence"]:
            text = f"the phone began fence {offer.v['fence']} after fence {highest.v['fence']}"
            yield Violation("I6", story.device, text, (highest, offer, journal))
        else:
            highest = offer


def one_answer_per_key(story: Story) -> Iterator[Violation]:
    """I8: the same key and words always get the same number and revision; the same key with other words is refused."""
    by_key: dict[str, list[Op]] = defaultdict(list)
    for op in story.changes:
        by_key[op.invoke.v["idem"]].append(op)
    for key, ops in by_key.items():
        taken = [op for op in ops if op.outcome == "ok"]
        for op in taken[1:]:
            if not _same_words(op, taken[0]):
                yield Violation("I8", story.device, f"key {key} was taken twice", (*taken[0].events, *op.events))
            elif any(op.answer[name] != taken[0].answer[name] for name in ("epoch", "seq", "rev")):
                yield Violation("I8", story.device, f"key {key} had two answers", (*taken[0].events, *op.events))
        for op in ops:
            if taken and _same_words(op, taken[0]) and _is_refused_after(op, taken[0]):
                text = f"key {key} was refused after it had been answered"
                yield Violation("I8", story.device, text, (*taken[0].events, *op.events))


def _same_words(one: Op, other: Op) -> bool:
    return bool(one.invoke.v["request"] == other.invoke.v["request"])


def _is_refused_after(op: Op, answered: Op) -> bool:
    is_later = answered.end is not None and op.invoke.t > answered.end.t
    return is_later and op.outcome == "fail" and op.answer["code"] not in _NOT_NOW


def _grants(story: Story) -> list[Op]:
    ops = [op for f in ("acquire", "steal") for op in story.ops[f] if op.outcome == "ok"]
    return sorted(ops, key=lambda op: op.invoke.t)


def _session(op: Op) -> tuple[str, str]:
    return op.invoke.v["holder"], op.invoke.v["session"]


class _Highest:
    """The highest grant that was answered before a moment."""

    def __init__(self, grants: list[Op]) -> None:
        answered = sorted(((op.end.t, op) for op in grants if op.end is not None), key=lambda pair: pair[0])
        self._times = [t for t, _ in answered]
        self._highest = list(accumulate((op for _, op in answered), _higher))

    def by(self, t: int) -> Op | None:
        """None when nothing was granted by ``t``."""
        place = bisect_left(self._times, t)
        return self._highest[place - 1] if place else None


def _higher(one: Op, other: Op) -> Op:
    return other if other.answer["fence"] > one.answer["fence"] else one
