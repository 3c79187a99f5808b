"""What must be true at every instant of a run, by what was seen at the aids and said to people; never by asking.

Each violation names its rule and the moment. What must be true at the end is ``final``. Must not know what a step or a
fault is. Read ``Checks`` from the top.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from clients.journal import JournalEntry
from clients.phone_core import slots_of
from clients.virtual_aid.aid import AidChange
from clients.virtual_aid.pair import VirtualPair
from fitting.audiogram import STANDARD_AUDIOGRAMS
from fitting.digest import ear_digest
from fitting.limits import KERNEL_LIMITS, mpo_ceiling_ddb
from fitting.log_values import Delivery, LeaseGranted
from fitting.model import BAND_FIELDS
from fitting.prescription import sspl_3fa_db
from protocol.contract.base import EARS, Ear, Failure
from protocol.contract.devices import EarImage
from protocol.contract.fitting import SubmitAnswer

__all__ = ["AUDIOGRAM", "Checks", "Held", "Violation"]

AUDIOGRAM: Final = STANDARD_AUDIOGRAMS["N3"]
# The dead-man, and what a phone needs to come back and write.
_MIXED_S: Final = 30.0 + 15.0
_STARTLES_DDB: Final = 60
_NEVER_BEGUN: Final = frozenset({"superseded", "expired", "cancelled", "rejected", "declined"})


@dataclass(frozen=True, slots=True)
class Violation:
    """``rule`` is a stable word."""

    rule: str
    text: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.rule} at {self.at_s:.3f} s: {self.text}"


@dataclass(slots=True)
class Held:
    """What one memory has held: since when, and what."""

    since: list[tuple[float, str]] = field(default_factory=list)

    def note(self, at_s: float, digest: str) -> None:
        if not self.since or self.since[-1][1] != digest:
            self.since.append((at_s, digest))

    def ever(self, digest: str, *, after_s: float) -> bool:
        """Whether it held that at any time after."""
        ends = [*(at_s for at_s, _ in self.since[1:]), float("inf")]
        return any(held == digest and end_s >= after_s for (_, held), end_s in zip(self.since, ends, strict=True))


class Checks:
    """``now`` gives the time. ``spared``: rules that the faults of this run make meaningless.

    ``is_spoiled``: something has gone wrong, or hours have gone by, so that a phone may have lost its link.
    """

    def __init__(self, aids: VirtualPair, now: Callable[[], float]) -> None:
        self._aids, self._now = aids, now
        self.violations: list[Violation] = []
        self.spared: set[str] = set()
        self.ram: dict[Ear, Held] = {ear: Held() for ear in EARS}
        self.nvm: dict[Ear, Held] = {ear: Held() for ear in EARS}
        self.written: set[tuple[str, int]] = set()
        self.fence_written = 0
        self.fence_granted = 0
        self._generation = 0
        self._fence_when_asked: dict[str, int] = {}
        self._last_seq: dict[tuple[str, Ear], int] = {}
        self._answers: dict[str, tuple[bytes, SubmitAnswer]] = {}
        self._limits = {ear: self._mpo_limits(ear) for ear in EARS}
        self.accepted: dict[tuple[str, int], float] = {}
        self.ended: dict[tuple[str, int], str] = {}
        self.session_ends: Counter[str] = Counter()
        self.persist: set[int] = set()
        self._begun: dict[Ear, str] = {}
        self._over: dict[Ear, tuple[EarImage, EarImage | None]] = {}
        self.pairs: set[tuple[str, ...]] = set()
        self.is_live = self.is_spoiled = False
        self.hindered_until_s = 0.0
        self._mixed_since_s: float | None = None
        self.foreign: set[tuple[str, ...]] = set()
        for ear in EARS:
            self.know(ear)
        self.pairs.add(self._playing())

    def look(self, *, in_reach: bool) -> None:
        """From time to time: two ears of two revisions, with no session and nothing in the way of the phone."""
        now_s = self._now()
        is_one = self._playing() in self.pairs | self.foreign
        is_well = is_one or self.is_live or not in_reach
        if is_well or now_s < self.hindered_until_s:
            self._mixed_since_s = None
        elif self._mixed_since_s is None:
            self._mixed_since_s = now_s
        elif now_s - self._mixed_since_s > _MIXED_S:
            self.fail("mixed", f"the two aids play two revisions since {self._mixed_since_s:.1f} s")
            self._mixed_since_s = None

    def slept(self) -> None:
        """Time has passed in which nobody could do anything."""
        self._mixed_since_s = None
        self.is_spoiled = True

    def _playing(self) -> tuple[str, ...]:
        return tuple(self.ram[ear].since[-1][1] for ear in EARS)

    def foreign_pair(self) -> None:
        """Somebody else has written both memories of both aids."""
        for ear in EARS:
            self.know(ear)
        self.foreign.add(tuple(self.nvm[ear].since[-1][1] for ear in EARS))

    def fail(self, rule: str, text: str) -> None:
        """Something is not as it must be."""
        if rule not in self.spared:
            self.violations.append(Violation(rule, text, self._now()))

    def know(self, ear: Ear) -> None:
        """Look at both memories of an aid now."""
        aid = self._aids.aid(ear)
        self.ram[ear].note(self._now(), ear_digest(aid._ram))
        self.nvm[ear].note(self._now(), ear_digest(aid._nvm))

    # At the aids

    def changed(self, change: AidChange) -> None:
        """A memory has changed, if only by one chunk."""
        self._check_output(change.ear, change.image)
        self.know(change.ear)
        if change.what == "rebooted":
            # What was being written then is nobody's promise any more.
            self._begun = {ear: "" if ear == change.ear else digest for ear, digest in self._begun.items()}
            return
        known = self._begun.get(change.ear)
        if known is None:
            self.fail("phantom", f"{change.ear} has changed, and nobody has touched it")
        elif change.what == "written" and known not in ("", self.ram[change.ear].since[-1][1]):
            self._check_content(change)
        if change.what == "written" and change.ear in self._over:
            self._check_rise(change)
        if change.what != "chunk":
            del self._begun[change.ear]

    def touched(self, ear: Ear, what: Literal["write", "restore", "commit"], entry: JournalEntry | None) -> None:
        """A phone is about to do something to an aid."""
        self._begun[ear] = getattr(entry.offer.body.expect, ear) if what == "write" and entry is not None else ""
        self._over.pop(ear, None)
        if what == "write" and entry is not None and entry.offer.mode == "standard":
            [plan] = [plan for plan in entry.plans if plan.ear == ear]
            self._over[ear] = (self._aids.aid(ear)._ram, plan.target)
        if what != "write":
            return
        if entry is None:
            self.fail("journal", f"{ear} is written with no delivery in the journal")
            return
        key, offer = entry.key, entry.offer
        self.written.add(key)
        if offer.mode == "advanced" and offer.fence < self.fence_written:
            self.fail("fence", f"seq {offer.seq} of fence {offer.fence} is written after fence {self.fence_written}")
        self.fence_written = max(self.fence_written, offer.fence)
        if self.ended.get(key) in _NEVER_BEGUN:
            self.fail("ended", f"seq {offer.seq} is written, and had ended as {self.ended[key]}")
        if offer.seq < self._last_seq.get((key[0], ear), 0):
            self.fail("order", f"seq {offer.seq} is written to {ear} after seq {self._last_seq[key[0], ear]}")
        self._last_seq[key[0], ear] = offer.seq
        expected = getattr(offer.body.expect, ear)
        if slots_of(offer, ear) and ear_digest(self._aids.aid(ear)._ram) == expected:
            self.fail("twice", f"seq {offer.seq} is written to {ear}, which holds it")

    def _check_content(self, change: AidChange) -> None:
        """What is not the target yet is on the way there: a package, no level beyond either end."""
        before, target = self._over.get(change.ear, (None, None))
        if before is None or target is None or not _is_between(before, target, change.image):
            self.fail("content", f"{change.ear} was written, and does not hold what was offered")

    def _check_rise(self, change: AidChange) -> None:
        """Whoever chooses a package must not be startled by it."""
        if self.foreign:
            # A clinic may have written between the phone's look at an aid and its first byte, and nobody can know.
            return
        held = levels(self._over[change.ear][0])
        rise = max((value - held[place] for place, value in levels(change.image).items() if place in held), default=0)
        if rise > _STARTLES_DDB:
            self.fail("startled", f"{change.ear} plays something {rise / 10} dB louder from one moment to the next")

    # What the log said

    def granted(self, outcome: object) -> None:
        """A lease was asked for."""
        granted = getattr(outcome, "granted", outcome)
        if not isinstance(granted, LeaseGranted) or granted.renewed:
            return
        if granted.fence <= self.fence_granted:
            self.fail("fence", f"fence {granted.fence} is granted after {self.fence_granted}")
        self.fence_granted = max(self.fence_granted, granted.fence)

    def moved(self, epoch: str, seq: int, state: str, *, is_end: bool) -> None:
        """A delivery is in another state."""
        key = (epoch, seq)
        before = self.ended.get(key)
        if before is not None and before != state:
            self.fail("one end", f"seq {seq} has ended as {before} and is {state} now")
        if is_end:
            self.ended[key] = state

    def attached(self, generation: int) -> None:
        """A phone has attached."""
        self._generation = max(self._generation, generation)

    def offered(self, delivery: Delivery | None, generation: int) -> None:
        """A delivery was to be had for the connection of that generation."""
        if delivery is not None and generation < self._generation:
            self.fail("one stream", f"seq {delivery.seq} goes to generation {generation} after {self._generation}")

    # What people were told

    def asked(self, target: str, payload: Any) -> None:
        """A call is made, perhaps for the second time."""
        if target in ("Submit", "Save"):
            self._fence_when_asked.setdefault(payload.idempotency_key, self.fence_granted)

    def answered(self, target: str, payload: Any, answer: Any) -> None:
        """A call was answered."""
        if target not in ("Submit", "Save"):
            return
        body = msgspec.json.encode(payload)
        known = self._answers.get(payload.idempotency_key)
        if isinstance(answer, SubmitAnswer):
            granted = self._fence_when_asked[payload.idempotency_key]
            if getattr(payload, "mode", "advanced") == "advanced" and payload.fence < granted:
                self.fail("fence", f"seq {answer.seq} is accepted under fence {payload.fence} after {granted}")
            self.accepted.setdefault((answer.epoch, answer.seq), self._now())
            if known is not None and known != (body, answer):
                self.fail("idempotency", f"one key, two answers: seq {known[1].seq} and seq {answer.seq}")
            self._answers[payload.idempotency_key] = (body, answer)
        elif known is not None and known[0] == body:
            self.fail("idempotency", f"one key: accepted as seq {known[1].seq}, then {answer.error.code}")

    def submitted(self, answer: Any, *, lowers: bool) -> None:
        """A change was asked for; ``lowers``: of all three gains of a band together."""
        if lowers and isinstance(answer, Failure) and answer.error.code in ("unsafe", "frozen"):
            self.fail("lowering", f"lowering was refused: {answer.error.code} {answer.error.rule}")

    # Within

    def _mpo_limits(self, ear: Ear) -> tuple[int, ...]:
        """K2 and K3, and what the aid had before anybody fitted it."""
        aid = self._aids.aid(ear)
        prescribed = round(sspl_3fa_db(AUDIOGRAM.ears[ear]) * 10) + KERNEL_LIMITS.loudness_margin_reasoned_ddb
        limit = min(mpo_ceiling_ddb(aid.sheet), aid.sheet.mpo_max_ddb, prescribed)
        return tuple(max(limit, value) for value in aid._nvm.slots[0].program.mpo_ddb)

    def _check_output(self, ear: Ear, image: EarImage) -> None:
        limits: Mapping[Ear, tuple[int, ...]] = self._limits
        for slot in image.slots:
            if any(value > limit for value, limit in zip(slot.program.mpo_ddb, limits[ear], strict=True)):
                self.fail("too loud", f"{ear} could play up to {max(slot.program.mpo_ddb)} tenths of dB SPL")


def _is_between(before: EarImage, target: EarImage, now: EarImage) -> bool:
    held, aim = levels(before), levels(target)
    return all(
        place in aim and min(held[place], aim[place]) <= value <= max(held[place], aim[place])
        for place, value in levels(now).items()
        if place in held
    )


def levels(image: EarImage) -> dict[tuple[int, str, int], int]:
    """Every level of an image, by program, path and band."""
    return {
        (slot.slot, field, band): value
        for slot in image.slots
        for field in BAND_FIELDS.values()
        for band, value in enumerate(getattr(slot.program, field))
    }
