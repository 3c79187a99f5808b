"""What the phone makes of an offer, before anything is written: pure, a list of rules in order.

Three questions. ``place``: have I seen this delivery, and does it follow on what I know? ``examine``: is it genuine,
allowed, for these aids, inside what they can do, and based on what they hold now? ``hold_code``: does it have to wait?
No clock, no link, no journal: all of that is passed in. What then happens to each aid is ``clients.ear_work``.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as dataclass_replace
from enum import StrEnum
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from clients.device_driver import VendorData
from clients.journal import EarPlan, JournalRecord
from fitting.capability import CapabilitySheet
from fitting.digest import body_hash, ear_digest
from fitting.limits import mpo_ceiling_ddb
from fitting.signing import is_genuine
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, Images, Offer, Report, ReportedState, SlotImage, Target
from protocol.contract.fitting import EarProgram

__all__ = [
    "COMMIT_NEEDS_PERCENT",
    "AidFacts",
    "Examined",
    "Place",
    "Refused",
    "ears_of",
    "examine",
    "hold_code",
    "place",
    "raises_mpo",
    "refusal_report",
    "report_on",
    "serial_of",
    "slots_of",
    "slots_to_write",
    "vendor_of",
]

COMMIT_NEEDS_PERCENT: Final = 20


class Place(StrEnum):
    """Where an offer stands in what the phone remembers."""

    ATTACH = "attach"
    """It does not follow on what is known here: say hello again, write nothing."""
    REPLAY = "replay"
    """It has ended here: give the same reports again, write nothing."""
    OTHER = "other"
    """Another offer of its number has ended here: refuse it, the answer to that one is none to this."""
    RESUME = "resume"
    """It is under way here: go on."""
    NEW = "new"


@dataclass(frozen=True, slots=True)
class AidFacts:
    """What one aid says of itself, just read. ``sheet`` is None for a model that the phone does not know.

    ``has_moved``: its wearer has changed the program, and the server has not heard of it yet.
    """

    serial: str
    firmware: str
    sheet: CapabilitySheet | None
    ram: EarImage
    nvm: EarImage | None = None
    busy: bool = False
    battery_percent: int = 100
    has_moved: bool = False
    vendor_formats: frozenset[str] = frozenset()


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
    """The ears that change, right first. What is to be saved may be in RAM already: then the targets name the ears."""
    return tuple(ear for ear in EARS if slots_of(offer, ear) or (offer.kind == "persist" and _target(offer, ear)))


def _is_remembered(offer: Offer, record: JournalRecord) -> bool:
    ended = record.end_of(offer.epoch, offer.seq)
    return ended is not None and ended.body_hash in ("", offer.body_hash)


def _is_under_way(offer: Offer, record: JournalRecord) -> bool:
    entry = record.under_way(record.epoch, offer.seq)
    return entry is not None and entry.offer.body_hash == offer.body_hash


# The first rule that holds decides.
_PLACES: Final[tuple[tuple[Callable[[Offer, JournalRecord], bool], Place], ...]] = (
    (lambda offer, record: offer.epoch != record.epoch, Place.ATTACH),
    (_is_remembered, Place.REPLAY),
    (lambda offer, record: record.end_of(offer.epoch, offer.seq) is not None, Place.OTHER),
    (_is_under_way, Place.RESUME),
    (lambda offer, record: record.under_way(offer.epoch, offer.seq) is not None, Place.ATTACH),
    (lambda _, record: record.in_flight is not None, Place.ATTACH),
    (lambda offer, record: offer.after != record.last_settled, Place.ATTACH),
    (lambda offer, record: offer.seq <= record.last_settled, Place.ATTACH),
)


def place(offer: Offer, record: JournalRecord) -> Place:
    """Whether to start, go on, answer again or attach anew."""
    return next((where for holds, where in _PLACES if holds(offer, record)), Place.NEW)


def examine(
    offer: Offer,
    record: JournalRecord,
    facts: Mapping[Ear, AidFacts | None],
    *,
    is_late: bool = False,
    live_code: str | None = None,
    over_trial: bool = False,
) -> Examined:
    """The work to do, one plan per ear that changes, or why none of it is done.

    ``facts`` has None for an aid that cannot be reached and no key for an ear without an aid. An ear that
    cannot be written keeps the other from being written too (``E_PARTIAL``): they were checked as a pair.
    ``is_late``: its time is over. ``live_code`` is why live work is not allowed now. ``over_trial``: a package may take
    the place of what RAM plays and nobody has saved.
    """
    whole = _refusal_of_offer(offer, record, is_late, live_code)
    if whole is not None:
        return Examined(refusals=(Refused(whole),))
    judged = {ear: _judge_ear(offer, ear, facts, over_trial) for ear in ears_of(offer)}
    plans = tuple(verdict for verdict in judged.values() if isinstance(verdict, EarPlan))
    if len(plans) == len(judged):
        return Examined(plans=plans)
    refusals = (
        verdict if isinstance(verdict, Refused) else Refused("E_PARTIAL", ear) for ear, verdict in judged.items()
    )
    return Examined(refusals=tuple(refusals))


def _refusal_of_offer(offer: Offer, record: JournalRecord, is_late: bool, live_code: str | None) -> str | None:
    if body_hash(offer.body) != offer.body_hash:
        return "E_SIG"
    if record.public_key and not is_genuine(offer, record.public_key):
        return "E_SIG"
    # A package was queued under no lease: only what is done live is fenced.
    if offer.mode == "advanced" and offer.fence < record.fence_max:
        return "E_FENCE"
    if is_late:
        return "E_EXPIRED"
    if live_code is not None and offer.mode == "advanced":
        return live_code
    return None if ears_of(offer) and _is_whole(offer) else "E_RANGE"


def hold_code(facts: Mapping[Ear, AidFacts | None]) -> str | None:
    """Why an offer that is in order has to wait for something that happens to an aid, None when it need not."""
    known = [aid for aid in facts.values() if aid is not None]
    if any(aid.busy for aid in known):
        return "E_BUSY"
    if any(aid.battery_percent < COMMIT_NEEDS_PERCENT for aid in known):
        return "E_BATTERY"
    return None


def raises_mpo(offer: Offer, plans: tuple[EarPlan, ...]) -> bool:
    """Whether any maximum output rises over what an aid plays now; a new program counts as one that rises."""
    for plan in plans:
        before = {slot.slot: slot.program.mpo_ddb for slot in plan.before.slots}
        for slot in slots_to_write(offer, plan):
            old = before.get(slot.slot)
            if old is None or any(new > was for new, was in zip(slot.program.mpo_ddb, old, strict=True)):
                return True
    return False


def serial_of(offer: Offer, ear: Ear) -> str:
    """The one aid that this ear's part is for, "" when the offer names none."""
    target = _target(offer, ear)
    return "" if target is None else target.serial


def vendor_of(offer: Offer) -> VendorData | None:
    """The maker's own form of the change, None for none. Raises ValueError when it is not what its digest is of."""
    vendor = offer.body.vendor
    if vendor is UNSET:
        return None
    try:
        data = base64.b64decode(vendor.data, validate=True)
    except binascii.Error as error:
        raise ValueError("the payload is no base64") from error
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != vendor.digest:
        raise ValueError("the payload is not what its digest is of")
    return VendorData(vendor.format, data)


def _is_whole(offer: Offer) -> bool:
    try:
        vendor_of(offer)
    except ValueError:
        return False
    return True


def _judge_ear(offer: Offer, ear: Ear, facts: Mapping[Ear, AidFacts | None], over_trial: bool) -> EarPlan | Refused:
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
    vendor = offer.body.vendor
    if vendor is not UNSET and vendor.format not in aid.vendor_formats:
        return Refused("E_CAPABILITY", ear)
    return _judge_content(offer, ear, aid, aid.sheet, over_trial)


def _judge_content(
    offer: Offer, ear: Ear, aid: AidFacts, sheet: CapabilitySheet, over_trial: bool
) -> EarPlan | Refused:
    _, target = _digests(offer, ear)
    current, slots = ear_digest(aid.ram), slots_of(offer, ear)
    if not all(_in_range(slot.program, sheet) and slot.slot <= sheet.slots for slot in slots):
        return Refused("E_RANGE", ear, digest=current)
    ground = _ground(offer, ear, aid, over_trial)
    if target is None or ground is None:
        gone = {slot.slot for slot in slots} - {slot.slot for slot in aid.ram.slots}
        return Refused("E_PROGRAM" if gone and offer.kind == "volatile" else "E_BASE", ear, digest=current)
    if aid.has_moved and offer.kind == "volatile":
        return Refused("E_PROGRAM", ear, digest=current)
    # Writing this would not give what was signed for: server and phone disagree, so nobody writes.
    image = _with_slots(ground, slots)
    if ear_digest(image) != target:
        return Refused("E_RANGE", ear, digest=current)
    plan = EarPlan(ear=ear, before=aid.ram, before_digest=current, target_digest=target)
    if offer.kind == "volatile" or aid.nvm is None:
        return plan
    return dataclass_replace(plan, before_nvm=aid.nvm, nvm_digest=ear_digest(aid.nvm), target=image)


def _ground(offer: Offer, ear: Ear, aid: AidFacts, over_trial: bool) -> EarImage | None:
    """What the values go on, None for an aid that is not at the base.

    A package was thought of on what the aid keeps, and must not take the place of anything else there.
    """
    known = _digests(offer, ear)
    is_package = offer.mode == "standard" and aid.nvm is not None
    if None in known or (is_package and aid.nvm is not None and ear_digest(aid.nvm) not in known):
        return None
    if ear_digest(aid.ram) in known:
        return aid.ram
    # A program that only RAM has could not be taken out by writing others.
    is_within = aid.nvm is not None and {slot.slot for slot in aid.ram.slots} <= {slot.slot for slot in aid.nvm.slots}
    return aid.nvm if over_trial and is_package and is_within and offer.body.vendor is UNSET else None


def _in_range(program: EarProgram, sheet: CapabilitySheet) -> bool:
    """The phone's own copy of the rules K1 and K2: an aid gets nothing beyond them, whatever the server says."""
    bands = len(sheet.bands_hz)
    gains = (program.g50_ddb, program.g65_ddb, program.g80_ddb)
    if any(len(table) != bands for table in (*gains, program.mpo_ddb)):
        return False
    mpo_max_ddb = min(sheet.mpo_max_ddb, mpo_ceiling_ddb(sheet))
    return (
        all(
            sheet.gain_min_ddb <= value <= sheet.gain_max_ddb and value % sheet.gain_step_ddb == 0
            for table in gains
            for value in table
        )
        and all(
            sheet.mpo_min_ddb <= value <= mpo_max_ddb and value % sheet.mpo_step_ddb == 0 for value in program.mpo_ddb
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


def slots_to_write(offer: Offer, plan: EarPlan) -> tuple[SlotImage, ...]:
    """The slots that bring one ear from what it holds to the target: all of them over what nobody has saved."""
    slots = slots_of(offer, plan.ear)
    if plan.target is None or not slots or plan.before_digest in _digests(offer, plan.ear):
        return slots
    return plan.target.slots


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
    loudness: int | None = None,
) -> Report:
    """The next report of a delivery; ``held`` is the read-back that it rests on.

    ``n`` goes on from the earlier ones, also over a new attempt. ``active`` rests on what NVM holds, all else on RAM.
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
        loudness=UNSET if loudness is None else loudness,
    )
    if held is None:
        return report
    if state == "active":
        return replace(report, source="nvm", digest=held.nvm, battery=held.battery)
    return replace(report, source="ram", digest=held.ram, nvm=held.nvm, battery=held.battery)


def refusal_report(offer: Offer, earlier: tuple[Report, ...], refused: Refused) -> Report:
    """The report of a refusal, with the digest that the aid holds where that is known."""
    report = report_on(offer, earlier, refused.state, refused.ear, code=refused.code)
    return report if refused.digest is None else replace(report, source="ram", digest=refused.digest)
