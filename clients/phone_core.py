"""What the phone makes of an offer, before anything is written: pure, a list of rules in order.

Two questions. ``place``: have I seen this delivery, and does it follow on what I know? ``examine``: is it
genuine, for these aids, inside what they can do, and based on what they hold now? No clock, no link, no
journal: all of that is passed in. What then happens to each aid is ``clients.ear_work``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from clients.journal import EarPlan, JournalRecord
from fitting.capability import CapabilitySheet
from fitting.digest import body_hash, ear_digest
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, Images, Offer, Report, ReportedState, SlotImage, Target
from protocol.contract.fitting import EarProgram

__all__ = [
    "AidFacts",
    "Examined",
    "Place",
    "Refused",
    "ears_of",
    "examine",
    "place",
    "refusal_report",
    "report_on",
    "slots_of",
]


class Place(StrEnum):
    """Where an offer stands in what the phone remembers."""

    ATTACH = "attach"
    """It does not follow on what is known here: say hello again, write nothing."""
    REPLAY = "replay"
    """It has ended here: give the same reports again, write nothing."""
    RESUME = "resume"
    """It is under way here: go on."""
    NEW = "new"


@dataclass(frozen=True, slots=True)
class AidFacts:
    """What one aid says of itself, just read. ``sheet`` is None for a model that the phone does not know."""

    serial: str
    firmware: str
    sheet: CapabilitySheet | None
    ram: EarImage


@dataclass(frozen=True, slots=True)
class Refused:
    """A report that ends the offer, or one ear of it, with nothing written."""

    code: str
    ear: Ear | None = None
    state: ReportedState = "rejected"
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """Either the ears to work on, or the refusals to report; never both."""

    plans: tuple[EarPlan, ...] = ()
    refusals: tuple[Refused, ...] = ()


def slots_of(offer: Offer, ear: Ear) -> tuple[SlotImage, ...]:
    """The slots to write into one ear, none for an ear that does not change."""
    return offer.body.right if ear == "right" else offer.body.left


def ears_of(offer: Offer) -> tuple[Ear, ...]:
    """The ears that change, right first."""
    return tuple(ear for ear in EARS if slots_of(offer, ear))


def _is_remembered(offer: Offer, record: JournalRecord) -> bool:
    return record.reports_of(offer.epoch, offer.seq) is not None


def _is_under_way(offer: Offer, record: JournalRecord) -> bool:
    entry = record.in_flight
    return entry is not None and (entry.offer.seq, entry.offer.body_hash) == (offer.seq, offer.body_hash)


# The first rule that holds decides.
_PLACES: Final[tuple[tuple[Callable[[Offer, JournalRecord], bool], Place], ...]] = (
    (lambda offer, record: offer.epoch != record.epoch, Place.ATTACH),
    (_is_remembered, Place.REPLAY),
    (_is_under_way, Place.RESUME),
    (lambda _, record: record.in_flight is not None, Place.ATTACH),
    (lambda offer, record: offer.after != record.last_settled, Place.ATTACH),
    (lambda offer, record: offer.seq <= record.last_settled, Place.ATTACH),
)


def place(offer: Offer, record: JournalRecord) -> Place:
    """Whether to start, go on, answer again or attach anew."""
    return next((where for holds, where in _PLACES if holds(offer, record)), Place.NEW)


def examine(offer: Offer, record: JournalRecord, facts: Mapping[Ear, AidFacts | None]) -> Examined:
    """The work to do, one plan per ear that changes, or why none of it is done.

    ``facts`` has None for an aid that cannot be reached and no key for an ear without an aid. An ear that
    cannot be written keeps the other from being written too (``E_PARTIAL``): they were checked as a pair.
    """
    whole = _refusal_of_offer(offer, record)
    if whole is not None:
        return Examined(refusals=(Refused(whole),))
    judged = {ear: _judge_ear(offer, ear, facts) for ear in ears_of(offer)}
    plans = tuple(verdict for verdict in judged.values() if isinstance(verdict, EarPlan))
    if len(plans) == len(judged):
        return Examined(plans=plans)
    refusals = (
        verdict if isinstance(verdict, Refused) else Refused("E_PARTIAL", ear) for ear, verdict in judged.items()
    )
    return Examined(refusals=tuple(refusals))


def _refusal_of_offer(offer: Offer, record: JournalRecord) -> str | None:
    if body_hash(offer.body) != offer.body_hash:
        return "E_SIG"
    if offer.fence < record.fence_max:
        return "E_FENCE"
    if not ears_of(offer):
        return "E_RANGE"
    # A commit to NVM needs the two-phase rule of both ears; this phone does trials in RAM.
    return "E_CAPABILITY" if offer.kind != "volatile" else None


def _judge_ear(offer: Offer, ear: Ear, facts: Mapping[Ear, AidFacts | None]) -> EarPlan | Refused:
    target = _target(offer, ear)
    if ear not in facts or target is None:
        return Refused("E_DEVICE", ear)
    aid = facts[ear]
    if aid is None:
        return Refused("E_BLE_BEFORE", ear, state="failed")
    if aid.serial != target.serial or aid.ram.ear != ear:
        return Refused("E_DEVICE", ear)
    if aid.firmware != target.firmware:
        return Refused("E_FIRMWARE", ear)
    if aid.sheet is None or (offer.body.bands_hz, offer.body.refs) != (aid.ram.bands_hz, aid.ram.refs):
        return Refused("E_CAPABILITY", ear)
    return _judge_content(offer, ear, aid.ram, aid.sheet)


def _judge_content(offer: Offer, ear: Ear, ram: EarImage, sheet: CapabilitySheet) -> EarPlan | Refused:
    before, target = _digests(offer, ear)
    current, slots = ear_digest(ram), slots_of(offer, ear)
    if not all(_in_range(slot.program, sheet) and slot.slot <= sheet.slots for slot in slots):
        return Refused("E_RANGE", ear, digest=current)
    if before is None or target is None or current not in {before, target}:
        return Refused("E_BASE", ear, digest=current)
    # Writing this would not give what was signed for: server and phone disagree, so nobody writes.
    if ear_digest(_with_slots(ram, slots)) != target:
        return Refused("E_RANGE", ear, digest=current)
    return EarPlan(ear=ear, before=ram, before_digest=current, target_digest=target)


def _in_range(program: EarProgram, sheet: CapabilitySheet) -> bool:
    """The phone's own copy of rule K1: whatever the server says, an aid gets nothing outside its sheet."""
    bands = len(sheet.bands_hz)
    gains = (program.g50_ddb, program.g65_ddb, program.g80_ddb)
    if any(len(table) != bands for table in (*gains, program.mpo_ddb)):
        return False
    return (
        all(
            sheet.gain_min_ddb <= value <= sheet.gain_max_ddb and value % sheet.gain_step_ddb == 0
            for table in gains
            for value in table
        )
        and all(
            sheet.mpo_min_ddb <= value <= sheet.mpo_max_ddb and value % sheet.mpo_step_ddb == 0
            for value in program.mpo_ddb
        )
        and sheet.nr_min_ddb <= program.nr_ddb <= sheet.nr_max_ddb
        and program.mic in sheet.mics
    )


def _digests(offer: Offer, ear: Ear) -> tuple[str | None, str | None]:
    before = offer.base.right if ear == "right" else offer.base.left
    target = offer.body.expect.right if ear == "right" else offer.body.expect.left
    return (None if before is UNSET else before, None if target is UNSET else target)


def _target(offer: Offer, ear: Ear) -> Target | None:
    target = offer.target.right if ear == "right" else offer.target.left
    return None if target is UNSET else target


def _with_slots(image: EarImage, slots: tuple[SlotImage, ...]) -> EarImage:
    by_number = {slot.slot: slot for slot in (*image.slots, *slots)}
    return replace(image, slots=tuple(by_number[number] for number in sorted(by_number)))


def report_on(
    offer: Offer,
    earlier: tuple[Report, ...],
    state: ReportedState,
    ear: Ear | None = None,
    *,
    code: str | None = None,
    held: Images | None = None,
) -> Report:
    """The next report of a delivery; ``held`` is the read-back that it rests on.

    ``n`` goes on from the earlier ones, also over a new attempt.
    """
    report = Report(
        device=offer.device,
        epoch=offer.epoch,
        seq=offer.seq,
        attempt=offer.attempt,
        n=len(earlier) + 1,
        state=state,
        ear=UNSET if ear is None else ear,
        code=UNSET if code is None else code,
    )
    if held is None:
        return report
    return replace(report, source="ram", digest=held.ram, nvm=held.nvm, battery=held.battery)


def refusal_report(offer: Offer, earlier: tuple[Report, ...], refused: Refused) -> Report:
    """The report of a refusal, with the digest that the aid holds where that is known."""
    report = report_on(offer, earlier, refused.state, refused.ear, code=refused.code)
    return report if refused.digest is None else replace(report, source="ram", digest=refused.digest)
