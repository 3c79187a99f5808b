"""What a log holds of one device while it works on it, and the steps that change it.

Each step is plain bookkeeping; whether it may be taken was decided before, in ``log_commands``. What a step adds is
collected in ``fresh``, which a store takes and writes down. This module must not know the clock nor the store. Read
``DeviceRows`` from the top.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import UNSET
from msgspec.structs import replace

from protocol.contract.base import EARS, Ear, Refusal
from protocol.contract.devices import DeliveryState, RegisteredAid, Report
from protocol.contract.sessions import Alarm
from protocol.errors import LocalProtocolError

from .delivery import Judged, is_end, move
from .log_moments import bounded, counted
from .log_pace import droppable
from .log_parts import Entry, Fresh, KnownKey, accepted_digest, held_since, revision_of
from .log_truth import AidTruth
from .log_values import (
    Accepted,
    Delivery,
    DeviceHead,
    Ended,
    EventKind,
    LastEnd,
    LeaseState,
    LiveSession,
    LogEvent,
    LogLimits,
    Moment,
    Proposal,
    Recorded,
    Revision,
    WithdrawCause,
    first_hash,
)
from .mode import only_lowers

__all__ = ["DeviceRows"]

_RETRY_AFTER_MS = 1_000
MAX_FENCE_JUMP: Final = 2**32
# How far back the budget of a session looks, K8 (``fitting.budgets``).
RISE_WINDOW_S: Final = 10.0


class DeviceRows:
    """The log of one device. ``pending`` are the seqs without an end; they end in order, ``entries`` the deliveries.

    ``keys`` are idempotency keys known without asking the store. ``soft`` are steps that were told, not yet recorded,
    in order. ``read_due``: the ears that may hold what a session has left in them: nothing begins before each was read
    again. ``question``: of which package its wearer was asked; ``taken_back`` the last unwanted, ``wish`` what does it.
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
        self.live: LiveSession | None = None
        self.last_end: LastEnd | None = None
        self.active: tuple[Moment, ...] = ()
        self.alarms: set[Alarm] = set()
        self.read_due: set[Ear] = set()
        self.question: int | None = None
        self.taken_back: int | None = None
        self.wish: int | None = None
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
        if known.request_hash != request_hash or not isinstance(known.answer, Accepted):
            return Refusal(code="idempotency_conflict", message="the idempotency key stood for another request")
        return replace(known.answer, replayed=True)

    def remember(self, key: str, known: KnownKey) -> None:
        """A key stands for something from now on; the oldest beyond the bound are left to the store."""
        self.keys[key] = known
        if len(self.keys) > self.limits.max_keys:
            self.keys.popitem(last=False)

    def snapshot(
        self, at_s: float, lease: LeaseState | None, answered: Accepted | Refusal | None, ground: Revision | None
    ) -> DeviceHead:
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
            at_s=at_s,
            battery=self.truth.battery,
            answered=answered,
            live=self.live,
            active=counted(self.active, at_s),
            waiting=next(reversed(self._droppable(at_s)), None),
            alarms=frozenset(self.alarms),
            ground=ground,
            last_end=self.last_end,
            attached=self.attached,
        )

    def append(
        self, proposal: Proposal, new_id: Callable[[], str], now_s: float, *, under: Revision | None = None
    ) -> Accepted | Refusal:
        """The next seq, unless the head has moved or too many wait. ``under``: what it is written over, if no head."""
        base = self.head
        if base is None or base.revision_id != proposal.expected_head:
            return Refusal(code="base_mismatch", message="the device has moved on, read its head again")
        superseded = self._superseded(proposal, now_s)
        if len(self.pending) - len(superseded) >= self.limits.max_pending:
            return _overloaded("too many changes wait for the phone")
        revision = revision_of(proposal, base, new_id(), now_s)
        if not self._counts(proposal, revision):
            return _overloaded("too many changes within the time that budgets are counted over")
        ended = tuple(self.end(self.entries[one.seq], "superseded", now_s) for one in superseded)
        self.last_seq += 1
        delivery = self._delivery(proposal, revision, under or base, superseded)
        self.head = revision
        self.entries[delivery.seq] = Entry(delivery)
        self.pending.append(delivery.seq)
        self._event(delivery.seq, "accepted", now_s, actor=proposal.author, digest=accepted_digest(delivery))
        self.fresh.revisions.append(revision)
        self.fresh.deliveries.append(delivery)
        accepted = Accepted(self.epoch, delivery.seq, revision.revision_id, proposal.digests, proposal.safety)
        self.fresh.keys[proposal.key] = known = KnownKey(proposal.request_hash, accepted)
        self.remember(proposal.key, known)
        return replace(accepted, ended=ended)

    def _superseded(self, proposal: Proposal, now_s: float) -> tuple[Delivery, ...]:
        """What falls away for it: the change that it may replace, or all that waits when it only lowers."""
        if proposal.mode == "standard":
            # Only packages wait where one is accepted.
            return tuple(one for seq in self.pending if not (one := self.entries[seq].delivery).attempt)
        waiting = self._droppable(now_s)
        is_change = proposal.kind == "volatile" and proposal.vendor is None
        if waiting and is_change and only_lowers(waiting[0].base.content, proposal.content):
            return waiting
        return waiting[-1:] if waiting and waiting[-1].seq == proposal.supersedes else ()

    def _delivery(
        self, proposal: Proposal, revision: Revision, base: Revision, superseded: tuple[Delivery, ...]
    ) -> Delivery:
        # What older ones were to change, this one has to bring about or take back.
        ears = proposal.ears
        if proposal.mode == "advanced":
            ears = (*ears, *(ear for one in superseded for ear in one.ears))
        return Delivery(
            device=self.device,
            epoch=self.epoch,
            seq=self.last_seq,
            revision=revision,
            base=superseded[0].base if superseded and proposal.mode == "advanced" else base,
            kind=proposal.kind,
            mode=proposal.mode,
            fence=proposal.fence,
            state="accepted",
            ears=dict.fromkeys((ear for ear in EARS if ear in ears), "accepted"),
            attempt=0,
            after=self.last_terminal,
            offered_at_s=None,
            expires_at_s=revision.at_s + proposal.expires_in_s,
        )

    def _counts(self, proposal: Proposal, revision: Revision) -> bool:
        """Remember what budgets are counted from; False when that is more than can be remembered."""
        if proposal.kind == "persist" or self.live is None:
            return True
        newest = Moment(revision.at_s, revision)
        held = held_since(self.live.held, newest, RISE_WINDOW_S)
        # The very first base stays: a session is counted from there too.
        held = held if held[0] is self.live.held[0] else (self.live.held[0], *held)
        if len(held) > self.limits.max_moments:
            return False
        self.live = replace(self.live, held=held)
        return True

    def _droppable(self, now_s: float) -> tuple[Delivery, ...]:
        return droppable([self.entries[seq].delivery for seq in self.pending], self.live, now_s)

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

    def ask(self, entry: Entry, now_s: float) -> Delivery:
        """The phone is asked, or asked again, not to begin."""
        entry.delivery = replace(entry.delivery, offered_at_s=now_s)
        entry.asked_of = self.generation
        self.fresh.is_soft = True
        return entry.delivery

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
        self.fresh.is_soft = True
        hard = is_end(delivery.kind, delivery.state)
        code = None if judged is None else judged.code
        code = code or (delivery.code if delivery.withdrawn else None)
        actor = "server" if report is None else "phone"
        made = []
        if report is not None and judged is not None and report.ear is not UNSET:
            digest = None if report.digest is UNSET else report.digest
            said = self._event(
                delivery.seq, judged.event, now_s, ear=report.ear, code=code, digest=digest, actor=actor, hard=hard
            )
            made.append(said)
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
        return Recorded(delivery, events, changed, ended, repeated, self.truth.in_aid(), self.last_terminal)

    def end(
        self, entry: Entry, state: WithdrawCause, now_s: float, *, actor: str = "server", code: str | None = None
    ) -> Ended:
        """End a delivery that was never offered."""
        moved = move(entry.delivery, state)
        if entry.delivery.attempt:
            raise LocalProtocolError("once it was offered, only the phone ends a delivery")
        entry.delivery = replace(moved, code=code or moved.code)
        event = self._event(moved.seq, state, now_s, code=code, actor=actor)
        self.close(entry)
        return Ended(entry.delivery, (event,), self.last_terminal)

    def close(self, entry: Entry) -> None:
        """The delivery has an end: it leaves the line, and is written down as it is."""
        seq = entry.delivery.seq
        self.pending.remove(seq)
        del self.entries[seq]
        # The phone goes by it: nothing below may be under way any more.
        self.last_terminal = self.pending[0] - 1 if self.pending else self.last_seq
        self.fresh.deliveries.append(entry.delivery)

    def alarm(self, alarm: Alarm, now_s: float, *, on: bool) -> None:
        """Raise or clear an alarm; it is recorded once."""
        if on == (alarm in self.alarms):
            return
        if on:
            self.alarms.add(alarm)
        else:
            self.alarms.discard(alarm)
        self.note("alarm", alarm, now_s, actor="server", code=None if on else "cleared")

    def became_active(self, revision: Revision, now_s: float, new_id: Callable[[], str]) -> None:
        """NVM of every aid holds that revision now: what a session goes back to, and what packages are counted from."""
        self.counts_from(revision, now_s, new_id)
        self.question = None
        if self.live is not None:
            self.live = replace(self.live, base=revision)
        self.touch()

    def counts_from(self, revision: Revision, now_s: float, new_id: Callable[[], str]) -> None:
        """Packages, and sessions too, are counted from this from now on."""
        active = (*counted(self.active, now_s), Moment(now_s, revision))
        self.active, made = bounded(active, self.limits.max_moments, new_id, now_s)
        self.fresh.revisions += made
        self.touch()

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

    def found(self, revision: Revision) -> None:
        """The newest revision is now this one, which was read."""
        self.head = revision
        self.fresh.revisions.append(revision)
        self.touch()

    def note(
        self,
        kind: EventKind,
        state: str,
        now_s: float,
        *,
        actor: str,
        code: str | None = None,
        text: str | None = None,
        seq: int | None = None,
    ) -> LogEvent:
        """Record what happened to a lease, a session, a device or an alarm."""
        return self._record(LogEvent(0, kind, state, now_s, seq, code=code, actor=actor, text=text))

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


def _overloaded(message: str) -> Refusal:
    return Refusal(code="overloaded", message=message, retryable=True, retry_after_ms=_RETRY_AFTER_MS)
