"""What the phone must remember across a crash, so that a delivery is carried out exactly once.

A journal entry is saved *before* the first byte goes to an aid; it holds what each aid held then, so there
is always a way back. The records and their changes are pure; where they are kept is behind ``Journal``.
Read ``JournalEntry`` first, then ``MemoryJournal``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from msgspec import UnsetType

from protocol.contract.base import EARS, Ear
from protocol.contract.devices import AttachAnswer, EarImage, Offer, Report, Settled

__all__ = [
    "EarPlan",
    "Ended",
    "Journal",
    "JournalEntry",
    "JournalRecord",
    "MemoryJournal",
    "Phase",
]

# In this order; what has ended is no longer under way: it is an ``Ended``.
Phase = Literal["received", "writing:right", "verified:right", "writing:left", "verified:left"]
_PHASES: Final[Mapping[tuple[str, str | UnsetType], Phase]] = {
    ("writing", "right"): "writing:right",
    ("confirmed", "right"): "verified:right",
    ("rolled_back", "right"): "verified:right",
    ("failed", "right"): "verified:right",
    ("writing", "left"): "writing:left",
    ("confirmed", "left"): "verified:left",
    ("rolled_back", "left"): "verified:left",
    ("failed", "left"): "verified:left",
}
_ENDS = frozenset({"confirmed", "rejected", "rolled_back", "failed"})


@dataclass(frozen=True, slots=True)
class EarPlan:
    """One ear of a delivery: what the aid held before, and the digests before and after."""

    ear: Ear
    before: EarImage
    before_digest: str
    target_digest: str


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A delivery under way. ``reports`` are all that were made, in order, whether they arrived or not."""

    offer: Offer
    plans: tuple[EarPlan, ...]
    phase: Phase = "received"
    reports: tuple[Report, ...] = ()

    def last_state(self, ear: Ear) -> str | None:
        """What was reported of this ear last, None for nothing yet."""
        return next((report.state for report in reversed(self.reports) if report.ear == ear), None)

    def has_ended(self, ear: Ear) -> bool:
        """Whether this ear's end has been reported."""
        return self.last_state(ear) in _ENDS

    def reported(self, report: Report) -> "JournalEntry":
        """With one more report, and in the phase that it stands for."""
        phase = _PHASES.get((report.state, report.ear), self.phase)
        return replace(self, reports=(*self.reports, report), phase=phase)

    def open_plans(self) -> tuple[EarPlan, ...]:
        """The ears that still have to be worked on, right first."""
        order = {ear: index for index, ear in enumerate(EARS)}
        plans = (plan for plan in self.plans if not self.has_ended(plan.ear))
        return tuple(sorted(plans, key=lambda plan: order[plan.ear]))


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that has ended here, kept to give the same answer again."""

    epoch: str
    seq: int
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """All that a phone remembers. ``last_settled`` is the last seq that the *server* is known to hold an end for.

    ``ended`` is bounded by whoever appends to it, oldest first.
    """

    epoch: str = ""
    last_settled: int = 0
    fence_max: int = 0
    in_flight: JournalEntry | None = None
    ended: tuple[Ended, ...] = ()

    def reports_of(self, epoch: str, seq: int) -> tuple[Report, ...] | None:
        """What was reported of a delivery that has ended, None when none is remembered."""
        return next((old.reports for old in self.ended if (old.epoch, old.seq) == (epoch, seq)), None)

    def attached(self, answer: AttachAnswer) -> "JournalRecord":
        """The server said where it stands: its log, and the seq from which it goes on.

        While it is the same log, what has been settled stays so: ``Settled`` may overtake the answer.
        """
        last_settled = answer.from_seq - 1
        if answer.resume == "ok" and answer.epoch == self.epoch:
            last_settled = max(last_settled, self.last_settled)
        return replace(self, epoch=answer.epoch, last_settled=last_settled)

    def settled(self, message: Settled) -> "JournalRecord":
        """The server holds an end for this seq. One of another log says nothing."""
        if message.epoch != self.epoch:
            return self
        return replace(self, last_settled=max(self.last_settled, message.seq))

    def begun(self, entry: JournalEntry) -> "JournalRecord":
        """A delivery is received; its fence is the lowest that is still obeyed."""
        return replace(self, in_flight=entry, fence_max=max(self.fence_max, entry.offer.fence))

    def with_entry(self, entry: JournalEntry) -> "JournalRecord":
        """The delivery under way has moved."""
        return replace(self, in_flight=entry)

    def finished(self, entry: JournalEntry, *, max_ended: int) -> "JournalRecord":
        """The delivery has ended: nothing is under way, its reports are remembered, the oldest go."""
        ended = Ended(entry.offer.epoch, entry.offer.seq, entry.reports)
        return replace(self, in_flight=None, ended=(*self.ended, ended)[-max_ended:])


class Journal(Protocol):
    """Keeps one ``JournalRecord``. ``save`` returns only when the record would survive a crash; all or nothing."""

    def load(self) -> JournalRecord:
        """The record that was saved last, an empty one at first."""
        ...

    def save(self, record: JournalRecord) -> None:
        """Replace the record."""
        ...


class MemoryJournal:
    """A journal that lives as long as its object: it survives a phone object, not a process."""

    def __init__(self) -> None:
        self._record = JournalRecord()
        self.saves = 0

    def load(self) -> JournalRecord:
        """The record that was saved last."""
        return self._record

    def save(self, record: JournalRecord) -> None:
        """Replace the record."""
        self._record = record
        self.saves += 1
