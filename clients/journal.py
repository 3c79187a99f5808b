"""What the phone must remember across a crash, so that a delivery is carried out exactly once.

A journal entry is saved *before* the first byte goes to an aid; it holds what each aid held then, so there
is always a way back. The records and their changes are pure; where they are kept is behind ``Journal``.
Read ``JournalEntry`` first, then ``JournalRecord``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from msgspec import UNSET, UnsetType

from clients.phone_session import Consent, Session
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import AttachAnswer, EarImage, Offer, Report, Settled
from protocol.contract.sessions import DeviceCause

__all__ = [
    "Back",
    "EarPlan",
    "Ended",
    "Journal",
    "JournalEntry",
    "JournalRecord",
    "MemoryJournal",
    "Notice",
    "Phase",
]

# In this order; what has ended is no longer under way: it is an ``Ended``.
Phase = Literal[
    "received",
    "awaiting_install",
    "writing:right",
    "verified:right",
    "writing:left",
    "verified:left",
    "committing:right",
    "committing:left",
    "back",
    "active:right",
    "active:left",
]
_PHASES: Final[Mapping[tuple[str, str | UnsetType], Phase]] = {
    ("awaiting_install", "right"): "awaiting_install",
    ("awaiting_install", "left"): "awaiting_install",
    ("writing", "right"): "writing:right",
    ("writing", "left"): "writing:left",
    ("confirmed", "right"): "verified:right",
    ("confirmed", "left"): "verified:left",
    ("rolled_back", "right"): "verified:right",
    ("rolled_back", "left"): "verified:left",
    ("failed", "right"): "verified:right",
    ("failed", "left"): "verified:left",
    ("committing", "right"): "committing:right",
    ("committing", "left"): "committing:left",
    ("active", "right"): "active:right",
    ("active", "left"): "active:left",
}
_MAX_AGREED: Final = 8
_WITHDRAWN: Final = frozenset({"superseded", "expired", "cancelled"})
_ENDS: Final = frozenset({"active", "rejected", "declined", "rolled_back", "failed"}) | _WITHDRAWN
_BEGUN: Final = frozenset({"writing", "indeterminate", "confirmed", "committing", "active", "rolled_back", "failed"})


@dataclass(frozen=True, slots=True)
class EarPlan:
    """One ear of a delivery: what the aid held before, and the digests before and after.

    ``before_nvm``, ``nvm_digest`` and ``target`` are there when the delivery goes on to NVM.
    """

    ear: Ear
    before: EarImage
    before_digest: str
    target_digest: str
    before_nvm: EarImage | None = None
    nvm_digest: str | None = None
    target: EarImage | None = None


@dataclass(frozen=True, slots=True)
class Back:
    """The pair has decided to go back. The ear to blame carries ``code``, the other ``E_PARTIAL``; None for both."""

    code: str
    ear: Ear | None = None
    loudness: int | None = None

    def code_of(self, ear: Ear) -> str:
        """What one ear is told with."""
        return self.code if self.ear in (None, ear) else "E_PARTIAL"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A delivery under way. ``reports`` are all that were made, in order, whether they arrived or not.

    ``stuck_at_s``: when an aid first did not keep what it was to keep, by the phone's clock. ``until_s``: when its time
    is over, by the same clock, as it counts since the start of the machine that is named ``boot``.
    """

    offer: Offer
    plans: tuple[EarPlan, ...]
    phase: Phase = "received"
    reports: tuple[Report, ...] = ()
    back: Back | None = None
    stuck_at_s: float | None = None
    until_s: float | None = None
    boot: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Which delivery it is."""
        return self.offer.epoch, self.offer.seq

    @property
    def is_committing(self) -> bool:
        """Whether a byte may have gone to NVM."""
        return any(report.state == "committing" for report in self.reports)

    @property
    def has_begun(self) -> bool:
        """Whether a byte may have gone to an aid."""
        return any(report.state in _BEGUN for report in self.reports)

    def last_state(self, ear: Ear) -> str | None:
        """What was reported of this ear last, None for nothing yet. That it waits, with ``received``, is no state."""
        states = (report.state for report in reversed(self.reports) if report.ear == ear)
        return next((state for state in states if state != "received"), None)

    def has_told(self, ear: Ear, state: str) -> bool:
        """Whether that was ever reported of this ear."""
        return any((report.ear, report.state) == (ear, state) for report in self.reports)

    def has_begun_on(self, ear: Ear) -> bool:
        """Whether a byte may have gone to this aid."""
        return any(report.ear == ear and report.state in _BEGUN for report in self.reports)

    def has_ended(self, ear: Ear) -> bool:
        """Whether this ear's end has been reported."""
        return self.last_state(ear) in _ENDS or self._is_confirmed_for_good(ear)

    def reported(self, report: Report) -> "JournalEntry":
        """With one more report, and in the phase that it stands for."""
        phase = _PHASES.get((report.state, report.ear), self.phase)
        return replace(self, reports=(*self.reports, report), phase=phase)

    def going_back(self, back: Back) -> "JournalEntry":
        """Decided once: the first reason stays."""
        return self if self.back is not None else replace(self, back=back, phase="back")

    def open_plans(self) -> tuple[EarPlan, ...]:
        """The ears that still have to be worked on, right first."""
        order = {ear: index for index, ear in enumerate(EARS)}
        plans = (plan for plan in self.plans if not self.has_ended(plan.ear))
        return tuple(sorted(plans, key=lambda plan: order[plan.ear]))

    def _is_confirmed_for_good(self, ear: Ear) -> bool:
        return self.offer.kind == "volatile" and self.last_state(ear) == "confirmed"


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery that has ended here, kept to give the same answer again.

    ``body_hash`` says what it was an answer to, "" for what never came.
    """

    epoch: str
    seq: int
    reports: tuple[Report, ...]
    body_hash: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the aids that the server has not been told yet; ``fence`` is that of the session, 0 for none.

    ``again``: how often it has happened once more since; what was read for the first time does not show it.
    """

    cause: DeviceCause
    fence: int = 0
    again: int = 0


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """All that a phone remembers. ``last_settled`` is the last seq that the *server* is known to hold an end for.

    ``ended`` is bounded by whoever appends to it, oldest first. ``awaiting`` are packages that wait for the wearer to
    install them, and hold nothing else back. ``public_key`` is what the first server signed with, "" for nothing yet.
    ``agreed`` are packages that the wearer has asked for by taking others back: epoch and seq, oldest first.
    """

    epoch: str = ""
    last_settled: int = 0
    fence_max: int = 0
    in_flight: JournalEntry | None = None
    ended: tuple[Ended, ...] = ()
    awaiting: tuple[JournalEntry, ...] = ()
    session: Session = field(default_factory=Session)
    consent: Consent | None = None
    public_key: str = ""
    notices: tuple[Notice, ...] = ()
    agreed: tuple[tuple[str, int], ...] = ()

    def reports_of(self, epoch: str, seq: int) -> tuple[Report, ...] | None:
        """What was reported of a delivery that has ended, None when none is remembered."""
        old = self.end_of(epoch, seq)
        return None if old is None else old.reports

    def end_of(self, epoch: str, seq: int) -> Ended | None:
        """The delivery of that number that has ended here, None when none is remembered."""
        return next((old for old in self.ended if (old.epoch, old.seq) == (epoch, seq)), None)

    def under_way(self, epoch: str, seq: int) -> JournalEntry | None:
        """The delivery of that number, in work or waiting for the wearer."""
        entries = self.awaiting if self.in_flight is None else (self.in_flight, *self.awaiting)
        return next((entry for entry in entries if entry.key == (epoch, seq)), None)

    def attached(self, answer: AttachAnswer) -> "JournalRecord":
        """The server said where it stands: its log, and the seq from which it goes on.

        While it is the same log, what has been settled stays so: ``Settled`` may overtake the answer. The first key
        that offers are signed with is kept for good.
        """
        last_settled = answer.from_seq - 1
        if answer.resume == "ok" and answer.epoch == self.epoch:
            last_settled = max(last_settled, self.last_settled)
        key = self.public_key or ("" if answer.public_key is UNSET else answer.public_key)
        return replace(self, epoch=answer.epoch, last_settled=last_settled, public_key=key)

    def settled(self, message: Settled) -> "JournalRecord":
        """The server holds an end for this seq. One of another log says nothing."""
        if message.epoch != self.epoch:
            return self
        return replace(self, last_settled=max(self.last_settled, message.seq))

    def seen_fence(self, fence: int, *, is_live: bool = True) -> "JournalRecord":
        """A fence only rises. A consent whose session had no fence yet is for the next live one."""
        consent = self.consent
        if is_live and consent is not None and consent.fence == 0:
            consent = replace(consent, fence=fence)
        return replace(self, fence_max=max(self.fence_max, fence), consent=consent)

    def begun(self, entry: JournalEntry) -> "JournalRecord":
        """A delivery is received; its fence is the lowest that is still obeyed."""
        offer = entry.offer
        return replace(self.seen_fence(offer.fence, is_live=offer.mode == "advanced"), in_flight=entry)

    def with_entry(self, entry: JournalEntry) -> "JournalRecord":
        """A delivery under way has moved."""
        if self.in_flight is not None and self.in_flight.key == entry.key:
            return replace(self, in_flight=entry)
        return replace(self, awaiting=tuple(entry if old.key == entry.key else old for old in self.awaiting))

    def put_aside(self) -> "JournalRecord":
        """The delivery in work waits for the wearer now, and others may go before it."""
        if self.in_flight is None:
            return self
        return replace(self, in_flight=None, awaiting=(*self.awaiting, self.in_flight))

    def taken_up(self, entry: JournalEntry) -> "JournalRecord":
        """The wearer has said yes: a delivery that was put aside is in work again."""
        awaiting = tuple(old for old in self.awaiting if old.key != entry.key)
        return replace(self, in_flight=entry, awaiting=awaiting)

    def finished(self, entry: JournalEntry, *, max_ended: int) -> "JournalRecord":
        """The delivery has ended: it is no longer under way, its reports are remembered, the oldest go."""
        new = Ended(entry.offer.epoch, entry.offer.seq, entry.reports, entry.offer.body_hash)
        ended = (*self.ended, new)[-max_ended:]
        in_flight = self.in_flight
        if in_flight is not None and in_flight.key == entry.key:
            in_flight = None
        awaiting = tuple(old for old in self.awaiting if old.key != entry.key)
        return replace(self, in_flight=in_flight, awaiting=awaiting, ended=ended)

    def remembering(self, ended: Ended, *, max_ended: int) -> "JournalRecord":
        """The answer to a delivery that was never under way."""
        return replace(self, ended=(*self.ended, ended)[-max_ended:])

    def agreeing(self, key: tuple[str, int]) -> "JournalRecord":
        """The wearer has asked for that package."""
        others = tuple(old for old in self.agreed if old != key)
        return replace(self, agreed=(*others[1 - _MAX_AGREED :], key))

    def noticed(self, notice: Notice) -> "JournalRecord":
        """Something to tell the server, once for each cause."""
        others = tuple(old for old in self.notices if old.cause != notice.cause)
        earlier = next((old for old in self.notices if old.cause == notice.cause), None)
        again = 0 if earlier is None else earlier.again + 1
        return replace(self, notices=(*others, replace(notice, again=again)))

    def told(self, notice: Notice) -> "JournalRecord":
        """The server knows of it; not of what was noted while it was being told."""
        return replace(self, notices=tuple(old for old in self.notices if old != notice))


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
