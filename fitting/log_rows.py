"""What a log holds of one device while it works on it, and the steps that change it.

Each step is plain bookkeeping; whether it may be taken was decided before, in ``log_commands``. What a step adds is
collected in ``fresh``, which a store takes and writes down. This module must not know the clock nor the store. Read
``DeviceRows`` from the top.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from msgspec import UNSET, UnsetType

from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import DeliveryState, EarImage, RegisteredAid, Report
from protocol.contract.fitting import Content, SafetySummary

from .delivery import Judged, is_end, move
from .digest import content_digests
from .log_truth import AidTruth
from .log_values import (
    Accepted,
    Delivery,
    DeviceHead,
    EventKind,
    LeaseState,
    LogEvent,
    LogLimits,
    Proposal,
    Recorded,
    Revision,
    first_hash,
)
from .model import content_from_images, ears_of

__all__ = ["DeviceRows", "Entry", "Fresh", "KnownKey"]

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


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What an idempotency key stands for: one request, and the answer that it got."""

    request_hash: str
    answer: Accepted


@dataclass(slots=True)
class Fresh:
    """What steps have added since a store last took it. ``events`` are numbered and chained.

    ``deliveries`` are those that are new or have ended. ``is_hard``: it must be written down before anybody is told.
    """

    revisions: list[Revision] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    events: list[LogEvent] = field(default_factory=list)
    keys: dict[str, KnownKey] = field(default_factory=dict)
    is_hard: bool = False


class DeviceRows:
    """The log of one device. ``pending`` are the seqs without an end; they end in order.

    ``entries`` are the deliveries without an end. ``keys`` are idempotency keys that are known
    without asking the store. ``soft`` are steps that were told and are not recorded yet, in order.
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
        self.last_n = 0
        self.last_hash = first_hash(device)
        self.truth = AidTruth()
        self.keys: OrderedDict[str, KnownKey] = OrderedDict()
        self.soft: list[LogEvent] = []
        self.fresh = Fresh()
        self.limits = limits

    def take(self) -> Fresh:
        """What is to be written down now; the next steps begin a new one."""
        fresh, self.fresh = self.fresh, Fresh()
        return fresh

    def harden(self) -> None:
        """Number and chain what was only told so far; whatever follows comes after it."""
        soft, self.soft = self.soft, []
        for event in soft:
            self._record(event)

    def touch(self) -> None:
        """Something without an event has changed that must be written down."""
        self.fresh.is_hard = True

    def answer_to(self, key: str, request_hash: str | None) -> Accepted | Refusal | None:
        """The first answer to an idempotency key, None when the key is new."""
        known = self.keys.get(key)
        if known is None:
            return None
        if known.request_hash != request_hash:
            return Refusal(code="idempotency_conflict", message="the idempotency key stood for another request")
        return replace(known.answer, replayed=True)

    def remember(self, key: str, known: KnownKey) -> None:
        """A key stands for something from now on; the oldest beyond the bound are left to the store."""
        self.keys[key] = known
        if len(self.keys) > self.limits.max_keys:
            self.keys.popitem(last=False)

    def snapshot(self, lease: LeaseState | None, answered: Accepted | Refusal | None) -> DeviceHead:
        return DeviceHead(
            device=self.device,
            epoch=self.epoch,
            aids=MappingProxyType(dict(self.aids)),
            revision=self.head,
            in_aid=self.truth.in_aid(),
            lease=lease,
            fence=self.fence,
            generation=self.generation,
            last_seq=self.last_seq,
            last_terminal=self.last_terminal,
            battery=self.truth.battery,
            answered=answered,
        )

    def append(self, proposal: Proposal, new_id: Callable[[], str], now_s: float) -> Accepted | Refusal:
        """The next seq, unless the head has moved or too many wait."""
        base = self.head
        if base is None or base.revision_id != proposal.expected_head:
            return Refusal(code="base_mismatch", message="the device has moved on, read its head again")
        if len(self.pending) >= self.limits.max_pending:
            return Refusal(
                code="overloaded",
                message="too many changes wait for the phone",
                retryable=True,
                retry_after_ms=_RETRY_AFTER_MS,
            )
        revision = _revision(proposal, base, new_id(), now_s)
        self.last_seq += 1
        delivery = self._delivery(proposal, base, revision, now_s)
        self.head = revision
        self.entries[delivery.seq] = Entry(delivery)
        self.pending.append(delivery.seq)
        self._event(delivery.seq, "accepted", now_s, actor=proposal.author)
        self.fresh.revisions.append(revision)
        self.fresh.deliveries.append(delivery)
        accepted = Accepted(self.epoch, delivery.seq, revision.revision_id, proposal.digests, proposal.safety)
        self.fresh.keys[proposal.key] = known = KnownKey(proposal.request_hash, accepted)
        self.remember(proposal.key, known)
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
    ) -> tuple[LogEvent, ...]:
        """Put the delivery's new state in place; one event for an ear, one when the whole has moved.

        What is no end is told and recorded later: it can be made up for by asking the phone again.
        """
        before, entry.delivery = entry.delivery, delivery
        hard = is_end(delivery.kind, delivery.state)
        code = None if judged is None else judged.code
        actor = "server" if report is None else "phone"
        made = []
        if report is not None and judged is not None and report.ear is not UNSET:
            digest = None if report.digest is UNSET else report.digest
            made.append(
                self._event(
                    delivery.seq, judged.event, now_s, ear=report.ear, code=code, digest=digest, actor=actor, hard=hard
                )
            )
        if delivery.state != before.state:
            made.append(self._event(delivery.seq, delivery.state, now_s, code=code, actor=actor, hard=hard))
        return tuple(made)

    def recorded(
        self,
        delivery: Delivery,
        *,
        events: tuple[LogEvent, ...] = (),
        changed: tuple[Ear, ...] = (),
        repeated: bool = False,
    ) -> Recorded:
        ended = is_end(delivery.kind, delivery.state)
        return Recorded(delivery, events, changed, ended, repeated, self.truth.in_aid())

    def close(self, entry: Entry) -> None:
        """The delivery has an end: it leaves the line, and is written down as it is."""
        seq = entry.delivery.seq
        self.pending.remove(seq)
        del self.entries[seq]
        self.last_terminal = seq
        self.fresh.deliveries.append(entry.delivery)

    def begin(self, images: Mapping[Ear, EarImage], revision_id: str, now_s: float) -> None:
        """The first read-backs become the first revision. Raises BadArgument when they do not fit."""
        self._found(_read_revision(content_from_images(images), revision_id, "", "first read-back", now_s))

    def follow_truth(self, head: Revision, new_id: Callable[[], str], now_s: float) -> None:
        """When the head is not in the aids and nothing waits, what they are known to hold becomes the head.

        Otherwise the next change would be judged, and written, over a base that was never there.
        """
        if self.truth.holds(head) or any(ear not in self.truth.images for ear in ears_of(head.content)):
            return
        content = self.truth.content()
        if content is None:
            return
        reason = "read back after a change that did not come about"
        self._found(_read_revision(content, new_id(), head.revision_id, reason, now_s))

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
            self.touch()

    def _found(self, revision: Revision) -> None:
        self.head = revision
        self.fresh.revisions.append(revision)
        self.touch()

    def _delivery(self, proposal: Proposal, base: Revision, revision: Revision, now_s: float) -> Delivery:
        return Delivery(
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

    def note(self, kind: EventKind, state: str, now_s: float, *, actor: str, code: str | None = None) -> LogEvent:
        """Record what happened to a lease, a session or a device."""
        return self._record(LogEvent(0, kind, state, now_s, code=code, actor=actor))

    def _event(
        self,
        seq: int,
        state: DeliveryState,
        now_s: float,
        *,
        actor: str,
        ear: Ear | None = None,
        code: str | None = None,
        digest: str | None = None,
        hard: bool = True,
    ) -> LogEvent:
        event = LogEvent(0, "delivery", state, now_s, seq, ear, code, digest, actor)
        if hard:
            return self._record(event)
        self.soft.append(event)
        return event

    def _record(self, event: LogEvent) -> LogEvent:
        if self.soft:
            self.harden()
        self.last_n += 1
        recorded = event.chained(self.last_n, self.last_hash)
        self.last_hash = recorded.hash
        self.fresh.events.append(recorded)
        self.touch()
        return recorded


def _revision(proposal: Proposal, base: Revision, revision_id: str, now_s: float) -> Revision:
    return Revision(
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
