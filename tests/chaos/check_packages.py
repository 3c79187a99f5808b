"""Packages: nothing is installed that its wearer did not want or that had come to its end; what they came to in all.

That they end once, in order, and are never written in part is judged with all other changes. Read
``the_wearer_decides`` first.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.chaos.history import Event
from tests.chaos.story import Key, Story, key_of
from tests.chaos.violation import Violation

__all__ = ["ENDS", "not_after_its_time", "package_counts", "the_wearer_decides", "undo_brings_back"]

ENDS: Final = frozenset({"active", "declined", "superseded", "expired", "cancelled", "undone", "made way"})
# A phone counts from when an offer came, and a frozen one goes on where it was.
GRACE_NS: Final = 10_000_000_000


def the_wearer_decides(story: Story) -> Iterator[Violation]:
    """I4: no package is written into the aids of a wearer who never says yes."""
    said = {event.v["installs"] for event in story.facts["wearer"]}
    if not said or "yes" in said:
        return
    for commit in _written(story):
        text = f"seq {commit.v['seq']} was installed, and its wearer never said yes"
        yield Violation("I4", story.device, text, (commit,))
        return


def not_after_its_time(story: Story) -> Iterator[Violation]:
    """I1: what has expired is not begun."""
    begun: set[Key] = set()
    for commit in _written(story):
        key = key_of(commit)
        op = story.accepted.get(key)
        if key in begun or op is None or op.end is None:
            continue
        begun.add(key)
        expires_in_s = op.invoke.v.get("expires_in_s")
        if expires_in_s is not None and commit.t > op.end.t + expires_in_s * 1_000_000_000 + GRACE_NS:
            text = f"seq {key[1]} was written long after its {expires_in_s} s"
            yield Violation("I1", story.device, text, (*op.events, commit))


def undo_brings_back(story: Story) -> Iterator[Violation]:
    """I4: what the wearer gets for a package that they take back was there before."""
    asked = {revision.v["rev"] for revision in story.revision_at.values()}
    found = (read for read in story.facts["read_revision"] if read.v["rev"] not in asked)
    known = {tuple(sorted(read.v["digests"].items())) for read in found}
    for seq, revision in sorted(story.revision_at.items()):
        digests = tuple(sorted(revision.v["digests"].items()))
        if story.takes_back(seq) and digests not in known:
            text = f"seq {seq} brings back what was never there"
            yield Violation("I4", story.device, text, (revision,))
        known.add(digests)


def _written(story: Story) -> list[Event]:
    packages = {key_of(offer) for offer in story.facts["offer_in"] if offer.v.get("mode") == "standard"}
    return [commit for commit in story.facts["side_commit"] if key_of(commit) in packages]


def package_counts(story: Story) -> Counter[str]:
    """How many were sent, what they came to, how many gave way to live work, and how many were taken back."""
    counts: Counter[str] = Counter()
    packages = {row.v["seq"] for row in story.facts["read_row"] if row.v.get("mode") == "standard"}
    for (_, seq), final in story.deliveries.items():
        if seq in packages:
            counts["sent"] += 1
            counts[final.v["state"]] += 1
            # With no newer package it was live work that it gave way to.
            counts["made way"] += final.v["state"] == "superseded" and seq + 1 not in packages
    counts["undone"] = sum(event.v.get("state") == "undone" for event in story.facts["read_audit"])
    return counts
