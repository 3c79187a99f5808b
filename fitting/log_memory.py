"""The device log in memory: for a laptop, for tests, and as the meaning that other logs are held to.

No method awaits anything, so in one event loop each is one atomic step. What may follow what is decided
in ``delivery`` and ``lease``; here the decisions are kept. Time and ids are given, never taken. Read
``MemoryDeviceLog.append`` first; ``log_memory_rows`` is what one device's log consists of.
"""

import math
from collections.abc import Callable, Mapping

from protocol.contract.base import EARS, Ear, Refusal
from protocol.contract.devices import AttachDevice, Images, RegisteredAid, Report
from protocol.errors import BadArgument

from .delivery import Judged, is_end, judge, move
from .digest import ear_digest
from .lease import Held, live, request
from .log import (
    Accepted,
    Attached,
    Delivery,
    DeliveryEvent,
    DeviceHead,
    Expired,
    LeaseGranted,
    LogLimits,
    Proposal,
    Recorded,
)
from .log_memory_rows import DeviceRows, Entry

__all__ = ["MemoryDeviceLog"]

_DEFAULT_LIMITS = LogLimits()


class MemoryDeviceLog:
    """``fitting.log.DeviceLog`` with everything in this process.

    ``clock`` gives Unix seconds, ``new_id`` opaque ids that never repeat. Ended deliveries beyond
    ``limits.max_history`` are forgotten: reports for them are then ``unknown_delivery``.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        limits: LogLimits = _DEFAULT_LIMITS,
    ) -> None:
        self._clock = clock
        self._new_id = new_id
        self._limits = limits
        self._epoch = new_id()
        self._devices: dict[str, DeviceRows] = {}

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> Refusal | None:
        if device in self._devices:
            return Refusal(code="already_exists", message="the device has a log already")
        self._devices[device] = DeviceRows(device, self._epoch, dict(aids), self._limits)
        return None

    async def head(
        self, device: str, *, key: str | None = None, request_hash: str | None = None
    ) -> DeviceHead | Refusal:
        rows = self._devices.get(device)
        if rows is None:
            return _not_found()
        answered = None if key is None else rows.answer_to(key, request_hash)
        return rows.snapshot(live(rows.lease, self._clock()), answered)

    async def acquire(self, device: str, *, session: str, holder: str) -> LeaseGranted | Refusal:
        rows = self._devices.get(device)
        if rows is None:
            return _not_found()
        ttl_s = self._limits.lease_ttl_s
        outcome = request(
            rows.lease, fence=rows.fence, session=session, holder=holder, now_s=self._clock(), ttl_s=ttl_s
        )
        if isinstance(outcome, Held):
            return Refusal(
                code="lease_held",
                message="another session is fitting this device",
                retryable=True,
                retry_after_ms=math.ceil(outcome.remaining_s * 1_000),
            )
        rows.lease, rows.fence = outcome.lease, outcome.lease.fence
        return LeaseGranted(rows.fence, ttl_s, outcome.renewed)

    async def append(self, proposal: Proposal) -> Accepted | Refusal:
        """As the interface says. Raises BadArgument for a proposal that changes no ear."""
        rows = self._devices.get(proposal.device)
        if rows is None:
            return _not_found()
        if not proposal.ears:
            raise BadArgument("the change changes nothing")
        answered = rows.answer_to(proposal.key, proposal.request_hash)
        if answered is not None:
            return answered
        now_s = self._clock()
        if proposal.fence != rows.fence:
            return Refusal(code="fence_stale", message="another lease was granted since, acquire it anew")
        lease = live(rows.lease, now_s)
        if lease is None or lease.holder != proposal.author:
            return Refusal(code="lease_lost", message="the lease has ended or is another's, acquire it anew")
        return rows.append(proposal, self._new_id, now_s)

    async def attach(self, claim: AttachDevice) -> Attached | Refusal:
        """As the interface says.

        Raises BadArgument when the first read-backs of two ears cannot be one configuration.
        """
        rows = self._devices.get(claim.device)
        if rows is None:
            return _not_found()
        read = {ear: images for ear in EARS if isinstance(images := getattr(claim, ear), Images)}
        refusal = _misread(rows, read)
        if refusal is not None:
            return refusal
        now_s = self._clock()
        if rows.head is None and read:
            images = {ear: one.image for ear, one in read.items()}
            rows.begin(images, self._new_id(), now_s)
        rows.generation += 1
        rows.attached = True
        changed = tuple(ear for ear, images in read.items() if rows.read_back(ear, images, now_s))
        resume = rows.resume(claim.epoch, claim.last_terminal)
        if resume == "ahead":
            # The phone has seen numbers that this log never gave: they must not be given again.
            rows.epoch = self._new_id()
        rows.raise_fence(claim.fence_max)
        return Attached(rows.epoch, rows.last_terminal + 1, rows.generation, resume, changed)

    async def detach(self, device: str, generation: int) -> None:
        rows = self._devices.get(device)
        if rows is not None and rows.generation == generation:
            rows.attached = False

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        rows = self._attached(device, generation)
        if rows is None:
            return None
        now_s = self._clock()
        entry = rows.oldest()
        if entry is None or entry.offered_to == generation or _is_too_late(entry, now_s):
            return None
        return rows.offer(entry, now_s)

    async def expire(self) -> tuple[Expired, ...]:
        now_s = self._clock()
        ended: list[Expired] = []
        for rows in self._devices.values():
            # The oldest only, again and again: ends come in the order of the numbers.
            while (entry := rows.oldest()) is not None and _is_too_late(entry, now_s):
                events = rows.record(entry, move(entry.delivery, "expired"), now_s)
                self._close(rows, entry, now_s)
                ended.append(Expired(entry.delivery, events))
        return tuple(ended)

    async def reoffer(self, device: str, generation: int, *, older_than_s: float) -> Delivery | None:
        rows = self._attached(device, generation)
        entry = None if rows is None else rows.oldest()
        if rows is None or entry is None or entry.offered_to != generation or entry.answered:
            return None
        now_s = self._clock()
        offered_at_s = entry.delivery.offered_at_s
        if offered_at_s is None or now_s - offered_at_s < older_than_s:
            return None
        return rows.offer(entry, now_s)

    async def report(self, report: Report, *, generation: int) -> Recorded | Refusal:
        """As the interface says. ``ended`` says whether the delivery has an end, of a repeat too."""
        rows = self._devices.get(report.device)
        if rows is None:
            return _not_found()
        entry = rows.entries.get(report.seq)
        if entry is None or entry.delivery.attempt == 0 or report.epoch != entry.delivery.epoch:
            return Refusal(code="unknown_delivery", message="no such delivery was ever offered")
        entry.answered |= generation == entry.offered_to
        if (report.ear, report.n, report.state, report.digest) in entry.seen:
            return rows.recorded(entry, repeated=True)
        judged = judge(entry.delivery, report)
        if isinstance(judged, Refusal):
            return judged
        if judged.delivery is entry.delivery:
            return rows.recorded(entry, repeated=True)
        return self._take(rows, entry, report, judged)

    def _take(self, rows: DeviceRows, entry: Entry, report: Report, judged: Judged) -> Recorded | Refusal:
        if len(entry.seen) >= self._limits.max_reports and not is_end(entry.delivery.kind, judged.event):
            return Refusal(code="overloaded", message="the delivery has had too many reports")
        now_s = self._clock()
        entry.seen.add((report.ear, report.n, report.state, report.digest))
        events = rows.record(entry, judged.delivery, now_s, report=report, judged=judged)
        changed = rows.learn(entry.delivery, report, now_s)
        if is_end(entry.delivery.kind, entry.delivery.state):
            self._close(rows, entry, now_s)
        return rows.recorded(entry, events=events, changed=changed)

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        rows = self._devices.get(device)
        entry = None if rows is None else rows.entries.get(seq)
        return None if entry is None else entry.delivery

    async def pending(self, device: str) -> tuple[Delivery, ...]:
        rows = self._devices.get(device)
        return () if rows is None else tuple(rows.entries[seq].delivery for seq in rows.pending)

    async def changed_since(self, device: str, n: int, *, limit: int = 100) -> tuple[DeliveryEvent, ...]:
        rows = self._devices.get(device)
        return () if rows is None else rows.events_after(n, limit)

    def _attached(self, device: str, generation: int) -> DeviceRows | None:
        rows = self._devices.get(device)
        return rows if rows is not None and rows.attached and rows.generation == generation else None

    def _close(self, rows: DeviceRows, entry: Entry, now_s: float) -> None:
        """Take an ended delivery out of the queue; a head that came to nothing gives way to the truth."""
        rows.close(entry)
        if not rows.pending:
            rows.follow_truth(entry.delivery.revision, self._new_id, now_s)


def _is_too_late(entry: Entry, now_s: float) -> bool:
    """Once offered, only the phone can tell whether it is too late."""
    return entry.delivery.state == "accepted" and now_s >= entry.delivery.expires_at_s


def _not_found() -> Refusal:
    return Refusal(code="not_found", message="there is no such device")


def _misread(rows: DeviceRows, read: Mapping[Ear, Images]) -> Refusal | None:
    for ear, images in read.items():
        aid = rows.aids.get(ear)
        if aid is None or aid.serial != images.serial or images.image.ear != ear:
            return Refusal(code="wrong_device", message=f"that is not the aid registered for the {ear} ear", ear=ear)
        if ear_digest(images.image) != images.ram:
            return Refusal(code="wrong_digest", message="the image is not what its digest is of", ear=ear)
    return None
