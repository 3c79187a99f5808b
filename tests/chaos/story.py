"""A merged history taken apart: per device its operations, its facts and the final reads, each found at once.

Built in one pass, so that every invariant is a scan and the whole check stays O(n log n). It must not know what is
right or wrong. Read ``Story`` first, then ``stories``.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.chaos.history import Event

__all__ = ["APPLIED", "ENDS", "UNTOUCHED", "Key", "Op", "Outcome", "Story", "key_of", "stories"]

TAKEN_BACK: Final = "taken back by its wearer"
Key = tuple[str, int]
"""A delivery: epoch and seq."""
Outcome = Literal["ok", "fail", "info"]
APPLIED: Final = frozenset({"confirmed", "active"})
UNTOUCHED: Final = frozenset({"rejected", "declined", "superseded", "expired", "cancelled"})
ENDS: Final = {
    "volatile": frozenset({"confirmed", "rolled_back", "failed"}) | UNTOUCHED,
    "persist": frozenset({"active", "rolled_back", "failed"}) | UNTOUCHED,
}


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a fitter; ``end`` is None when the process never heard of it again."""

    invoke: Event
    end: Event | None

    @property
    def outcome(self) -> Outcome:
        """``info`` means that it may have happened or not."""
        return "info" if self.end is None or self.end.type == "invoke" else self.end.type

    @property
    def events(self) -> tuple[Event, ...]:
        """Both ends."""
        return (self.invoke,) if self.end is None else (self.invoke, self.end)

    @property
    def answer(self) -> dict[str, Any]:
        """What came back, empty for nothing."""
        return {} if self.end is None else self.end.v

    @property
    def kind(self) -> str:
        """``volatile`` or ``persist``; saving is persisting."""
        return "persist" if self.invoke.f == "save" else str(self.invoke.v.get("kind", "volatile"))


@dataclass(slots=True)
class Story:
    """All that concerns one device, in the order of the clock.

    ``facts`` are by name, ``ops`` by operation, ``accepted`` by delivery: the first fitter who was told of it.
    ``revision_at`` and ``deliveries`` are what there was at the end; every change has a reason of its own, by
    which ``asked`` finds who asked for a revision.
    """

    device: str
    events: list[Event] = field(default_factory=list)
    facts: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    ops: dict[str, list[Op]] = field(default_factory=lambda: defaultdict(list))
    changes: list[Op] = field(default_factory=list)
    accepted: dict[Key, Op] = field(default_factory=dict)
    asked: dict[str, list[Op]] = field(default_factory=lambda: defaultdict(list))
    deliveries: dict[Key, Event] = field(default_factory=dict)
    revision_at: dict[int, Event] = field(default_factory=dict)
    row_kinds: dict[int, str] = field(default_factory=dict)

    def origins(self, key: Key) -> list[Op]:
        """Who asked for a delivery: all tries of one request, found by what was answered or by its reason."""
        if key in self.accepted:
            return self.asked[self.accepted[key].invoke.v["reason"]]
        revision = self.revision_at.get(key[1])
        return [] if revision is None else self.asked.get(revision.v["reason"], [])

    def kind_of(self, key: Key) -> str:
        """``volatile`` or ``persist``, by what was asked for, else by the row that there is in the end."""
        origins = self.origins(key)
        return origins[0].kind if origins else self.row_kinds.get(key[1], "volatile")

    def takes_back(self, seq: int) -> bool:
        """Whether it is what a wearer has asked for, by not keeping a package."""
        revision = self.revision_at.get(seq)
        return revision is not None and revision.v["reason"] == TAKEN_BACK

    def expected(self, key: Key) -> dict[str, str]:
        """The digests by ear that a delivery is to lead to, as the server said; empty when it never said."""
        if key in self.accepted:
            digests: dict[str, str] = self.accepted[key].answer["digests"]
        else:
            revision = self.revision_at.get(key[1])
            digests = {} if revision is None else revision.v["digests"]
        return digests


def key_of(event: Event) -> Key:
    """The delivery that an event speaks of; of none when an aid is put back outside of one."""
    return event.v.get("epoch", ""), event.v.get("seq", 0)


def stories(history: Iterable[Event]) -> dict[str, Story]:
    """One story per device that is named anywhere."""
    found: dict[str, Story] = {}
    open_ops: dict[str, Event] = {}
    for event in history:
        story = found.setdefault(event.dev, Story(event.dev))
        story.events.append(event)
        invoke = open_ops.pop(event.p, None)
        if event.type == "invoke":
            _close(found, invoke, None)
            open_ops[event.p] = event
        elif invoke is not None and (invoke.f, invoke.dev) == (event.f, event.dev):
            _close(found, invoke, event)
        else:
            if invoke is not None:
                open_ops[event.p] = invoke
            _tell(story, event)
    for invoke in open_ops.values():
        _close(found, invoke, None)
    found.pop("", None)
    for story in found.values():
        _index(story)
    return found


def _close(found: dict[str, Story], invoke: Event | None, end: Event | None) -> None:
    if invoke is not None:
        found[invoke.dev].ops[invoke.f].append(Op(invoke, end))


def _tell(story: Story, event: Event) -> None:
    story.facts[event.f].append(event)
    if event.f == "read_delivery":
        story.deliveries[key_of(event)] = event


def _index(story: Story) -> None:
    for ops in story.ops.values():
        ops.sort(key=lambda op: op.invoke.t)
    revisions = {event.v["rev"]: event for event in story.facts["read_revision"]}
    rows = ((row.v["seq"], revisions.get(row.v["rev"])) for row in story.facts["read_row"])
    story.revision_at = {seq: revision for seq, revision in rows if revision is not None}
    story.row_kinds = {row.v["seq"]: row.v.get("kind", "volatile") for row in story.facts["read_row"]}
    story.changes = sorted(story.ops["submit"] + story.ops["save"], key=lambda op: op.invoke.t)
    for op in story.changes:
        story.asked[op.invoke.v["reason"]].append(op)
        if op.outcome == "ok":
            story.accepted.setdefault((op.answer["epoch"], op.answer["seq"]), op)
