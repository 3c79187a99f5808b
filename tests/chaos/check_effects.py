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
    written: dict[Key, Event] = {}
    for commit in story.facts["side_commit"]:
        written.setdefault(key_of(commit), commit)
    for key, final in story.deliveries.items():
        yield from _judge_end(story, key, final, written.get(key), proofs)


def _judge_end(
    story: Story, key: Key, final: Event, commit: Event | None, proofs: dict[tuple[Key, str], tuple[Event, bool]]
) -> Iterator[Violation]:
    state, origins = final.v["state"], story.origins(key)
    kind = origins[0].kind if origins else "volatile"
    if state not in ENDS[kind]:
        yield Violation("I1", story.device, f"seq {key[1]} is still {state} after the drain", (final,))
    if state in UNTOUCHED and commit is not None:
        yield Violation("I1", story.device, f"seq {key[1]} ended as {state}, but was written", (commit, final))
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
    """Per delivery and ear: the last report of success, and whether the aid held what it was to hold just then."""
    proofs: dict[tuple[Key, str], tuple[Event, bool]] = {}
    for event, held in replay(story):
        if event.f != "result_out" or event.v["state"] not in APPLIED:
            continue
        key, ear = key_of(event), event.v["ear"]
        memory = "nvm" if event.v["state"] == "active" else "ram"
        is_true = held.digests.get((ear, memory)) == story.expected(key).get(ear)
        known = proofs.get((key, ear))
        # The same words again, from the journal, may come when the aid has long moved on.
        proofs[key, ear] = (event, is_true or (known is not None and known[1]))
    return proofs


def no_duplicate(story: Story) -> Iterator[Violation]:
    """I2: no delivery is brought to its end twice in one memory of one ear with nothing else done in between."""
    last: dict[tuple[str, str], Event] = {}
    for event, _ in replay(story):
        if event.f not in {"chunk", "side_commit", "restore", "reboot"}:
            continue
        place = event.v["ear"], event.v.get("memory", "ram")
        before = last.get(place)
        is_same = before is not None and event.f in {"chunk", "side_commit"} and key_of(before) == key_of(event)
        if event.f == "side_commit":
            if before is not None and is_same and before.v["digest"] == event.v["digest"]:
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
    by_reason: dict[str, Event] = {}
    for revision in story.revision_at.values():
        first = by_reason.setdefault(revision.v["reason"], revision)
        if first is not revision:
            text = f"one request became two deliveries, seq {first.v['seq']} and {revision.v['seq']}"
            yield Violation("I4", story.device, text, (first, revision))
