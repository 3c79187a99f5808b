"""I3 order, I7 one stream, I11 numbers without gaps, and the real-time order of one fitter."""

from collections.abc import Iterator
from typing import Final

from tests.chaos.history import Event
from tests.chaos.paths import Paths
from tests.chaos.story import Key, Op, Story, key_of
from tests.chaos.violation import Violation

__all__ = ["in_order", "numbers_have_no_gaps", "one_stream", "real_time_order"]

GRACE_NS: Final = 1_500_000_000
"""Frames in flight to a replaced connection: one slow round trip, and longer on a machine that is late itself."""


def in_order(story: Story) -> Iterator[Violation]:
    """I3: seqs are offered, and written into each ear, in rising order; each only after the one before has ended."""
    highest: dict[str, Event] = {}
    for commit in story.facts["side_commit"]:
        place = f"{commit.v['ear']} {commit.v.get('memory', 'ram')}"
        before = highest.setdefault(place, commit)
        if commit.v["seq"] < before.v["seq"]:
            text = f"seq {commit.v['seq']} was written after seq {before.v['seq']} into the same ear"
            yield Violation("I3", story.device, text, (before, commit))
        else:
            highest[place] = commit
    yield from _offers_rise(story)
    yield from _one_after_the_other(story)


def _offers_rise(story: Story) -> Iterator[Violation]:
    seen: set[Key] = set()
    last: Event | None = None
    for offer in story.facts["offer_in"]:
        if key_of(offer) in seen:
            continue
        seen.add(key_of(offer))
        if last is not None and offer.v["seq"] < last.v["seq"]:
            text = f"seq {offer.v['seq']} was first offered after seq {last.v['seq']}"
            yield Violation("I3", story.device, text, (last, offer))
        last = offer


def _one_after_the_other(story: Story) -> Iterator[Violation]:
    """By the server's own record: nothing is offered while an earlier one has no end. Waiting for a tap is no work."""
    open_at: dict[int, Event] = {}
    for event in sorted(story.facts["read_audit"], key=lambda event: int(event.v["n"])):
        if event.v.get("ear") is not None or event.v.get("seq") is None:
            continue
        seq, state = event.v["seq"], event.v.get("state")
        if event.v.get("is_end") or state == "awaiting_install":
            open_at.pop(seq, None)
        elif state == "accepted":
            open_at[seq] = event
        elif state == "offered" and open_at and min(open_at) < seq:
            text = f"seq {seq} was offered before seq {min(open_at)} had ended"
            yield Violation("I3", story.device, text, (open_at[min(open_at)], event))


def one_stream(story: Story, paths: Paths) -> Iterator[Violation]:
    """I7: every attach has a generation of its own, and once it is welcomed no older one is offered anything."""
    by_generation: dict[int, Event] = {}
    for welcome in story.facts["welcome"]:
        first = by_generation.setdefault(welcome.v["gen"], welcome)
        if first is not welcome:
            text = f"two connections were both given generation {welcome.v['gen']}"
            yield Violation("I7", story.device, text, (first, welcome))
    welcomes, newest = iter(story.facts["welcome"]), None
    pending = next(welcomes, None)
    for offer in story.facts["offer_in"]:
        while pending is not None and pending.t + GRACE_NS < offer.t:
            if newest is None or pending.v["gen"] > newest.v["gen"]:
                newest = pending
            pending = next(welcomes, None)
        if offer.v["gen"] is None:
            continue  # the phone was killed before it took the answer to its hello
        if offer.v["gen"] not in by_generation:
            yield Violation("I7", story.device, "an offer came on a connection that was never welcomed", (offer,))
        elif newest is not None and offer.v["gen"] < newest.v["gen"] and not _was_in_flight(newest, offer, paths):
            text = (
                f"seq {offer.v['seq']} was offered to generation {offer.v['gen']} after {newest.v['gen']} was welcomed"
            )
            yield Violation("I7", story.device, text, (newest, offer))


def _was_in_flight(newer: Event, offer: Event, paths: Paths) -> bool:
    return offer.t <= newer.t + GRACE_NS + paths.lag_ms(newer.t, offer.t) * 1_000_000


def numbers_have_no_gaps(story: Story) -> Iterator[Violation]:
    """I11: the seqs of one log are 1 to n, and each stands for one revision for ever."""
    revisions: dict[Key, Op] = {}
    for op in story.changes:
        if op.outcome != "ok":
            continue
        first = revisions.setdefault((op.answer["epoch"], op.answer["seq"]), op)
        if first.answer["rev"] != op.answer["rev"]:
            text = f"seq {op.answer['seq']} was given to two revisions"
            yield Violation("I11", story.device, text, (*first.events, *op.events))
    for key, op in revisions.items():
        held = story.revision_at.get(key[1])
        if held is not None and held.v["rev"] != op.answer["rev"]:
            text = f"seq {key[1]} was answered with one revision and is another now"
            yield Violation("I11", story.device, text, (*op.events, held))
    for read in story.facts["read_device"][-1:]:
        numbers = {seq for _, seq in story.deliveries}
        missing = sorted(set(range(1, read.v["last_seq"] + 1)) - numbers)
        beyond = sorted(seq for seq in numbers if seq > read.v["last_seq"])
        if missing or beyond:
            text = f"the log says {read.v['last_seq']} deliveries; missing {missing[:5]}, beyond {beyond[:5]}"
            yield Violation("I11", story.device, text, (read,))


def real_time_order(story: Story) -> Iterator[Violation]:
    """RT: what one fitter asks for after an answer has a larger number than that answer."""
    last: dict[str, Op] = {}
    first_try: dict[str, int] = {}
    for op in story.changes:
        asked_at = first_try.setdefault(op.invoke.v["idem"], op.invoke.t)
        if op.outcome != "ok":
            continue
        before = last.get(op.invoke.p)
        if before is None:
            last[op.invoke.p] = op
            continue
        if before.end is not None and asked_at > before.end.t and op.answer["seq"] <= before.answer["seq"]:
            text = f"seq {op.answer['seq']} was asked for after seq {before.answer['seq']} had been answered"
            yield Violation("RT", story.device, text, (*before.events, *op.events))
        if op.answer["seq"] > before.answer["seq"]:
            last[op.invoke.p] = op
