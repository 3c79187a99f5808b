"""What read-backs and ends of deliveries make of the record: what both ears hold, keep, and belong together as.

Nothing is asked for here, so nothing can be refused. This module must not know who asked, nor a store. Read
``settle_truth`` first.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from msgspec import UNSET

from protocol.contract.base import Ear
from protocol.contract.devices import Images

from .delivery import digest_of
from .log_moments import kept_meanwhile, was_held
from .log_pace import hears
from .log_parts import Entry, OutboxItem, read_revision
from .log_rows import DeviceRows
from .log_values import Moment, Revision
from .model import ears_of

__all__ = [
    "MAY_BE_KEPT",
    "after_commit",
    "count_kept",
    "follow_truth",
    "ground",
    "held_last",
    "is_kept",
    "packages",
    "read_back",
    "settle_truth",
]

NewId = Callable[[], str]
MAY_BE_KEPT: Final = frozenset({"committing", "active"})
"""What a phone says before it copies anything to NVM, and after."""


def read_back(rows: DeviceRows, read: Mapping[Ear, Images], now_s: float, cause: str = "read_back") -> tuple[Ear, ...]:
    """Know what aids were found to hold, and that they were read; the ears of which that is news."""
    read = {ear: images for ear, images in read.items() if ear not in rows.fresh.moved_on}
    if rows.read_due & read.keys():
        rows.read_due -= read.keys()
        rows.touch()
    return tuple(ear for ear, images in read.items() if rows.truth.read_back(ear, images, now_s, cause))


def settle_truth(rows: DeviceRows, now_s: float, new_id: NewId, read: Collection[Ear], *, is_sure: bool) -> None:
    """What was read becomes what the log goes by, when nothing is on its way. ``is_sure``: of what was kept before."""
    if rows.pending or rows.head is None:
        return
    follow_truth(rows, rows.head, now_s, new_id)
    if is_sure and _is_changed_in_part(rows):
        if len(read) < len(rows.aids):
            # The other one may have been changed too, and be out of reach.
            _count_apart(rows, rows.head, read, now_s, new_id)
            return
        rows.alarm("split", now_s, on=True)
    count_kept(rows, rows.head, now_s, new_id)


def count_kept(rows: DeviceRows, head: Revision, now_s: float, new_id: NewId) -> None:
    """The head counts as what both ears keep when they were read to do so: somebody else may have saved it."""
    if rows.truth.is_saved(rows.aids) and rows.truth.holds(head):
        if "split" in rows.alarms and not _is_one_pair(rows, head):
            _count_apart(rows, head, rows.aids, now_s, new_id)
            return
        rows.alarm("split", now_s, on=False)
        last = held_last(rows)
        if last is None or last.digests.pair != head.digests.pair:
            rows.became_active(head, now_s, new_id)
        elif _in_force(rows) is not None and last.origin != "first_fit":
            # Until now an ear may have kept something else.
            rows.counts_from(last, now_s, new_id)


def _count_apart(rows: DeviceRows, head: Revision, ears: Collection[Ear], now_s: float, new_id: NewId) -> None:
    """What ears keep that nobody has chosen for both counts from now on, until both are known to keep one pair."""
    if rows.truth.is_saved(ears) and rows.truth.holds(head):
        _may_be_kept(rows, head, ears, now_s, new_id)


def follow_truth(rows: DeviceRows, head: Revision, now_s: float, new_id: NewId) -> None:
    """The head becomes what the aids hold, if that is something else; then that is heard."""
    _found_to_differ(rows, head, now_s, new_id)
    if rows.head is not None and rows.head is not head and rows.live is not None:
        rows.live = hears(rows.live, Moment(now_s, rows.head))


def _found_to_differ(rows: DeviceRows, head: Revision, now_s: float, new_id: NewId) -> None:
    """When the head is not in the aids and nothing waits, what they are known to hold becomes the head.

    Otherwise the next change would be judged, and written, over a base that was never there.
    """
    ears, images = ears_of(head.content), rows.truth.images
    if not all(ear in images for ear in ears) or (len(images) == len(ears) and rows.truth.holds(head)):
        return
    content = rows.truth.content()
    if content is None or content == head.content:
        return
    reason = "read back after a change that did not come about"
    rows.found(read_revision(content, new_id(), head.revision_id, reason, now_s))


def after_commit(rows: DeviceRows, entry: Entry, now_s: float, new_id: NewId) -> None:
    """What a delivery to NVM has come to: something both ears keep, or an alarm when only one does."""
    delivery = entry.delivery
    if delivery.state == "active":
        rows.alarm("split", now_s, on=False)
        # Both ears keep what somebody has chosen since: what is not known of before bears on nothing any more.
        rows.alarm("history_lost", now_s, on=False)
        was_worn = any(held.digests.pair == delivery.revision.digests.pair for held in _held(rows))
        rows.became_active(delivery.revision, now_s, new_id)
        # Of what they have worn before, as after they have taken one back, nobody has to ask them.
        if delivery.mode == "standard" and not was_worn:
            rows.fresh.outbox.append(OutboxItem("question", delivery.seq, now_s + rows.limits.question_after_s))
        return
    if "active" in delivery.ears.values() or _is_kept_apart(rows, entry):
        rows.alarm("split", now_s, on=True)
    begun = entry.copied | {ear for ear, _, state, _ in entry.seen if ear is not UNSET and state in MAY_BE_KEPT}
    is_apart = "split" in rows.alarms or _in_force(rows) is not None
    fit, kept = _fit_on_trial(rows), _kept_last(rows)
    if _may_be_kept(rows, delivery.revision, begun, now_s, new_id) and kept and not (is_apart or fit):
        rows.counts_from(kept, now_s, new_id)


def _may_be_kept(rows: DeviceRows, revision: Revision, ears: Collection[Ear], now_s: float, new_id: NewId) -> bool:
    """What an ear may keep, or have kept before it was taken back, counts for the week, as what was active does.

    It was heard until then, for days when the phone was away; from what is kept again nobody may be raised at once. It
    is in force until something else is counted from. False when it is nowhere lower, or cannot be compared.
    """
    before = _in_force(rows) or _fit_on_trial(rows) or _kept_last(rows)
    if before is None:
        return False
    made = kept_meanwhile(revision, ears, rows.active, before=before, new_id=new_id, now_s=now_s)
    if made is None:
        return False
    rows.fresh.revisions.append(made)
    rows.counts_from(made, now_s, new_id)
    return True


def _in_force(rows: DeviceRows) -> Revision | None:
    """What was made up for ears that are not known to keep one pair, or a fit that is not kept yet; else None."""
    return None if not rows.active or was_held(rows.active[-1]) else rows.active[-1].revision


def _fit_on_trial(rows: DeviceRows) -> Revision | None:
    """The first fit that is still being tried: all is counted from it, and not from what is kept again."""
    last = next((moment for moment in reversed(rows.active) if was_held(moment)), None)
    if last is None or rows.live is None or last.at_s < rows.live.at_s:
        return None
    return last.revision if last.revision.origin == "first_fit" else None


def _kept_last(rows: DeviceRows) -> Revision | None:
    """What both aids kept last: a first fit is in RAM until it is saved."""
    return next((revision for revision in _held(rows) if revision.origin != "first_fit"), None)


def held_last(rows: DeviceRows) -> Revision | None:
    """What was active last, what was only made up to be counted from left out."""
    return next(_held(rows), None)


def _held(rows: DeviceRows) -> Iterator[Revision]:
    """What was active lately, newest first, without what was only made up to be counted from."""
    return (moment.revision for moment in reversed(rows.active) if was_held(moment))


def _is_one_pair(rows: DeviceRows, revision: Revision) -> bool:
    """Whether somebody chose both ears of it together: that they were read to hold it says nothing of that."""
    return revision.origin != "readback" or revision.digests.pair in {held.digests.pair for held in _held(rows)}


def _is_changed_in_part(rows: DeviceRows) -> bool:
    """Whether one ear keeps what both kept last and the other does not, with no delivery that would explain it.

    Somebody may have meant that, or been stopped half way; nobody can tell, so somebody has to say. When both keep
    something new nothing tells whether they belong together: they are taken for one pair.
    """
    chosen = list(_held(rows))
    chosen += [rows.head] if rows.head is not None and rows.head.origin != "readback" else []
    last = held_last(rows)
    if last is None or any(rows.truth.keeps(revision) for revision in chosen):
        return False
    stayed = [truth.nvm == digest_of(last.digests, ear) for ear, truth in rows.truth.ears.items()]
    return any(stayed) and not all(stayed)


def _is_kept_apart(rows: DeviceRows, entry: Entry) -> bool:
    """Whether one ear is known to keep what was to be saved in both, and both together are nothing that ever was."""
    delivery, kept = entry.delivery, rows.truth.ears
    if all(state != "committing" for _, _, state, _ in entry.seen):
        return False
    took = [ear for ear in delivery.ears if ear in kept and kept[ear].nvm == digest_of(delivery.revision.digests, ear)]
    was = any(rows.truth.keeps(held) for held in _held(rows))
    return 0 < len(took) < len(delivery.ears) and not was


def packages(rows: DeviceRows) -> list[Entry]:
    """The packages without an end, oldest first."""
    return [entry for seq in rows.pending if (entry := rows.entries[seq]).delivery.mode == "standard"]


def ground(rows: DeviceRows) -> Revision | None:
    """What a package would be written over: what both aids keep. None when that is nothing that the log has seen.

    That is not always the newest revision: packages that wait are not in the aids yet, and what was only tried is gone
    after the next start.
    """
    known = [] if rows.head is None else [rows.head]
    known += _held(rows)
    known += [entry.delivery.base for entry in packages(rows)]
    return next((revision for revision in known if is_kept(rows, revision)), None)


def is_kept(rows: DeviceRows, revision: Revision) -> bool:
    """Whether every aid that is worn is known to hold it in NVM."""
    return rows.truth.keeps(revision) and len(ears_of(revision.content)) == len(rows.aids)
