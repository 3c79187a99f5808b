"""What the memory log keeps of one device, and the steps that change it.

Each step is plain bookkeeping; whether it may be taken was decided before, in ``log_memory``. This
module must not know the clock. Read ``DeviceRows`` from the top.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Final, Literal

from msgspec import UNSET, UnsetType

from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import DeliveryState, EarImage, EarTruth, Images, InAid, RegisteredAid, Report
from protocol.contract.fitting import Content, SafetySummary
from protocol.contract.times import iso_ms
from protocol.errors import BadArgument

from .delivery import Judged, digest_of, is_end, move
from .digest import content_digests, ear_digest
from .log import (
    Accepted,
    Delivery,
    DeliveryEvent,
    DeviceHead,
    LeaseState,
    LogLimits,
    Proposal,
    Recorded,
    Revision,
)
from .model import content_from_images, ear_image, ears_of

__all__ = ["DeviceRows", "Entry"]

_RETRY_AFTER_MS = 1_000


MAX_FENCE_JUMP: Final = 2**32


@dataclass(slots=True)
class Entry:
    """One delivery with what the log remembers beside it.

    ``offered_to``: the generation of the last offer. ``answered``: that phone has said something since.
    ``seen``: the reports that counted. A phone that has lost its journal numbers them anew, so a number alone tells
    nothing.
    """

    delivery: Delivery
    offered_to: int = 0
    answered: bool = False
    seen: set[tuple[Ear | UnsetType, int, DeliveryState, str | UnsetType]] = field(default_factory=set)


class DeviceRows:
    """The log of one device. ``pending`` are the seqs without an end; they end in order.

    ``images`` are the contents that are known of the aids' RAM, each beside the digest it was read with.
    """

    def __init__(self, device: str, epoch: str, aids: Mapping[Ear, RegisteredAid], limits: LogLimits) -> None:
        self.device = device
        self.epoch = epoch
        self.aids = aids
        self.head: Revision | None = None
        self.lease: LeaseState | None = None
        self.fence = 0
        self.generation = 0
        self.attached = False
        self.last_seq = 0
        self.last_terminal = 0
        self.entries: dict[int, Entry] = {}
        self.pending: deque[int] = deque()
        self._limits = limits
        self._truth: dict[Ear, EarTruth] = {}
        self._images: dict[Ear, EarImage] = {}
        self._battery: int | None = None
        self._ended: deque[int] = deque()
        self._events: deque[DeliveryEvent] = deque()
        self._last_n = 0
        self._keys: OrderedDict[str, tuple[str, Accepted]] = OrderedDict()

    def answer_to(self, key: str, request_hash: str | None) -> Accepted | Refusal | None:
        """The first answer to an idempotency key, None when the key is new."""
        known = self._keys.get(key)
        if known is None:
            return None
        if known[0] != request_hash:
            return Refusal(code="idempotency_conflict", message="the idempotency key stood for another request")
        return replace(known[1], replayed=True)

    def snapshot(self, lease: LeaseState | None, answered: Accepted | Refusal | None) -> DeviceHead:
        return DeviceHead(
            device=self.device,
            epoch=self.epoch,
            aids=MappingProxyType(dict(self.aids)),
            revision=self.head,
            in_aid=self.in_aid(),
            lease=lease,
            fence=self.fence,
            generation=self.generation,
            last_seq=self.last_seq,
            last_terminal=self.last_terminal,
            battery=self._battery,
            answered=answered,
        )

    def in_aid(self) -> InAid:
        return InAid(left=self._truth.get("left", UNSET), right=self._truth.get("right", UNSET))

    def append(self, proposal: Proposal, new_id: Callable[[], str], now_s: float) -> Accepted | Refusal:
        """The next seq, unless the head has moved or too many wait."""
        base = self.head
        if base is None or base.revision_id != proposal.expected_head:
            return Refusal(code="base_mismatch", message="the device has moved on, read its head again")
        if len(self.pending) >= self._limits.max_pending:
            return Refusal(
                code="overloaded",
                message="too many changes wait for the phone",
                retryable=True,
                retry_after_ms=_RETRY_AFTER_MS,
            )
        revision_id = new_id()
        self.last_seq += 1
        revision = Revision(
            revision_id=revision_id,
            parent=base.revision_id,
            origin=proposal.origin,
            author=proposal.author,
            reason=proposal.reason,
            content=proposal.content,
            digests=proposal.digests,
            safety=proposal.safety,
            at_s=now_s,
        )
        delivery = Delivery(
            device=self.device,
            epoch=self.epoch,
            seq=self.last_seq,
            revision=revision,
            base=base,
            kind=proposal.kind,
            mode=proposal.mode,
            fence=proposal.fence,
            state="accepted",
            ears=dict.fromkeys(proposal.ears, "accepted"),
            attempt=0,
            after=self.last_terminal,
            offered_at_s=None,
            expires_at_s=now_s + proposal.expires_in_s,
        )
        self.head = revision
        self.entries[delivery.seq] = Entry(delivery)
        self.pending.append(delivery.seq)
        self._event(delivery.seq, "accepted", now_s)
        accepted = Accepted(self.epoch, delivery.seq, revision_id, proposal.digests, proposal.safety)
        self._keys[proposal.key] = (proposal.request_hash, accepted)
        if len(self._keys) > self._limits.max_keys:
            self._keys.popitem(last=False)
        return accepted

    def oldest(self) -> Entry | None:
        """The one delivery that may be on its way; the others wait behind it."""
        return self.entries[self.pending[0]] if self.pending else None

    def offer(self, entry: Entry, now_s: float) -> Delivery:
        offered = replace(
            move(entry.delivery, "offered"),
            epoch=self.epoch,
            attempt=entry.delivery.attempt + 1,
            after=self.last_terminal,
            offered_at_s=now_s,
        )
        self.record(entry, offered, now_s)
        entry.offered_to, entry.answered = self.generation, False
        return offered

    def record(
        self,
        entry: Entry,
        delivery: Delivery,
        now_s: float,
        *,
        report: Report | None = None,
        judged: Judged | None = None,
    ) -> tuple[DeliveryEvent, ...]:
        """Put the delivery's new state in place; one event for an ear, one when the whole has moved."""
        before, entry.delivery = entry.delivery, delivery
        first = self._last_n
        code = None if judged is None else judged.code
        if report is not None and judged is not None and report.ear is not UNSET:
            digest = None if report.digest is UNSET else report.digest
            self._event(delivery.seq, judged.event, now_s, ear=report.ear, code=code, digest=digest)
        if delivery.state != before.state:
            self._event(delivery.seq, delivery.state, now_s, code=code)
        return self.events_after(first, self._last_n - first)

    def recorded(
        self,
        entry: Entry,
        *,
        events: tuple[DeliveryEvent, ...] = (),
        changed: tuple[Ear, ...] = (),
        repeated: bool = False,
    ) -> Recorded:
        ended = is_end(entry.delivery.kind, entry.delivery.state)
        return Recorded(entry.delivery, events, changed, ended, repeated, self.in_aid())

    def close(self, entry: Entry) -> None:
        """The delivery has an end; the oldest ended one beyond the bound is forgotten with its events."""
        seq = entry.delivery.seq
        self.pending.remove(seq)
        self.last_terminal = seq
        self._ended.append(seq)
        if len(self._ended) > self._limits.max_history:
            forgotten = self._ended.popleft()
            del self.entries[forgotten]
            while self._events and self._events[0].seq <= forgotten:
                self._events.popleft()

    def events_after(self, n: int, limit: int) -> tuple[DeliveryEvent, ...]:
        # Numbers are consecutive, so the first one wanted is found by counting.
        start = 0 if not self._events else max(0, n + 1 - self._events[0].n)
        return tuple(islice(self._events, start, start + max(0, limit)))

    def begin(self, images: Mapping[Ear, EarImage], revision_id: str, now_s: float) -> None:
        """The first read-backs become the first revision. Raises BadArgument when they do not fit."""
        self.head = _read_revision(content_from_images(images), revision_id, "", "first read-back", now_s)

    def read_back(self, ear: Ear, images: Images, now_s: float) -> bool:
        """Record what one aid was found to hold; whether that is news."""
        self._images[ear] = images.image
        if images.battery is not UNSET:
            self._battery = images.battery
        return self._know(ear, images.ram, images.nvm, "read_back", now_s)

    def learn(self, delivery: Delivery, report: Report, now_s: float) -> tuple[Ear, ...]:
        """Record what a report proves of an aid; the ears whose truth has moved."""
        if report.battery is not UNSET:
            self._battery = report.battery
        known = None if report.ear is UNSET else self._truth.get(report.ear)
        if report.ear is UNSET or report.digest is UNSET or known is None:
            return ()
        ear, from_ram = report.ear, report.source != "nvm"
        ram = report.digest if from_ram else known.ram
        nvm = report.nvm if report.nvm is not UNSET else known.nvm
        if from_ram:
            self._know_image(ear, ram, delivery)
        moved = self._know(ear, ram, nvm if from_ram else report.digest, "delivery", now_s)
        return (ear,) if moved else ()

    def follow_truth(self, head: Revision, new_id: Callable[[], str], now_s: float) -> None:
        """When the head is not in the aids and nothing waits, what they are known to hold becomes the head.

        Otherwise the next change would be judged, and written, over a base that was never there.
        """
        ears = ears_of(head.content)
        held = {ear: truth.ram for ear, truth in self._truth.items()}
        if all(held.get(ear) == digest_of(head.digests, ear) for ear in ears):
            return
        if any(ear not in self._images for ear in ears):
            return
        try:
            content = content_from_images(self._images)
        except BadArgument:
            return
        reason = "read back after a change that did not come about"
        self.head = _read_revision(content, new_id(), head.revision_id, reason, now_s)

    def resume(self, epoch: str, last_terminal: int) -> Literal["ok", "reset", "ahead"]:
        """How the phone's memory of the log compares with the log."""
        if epoch == self.epoch:
            return "ahead" if last_terminal > self.last_seq else "ok"
        return "ok" if epoch == "" and self.last_terminal == 0 else "reset"

    def raise_fence(self, fence_max: int) -> None:
        """The phone refuses fences below what it has seen: a lease below that is worth nothing.

        One claim raises it by a bound only: a wild one must not use all numbers up.
        """
        if fence_max > self.fence:
            self.fence, self.lease = min(fence_max, self.fence + MAX_FENCE_JUMP), None

    def _know(self, ear: Ear, ram: str, nvm: str, cause: str, now_s: float) -> bool:
        before = self._truth.get(ear)
        self._truth[ear] = EarTruth(ram=ram, nvm=nvm, cause=cause, at=iso_ms(now_s))
        return before is None or (before.ram, before.nvm) != (ram, nvm)

    def _know_image(self, ear: Ear, ram: str, delivery: Delivery) -> None:
        for revision in (delivery.revision, delivery.base):
            if ram == digest_of(revision.digests, ear):
                self._images[ear] = ear_image(revision.content, ear)
                return
        known = self._images.get(ear)
        if known is None or ear_digest(known) != ram:
            self._images.pop(ear, None)

    def _event(
        self,
        seq: int,
        state: DeliveryState,
        now_s: float,
        *,
        ear: Ear | None = None,
        code: str | None = None,
        digest: str | None = None,
    ) -> None:
        self._last_n += 1
        self._events.append(DeliveryEvent(self._last_n, seq, state, ear, code, digest, now_s))


def _read_revision(content: Content, revision_id: str, parent: str, reason: str, now_s: float) -> Revision:
    return Revision(
        revision_id=revision_id,
        parent=parent,
        origin="readback",
        author="",
        reason=reason,
        content=content,
        digests=content_digests(content),
        safety=SafetySummary(rules=()),
        at_s=now_s,
    )
