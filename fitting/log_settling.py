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

__all__ = ["after_commit", "count_kept", "follow_truth", "ground", "is_kept", "packages", "read_back", "settle_truth"]

NewId = Callable[[], str]
# A phone says so before it copies anything.
_MAY_BE_KEPT: Final = frozenset({"committing", "active"})


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
            return
        rows.alarm("split", now_s, on=True)
    count_kept(rows, rows.head, now_s, new_id)


def count_kept(rows: DeviceRows, head: Revision, now_s: float, new_id: NewId) -> None:
    """The head counts as what both ears keep when they were read to do so: somebody else may have saved it."""
    if rows.truth.is_saved(rows.aids) and rows.truth.holds(head):
        if "split" in rows.alarms and not _is_one_pair(rows, head):
            return
        rows.alarm("split", now_s, on=False)
        if not rows.active or rows.active[-1].revision.digests.pair != head.digests.pair:
            rows.became_active(head, now_s, new_id)


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
    _count_meanwhile(rows, entry, now_s, new_id)


def _count_meanwhile(rows: DeviceRows, entry: Entry, now_s: float, new_id: NewId) -> None:
    """What an ear may have kept before it was taken back counts for the week, as what was active does.

    It was heard until then, for days when the phone was away; from what is kept again nobody may be raised at once.
    """
    live, last = rows.live, rows.active[-1:]
    if live is not None and any(one.revision.origin == "first_fit" and one.at_s >= live.at_s for one in last):
        # All is counted from that fit, which is still being tried.
        return
    begun = {ear for ear, _, state, _ in entry.seen if ear is not UNSET and state in _MAY_BE_KEPT}
    for moment in kept_meanwhile(entry.delivery.revision, begun, rows.active, new_id, now_s):
        if not was_held(moment):
            rows.fresh.revisions.append(moment.revision)
        rows.counts_from(moment.revision, now_s, new_id)


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
    if not rows.active or any(rows.truth.keeps(revision) for revision in chosen):
        return False
    last = rows.active[-1].revision.digests
    stayed = [truth.nvm == digest_of(last, ear) for ear, truth in rows.truth.ears.items()]
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
