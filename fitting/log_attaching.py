"""What a phone says of its aids, as pure steps on one device's rows: on attaching, and unasked.

What follows from what is in the aids is decided in ``log_settling``. Time and ids are given, never taken; no store is
known. Read ``attach`` first.
"""

from collections.abc import Callable, Mapping
from typing import Final, get_args

from msgspec import UNSET
from msgspec.structs import replace

from protocol.contract.base import EARS, Ear, Refusal
from protocol.contract.devices import AttachDevice, EarImage, Images
from protocol.contract.sessions import ReportDevice, RestoreCause

from .digest import ear_digest
from .log_commands import ask_back, fall_away
from .log_parts import read_revision
from .log_rows import DeviceRows
from .log_sessions import end_session
from .log_settling import read_back, settle_truth
from .log_values import Attached, Ended, Learned, SessionEnded
from .mode import TOLD_BY_PHONE, reason_of
from .model import content_from_images

__all__ = ["attach", "detach", "report_device"]

NewId = Callable[[], str]
# After these the aids hold the session's base again.
_RESTORES: Final = frozenset(get_args(RestoreCause))


def attach(rows: DeviceRows, now_s: float, claim: AttachDevice, new_id: NewId) -> Attached | Refusal:
    """See ``DeviceLog.attach``.

    Raises BadArgument when the first read-backs of two ears cannot be one configuration.
    """
    read = {ear: images for ear in EARS if isinstance(images := getattr(claim, ear), Images)}
    refusal = _misread(rows, read)
    if refusal is not None:
        return refusal
    _count_unanswered(rows, now_s, claim)
    if rows.head is None and read:
        _begin(rows, {ear: one.image for ear, one in read.items()}, new_id(), now_s)
    rows.generation += 1
    rows.attached = True
    changed = read_back(rows, read, now_s)
    resume = rows.resume(claim.epoch, claim.last_terminal)
    if resume == "ahead":
        # The phone has seen numbers that this log never gave: they must not be given again.
        rows.epoch = new_id()
        rows.alarm("history_lost", now_s, on=True)
    rows.raise_fence(claim.fence_max)
    rows.note("device", "attached", now_s, actor="phone", code=None if resume == "ok" else resume)
    if read:
        rows.truth.unidentified -= read.keys()
        if not rows.truth.unidentified:
            rows.alarm("locked", now_s, on=False)
        # A log that may have lost its end does not know what was kept last.
        settle_truth(rows, now_s, new_id, read, is_sure=resume == "ok")
    place = (rows.epoch, rows.last_terminal + 1, rows.generation, resume)
    known = (changed, rows.truth.in_aid(), rows.live, rows.fresh.alarm_moves())
    return Attached(*place, *known, question=rows.question, last_end=rows.last_end)


def _count_unanswered(rows: DeviceRows, now_s: float, claim: AttachDevice) -> None:
    """A phone that was offered something, and comes back without having heard of it, may have died of it.

    After so many times in a row it is asked not to begin: it would come back for ever, and nothing else get through.
    """
    entry = rows.oldest()
    if entry is None or entry.offered_to != rows.generation or entry.delivery.withdrawn is not None:
        return
    is_in_work = claim.in_flight is not UNSET and claim.in_flight.seq == entry.delivery.seq
    # What was put aside for its wearer the phone has lived through, and only says again.
    is_known = entry.answered or is_in_work or "awaiting_install" in entry.delivery.ears.values()
    entry.unanswered = 0 if is_known else entry.unanswered + 1
    if entry.unanswered >= rows.limits.max_unanswered and ask_back(rows, entry, "cancelled"):
        entry.delivery = replace(entry.delivery, code="poison")
        rows.alarm("poison", now_s, on=True)


def report_device(
    rows: DeviceRows, now_s: float, told: ReportDevice, new_id: NewId, generation: int | None = None
) -> Learned | Refusal:
    """See ``DeviceLog.report_device``."""
    if generation is not None and _is_anothers(rows, generation):
        return Refusal(code="not_attached", message="another connection carries the aids: attach, and read them again")
    read = {ear: images for ear in EARS if isinstance(images := getattr(told, ear), Images)}
    refusal = _misread(rows, read)
    if refusal is not None:
        return refusal
    # A read-back that finds what was known is no event, and still says when that was seen last.
    rows.fresh.is_soft = True
    if isinstance(told.battery, int):
        rows.truth.battery = told.battery
    changed = read_back(rows, read, now_s, told.cause)
    # Before what was read settles: what was heard until now is what is lost.
    session = _ended_by(rows, now_s, told)
    ended: tuple[Ended, ...] = ()
    if told.cause in _RESTORES:
        ended = fall_away(rows, now_s, code="E_USER_STOP")
    if changed or told.cause not in {"read_back", "user_state"}:
        rows.note("device", told.cause, now_s, actor="phone")
    if read:
        settle_truth(rows, now_s, new_id, read, is_sure=True)
    return Learned(rows.truth.in_aid(), changed, ended, frozenset(rows.alarms), rows.fresh.alarm_moves(), session)


def _ended_by(rows: DeviceRows, now_s: float, told: ReportDevice) -> SessionEnded | None:
    """The live session that the phone has ended by itself."""
    event = TOLD_BY_PHONE.get(told.cause)
    if event is None or rows.live is None or told.fence not in {UNSET, rows.live.fence}:
        return None
    return end_session(rows, now_s, cause=reason_of(event), actor="phone")


def detach(rows: DeviceRows, generation: int) -> None:
    """See ``DeviceLog.detach``."""
    if rows.generation == generation:
        rows.attached = False
        rows.touch()


def _is_anothers(rows: DeviceRows, generation: int) -> bool:
    """Whether somebody else has attached since, or is attached; before it attaches a phone tells what is still due."""
    return generation != rows.generation and bool(generation or rows.attached)


def _misread(rows: DeviceRows, read: Mapping[Ear, Images]) -> Refusal | None:
    for ear, images in read.items():
        aid = rows.aids.get(ear)
        if aid is None or aid.serial != images.serial or images.image.ear != ear:
            return Refusal(code="wrong_device", message=f"that is not the aid registered for the {ear} ear", ear=ear)
        if ear_digest(images.image) != images.ram:
            return Refusal(code="wrong_digest", message="the image is not what its digest is of", ear=ear)
    return None


def _begin(rows: DeviceRows, images: Mapping[Ear, EarImage], revision_id: str, now_s: float) -> None:
    rows.found(read_revision(content_from_images(images), revision_id, "", "first read-back", now_s))
