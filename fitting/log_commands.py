"""The calls of a device log as pure steps on one device's rows: what may be done, and what it comes to.

What may follow what is decided in ``delivery`` and ``lease``; here the decisions meet what the log holds. Time and ids
are given, never taken; no store is known. Read ``append`` first, then ``report``.
"""

import math
from collections.abc import Callable, Mapping

from protocol.contract.base import EARS, Ear, Refusal
from protocol.contract.devices import AttachDevice, Images, Report
from protocol.errors import BadArgument

from .delivery import Judged, is_end, judge, move
from .digest import ear_digest
from .lease import Held, live, request
from .log_rows import DeviceRows, Entry
from .log_values import Accepted, Attached, Delivery, DeviceHead, Expired, LeaseGranted, Proposal, Recorded

__all__ = ["acquire", "append", "attach", "detach", "expire", "head", "next_offer", "reoffer", "report"]

NewId = Callable[[], str]


def head(rows: DeviceRows, now_s: float, *, key: str | None, request_hash: str | None) -> DeviceHead:
    """See ``DeviceLog.head``."""
    answered = None if key is None else rows.answer_to(key, request_hash)
    return rows.snapshot(live(rows.lease, now_s), answered)


def acquire(rows: DeviceRows, now_s: float, *, session: str, holder: str) -> LeaseGranted | Refusal:
    """See ``DeviceLog.acquire``."""
    ttl_s = rows.limits.lease_ttl_s
    outcome = request(rows.lease, fence=rows.fence, session=session, holder=holder, now_s=now_s, ttl_s=ttl_s)
    if isinstance(outcome, Held):
        return Refusal(
            code="lease_held",
            message="another session is fitting this device",
            retryable=True,
            retry_after_ms=math.ceil(outcome.remaining_s * 1_000),
        )
    rows.lease, rows.fence = outcome.lease, outcome.lease.fence
    if outcome.renewed:
        rows.touch()
    else:
        rows.note("lease", "granted", now_s, actor=holder)
    return LeaseGranted(rows.fence, ttl_s, outcome.renewed)


def append(rows: DeviceRows, now_s: float, proposal: Proposal, new_id: NewId) -> Accepted | Refusal:
    """See ``DeviceLog.append``. Raises BadArgument for a proposal that changes no ear."""
    if not proposal.ears:
        raise BadArgument("the change changes nothing")
    answered = rows.answer_to(proposal.key, proposal.request_hash)
    if answered is not None:
        return answered
    if proposal.fence != rows.fence:
        return Refusal(code="fence_stale", message="another lease was granted since, acquire it anew")
    lease = live(rows.lease, now_s)
    if lease is None or lease.holder != proposal.author:
        return Refusal(code="lease_lost", message="the lease has ended or is another's, acquire it anew")
    return rows.append(proposal, new_id, now_s)


def attach(rows: DeviceRows, now_s: float, claim: AttachDevice, new_id: NewId) -> Attached | Refusal:
    """See ``DeviceLog.attach``.

    Raises BadArgument when the first read-backs of two ears cannot be one configuration.
    """
    read = {ear: images for ear in EARS if isinstance(images := getattr(claim, ear), Images)}
    refusal = _misread(rows, read)
    if refusal is not None:
        return refusal
    if rows.head is None and read:
        rows.begin({ear: one.image for ear, one in read.items()}, new_id(), now_s)
    rows.generation += 1
    rows.attached = True
    changed = tuple(ear for ear, images in read.items() if rows.truth.read_back(ear, images, now_s))
    resume = rows.resume(claim.epoch, claim.last_terminal)
    if resume == "ahead":
        # The phone has seen numbers that this log never gave: they must not be given again.
        rows.epoch = new_id()
    rows.raise_fence(claim.fence_max)
    rows.note("device", "attached", now_s, actor="phone", code=None if resume == "ok" else resume)
    return Attached(rows.epoch, rows.last_terminal + 1, rows.generation, resume, changed)


def detach(rows: DeviceRows, generation: int) -> None:
    """See ``DeviceLog.detach``."""
    if rows.generation == generation:
        rows.attached = False
        rows.touch()


def next_offer(rows: DeviceRows, now_s: float, generation: int) -> Delivery | None:
    """See ``DeviceLog.next_offer``."""
    entry = rows.oldest()
    if not _carries(rows, generation) or entry is None or entry.offered_to == generation or _is_too_late(entry, now_s):
        return None
    return rows.offer(entry, now_s)


def expire(rows: DeviceRows, now_s: float, new_id: NewId) -> tuple[Expired, ...]:
    """See ``DeviceLog.expire``."""
    ended: list[Expired] = []
    # The oldest only, again and again: ends come in the order of the numbers.
    while (entry := rows.oldest()) is not None and _is_too_late(entry, now_s):
        events = rows.record(entry, move(entry.delivery, "expired"), now_s)
        _close(rows, entry, now_s, new_id)
        ended.append(Expired(entry.delivery, events))
    return tuple(ended)


def reoffer(rows: DeviceRows, now_s: float, generation: int, older_than_s: float) -> Delivery | None:
    """See ``DeviceLog.reoffer``."""
    entry = rows.oldest()
    if not _carries(rows, generation) or entry is None or entry.offered_to != generation or entry.answered:
        return None
    offered_at_s = entry.delivery.offered_at_s
    if offered_at_s is None or now_s - offered_at_s < older_than_s:
        return None
    return rows.offer(entry, now_s)


def report(
    rows: DeviceRows, now_s: float, told: Report, *, generation: int, new_id: NewId, ended: Delivery | None
) -> Recorded | Refusal:
    """See ``DeviceLog.report``. ``ended`` is the delivery of that number when it has an end already."""
    entry = rows.entries.get(told.seq)
    if entry is None:
        return _of_ended(rows, told, ended)
    if entry.delivery.attempt == 0 or told.epoch != entry.delivery.epoch:
        return _unknown_delivery()
    entry.answered |= generation == entry.offered_to
    if (told.ear, told.n, told.state, told.digest) in entry.seen:
        return rows.recorded(entry.delivery, repeated=True)
    judged = judge(entry.delivery, told)
    if isinstance(judged, Refusal):
        return judged
    if judged.delivery is entry.delivery:
        return rows.recorded(entry.delivery, repeated=True)
    return _take(rows, now_s, entry, told, judged, new_id=new_id)


def _of_ended(rows: DeviceRows, told: Report, ended: Delivery | None) -> Recorded | Refusal:
    if ended is None or ended.attempt == 0 or told.epoch != ended.epoch:
        return _unknown_delivery()
    judged = judge(ended, told)
    if isinstance(judged, Refusal) and (judged.code != "illegal_report" or is_end(ended.kind, told.state)):
        return judged
    # A phone that answers from its journal tells the way again before the end.
    return rows.recorded(ended, repeated=True)


def _take(
    rows: DeviceRows, now_s: float, entry: Entry, told: Report, judged: Judged, *, new_id: NewId
) -> Recorded | Refusal:
    if len(entry.seen) >= rows.limits.max_reports and not is_end(entry.delivery.kind, judged.event):
        return Refusal(code="overloaded", message="the delivery has had too many reports")
    entry.seen.add((told.ear, told.n, told.state, told.digest))
    events = rows.record(entry, judged.delivery, now_s, report=told, judged=judged)
    changed = rows.truth.learn(entry.delivery, told, now_s)
    if is_end(entry.delivery.kind, entry.delivery.state):
        _close(rows, entry, now_s, new_id)
    return rows.recorded(entry.delivery, events=events, changed=changed)


def _close(rows: DeviceRows, entry: Entry, now_s: float, new_id: NewId) -> None:
    """Take an ended delivery out of the queue; a head that came to nothing gives way to the truth."""
    rows.close(entry)
    if not rows.pending:
        rows.follow_truth(entry.delivery.revision, new_id, now_s)


def _carries(rows: DeviceRows, generation: int) -> bool:
    return rows.attached and rows.generation == generation


def _is_too_late(entry: Entry, now_s: float) -> bool:
    """Once offered, only the phone can tell whether it is too late."""
    return entry.delivery.state == "accepted" and now_s >= entry.delivery.expires_at_s


def _unknown_delivery() -> Refusal:
    return Refusal(code="unknown_delivery", message="no such delivery was ever offered")


def _misread(rows: DeviceRows, read: Mapping[Ear, Images]) -> Refusal | None:
    for ear, images in read.items():
        aid = rows.aids.get(ear)
        if aid is None or aid.serial != images.serial or images.image.ear != ear:
            return Refusal(code="wrong_device", message=f"that is not the aid registered for the {ear} ear", ear=ear)
        if ear_digest(images.image) != images.ram:
            return Refusal(code="wrong_digest", message="the image is not what its digest is of", ear=ear)
    return None
