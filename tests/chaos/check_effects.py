"""I1 no loss, I2 no duplicate effect, I4 no phantom: what was asked for, what was written, and what was said of it."""

from collections.abc import Iterator

from tests.chaos.history import Event
from tests.chaos.images import replay
from tests.chaos.story import APPLIED, ENDS, UNTOUCHED, Key, Story, key_of
from tests.chaos.violation import Violation

__all__ = ["no_duplicate", "no_loss", "no_phantom"]


def no_loss(story: Story) -> Iterator[Violation]:
    """I1: every accepted change has one end; it is an applied one exactly when the aids were written and read so."""
    for key, op in story.accepted.items():
        if key not in story.deliveries:
            yield Violation(
                "I1", story.device, f"seq {key[1]} was accepted, and the server knows nothing of it", op.events
            )
    proofs = _proofs(story)
    for commit in story.facts["side_commit"]:
        final = story.deliveries.get(key_of(commit))
        state = None if final is None else final.v["ears"].get(commit.v["ear"])
        if final is not None and state in UNTOUCHED:
            text = f"seq {final.v['seq']} ended as {state} in the {commit.v['ear']} aid, but was written there"
            yield Violation("I1", story.device, text, (commit, final))
    for key, final in story.deliveries.items():
        yield from _judge_end(story, key, final, proofs)


def _judge_end(
    story: Story, key: Key, final: Event, proofs: dict[tuple[Key, str], tuple[Event, bool]]
) -> Iterator[Violation]:
    state = final.v["state"]
    if state not in ENDS[story.kind_of(key)]:
        yield Violation("I1", story.device, f"seq {key[1]} is still {state} after the drain", (final,))
    if state not in APPLIED:
        return
    for ear in final.v["ears"]:
        said, is_true = proofs.get((key, ear), (None, False))
        if said is None:
            text = f"seq {key[1]} is {state}, and the phone never said so of the {ear} ear"
            yield Violation("I1", story.device, text, (final,))
        elif not is_true:
            text = f"seq {key[1]} is {state}, but the {ear} aid held something else when the phone said so"
            yield Violation("I1", story.device, text, (said, final))


def _proofs(story: Story) -> dict[tuple[Key, str], tuple[Event, bool]]:
    """Per delivery and ear: the last report of success, and whether the aid ever held what it was to hold.

    A report may be told again long after the aid has moved on; what counts is what it held while the journal was open.
    """
    proven: set[tuple[Key, str]] = set()
    said: dict[tuple[Key, str], Event] = {}
    for event, held in replay(story):
        if event.f == "result_out" and event.v["state"] in APPLIED:
            said[key_of(event), event.v["ear"]] = event
        key = held.key if event.f != "result_out" else key_of(event)
        if key is None:
            continue
        memory = "nvm" if story.kind_of(key) == "persist" else "ram"
        for ear, digest in story.expected(key).items():
            if held.digests.get((ear, memory)) == digest:
                proven.add((key, ear))
    return {place: (event, place in proven) for place, event in said.items()}


def no_duplicate(story: Story) -> Iterator[Violation]:
    """I2: no delivery is brought to its end twice in one memory of one ear with nothing else done in between.

    An aid that was made to lie when it was read is written once more: its phone cannot know.
    """
    last: dict[tuple[str, str], Event] = {}
    lies = [event for event in story.facts["start"] if event.v["fault"] == "aid_lies"]
    for event, _ in replay(story):
        if event.f not in {"chunk", "side_commit", "restore", "reboot"}:
            continue
        place = event.v["ear"], event.v.get("memory", "ram")
        before = last.get(place)
        is_same = before is not None and event.f in {"chunk", "side_commit"} and key_of(before) == key_of(event)
        if event.f == "side_commit":
            if before is not None and is_same and before.v["digest"] == event.v["digest"]:
                if lies and lies[0].t < event.t:
                    lies.pop(0)
                    continue
                text = f"seq {event.v['seq']} was written twice into the {place[0]} aid"
                yield Violation("I2", story.device, text, (before, event))
            last[place] = event
        elif before is not None and not is_same and event.v["digest"] != before.v["digest"]:
            del last[place]


def no_phantom(story: Story) -> Iterator[Violation]:
    """I4: what is offered or written was asked for, in those words, once; what was refused is never offered."""
    seen: set[Key] = set()
    for offer in story.facts["offer_in"]:
        key = key_of(offer)
        if key in seen:
            continue
        seen.add(key)
        origins = story.origins(key)
        if story.takes_back(key[1]):
            continue
        if not origins:
            yield Violation("I4", story.device, f"seq {key[1]} was offered, and nobody asked for it", (offer,))
        elif all(op.outcome == "fail" for op in origins):
            text = f"seq {key[1]} was offered although it had been refused"
            yield Violation("I4", story.device, text, (*origins[0].events, offer))
        elif offer.v["expect"] != story.expected(key):
            text = f"seq {key[1]} was offered with another body than was accepted"
            yield Violation("I4", story.device, text, (*origins[0].events, offer))
    for commit in story.facts["side_commit"]:
        if key_of(commit) not in seen:
            yield Violation("I4", story.device, f"seq {commit.v['seq']} was written and never offered", (commit,))
    yield from _once(story)


def _once(story: Story) -> Iterator[Violation]:
    by_reason: dict[str, tuple[int, Event]] = {}
    for seq, revision in story.revision_at.items():
        if story.takes_back(seq):
            continue
        first_seq, first = by_reason.setdefault(revision.v["reason"], (seq, revision))
        if first_seq != seq:
            text = f"one request became two deliveries, seq {first_seq} and {seq}"
            yield Violation("I4", story.device, text, (first, revision))
