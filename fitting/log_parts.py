"""The pieces that a device's rows are made of, and how the pieces that are written down are made.

Pure values and constructors. This module must not know what may follow what. Read ``Entry`` and ``Fresh`` first.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Literal, cast

import msgspec
from msgspec import UnsetType

from protocol.contract.base import EARS, Ear
from protocol.contract.devices import DeliveryState
from protocol.contract.fitting import Content, SafetySummary
from protocol.contract.sessions import Alarm

from .delivery import digest_of
from .digest import content_digests
from .log_values import Accepted, Delivery, LeaseGranted, LogEvent, Moment, Proposal, Revision

__all__ = [
    "Entry",
    "Fresh",
    "KnownKey",
    "OutboxItem",
    "OutboxKind",
    "accepted_digest",
    "held_since",
    "read_revision",
    "revision_of",
]


@dataclass(slots=True)
class Entry:
    """One delivery with what the log remembers beside it.

    ``offered_to``: the generation of the last offer, ``asked_of`` that which was asked not to begin.
    ``answered``: that phone has said something since. ``unanswered``: attachments in a row that it was offered to, and
    that have ended without a word of it.
    ``seen``: the reports that counted. A phone that has lost its journal numbers them anew, so a number alone tells
    nothing. ``copied``: the ears whose copy to NVM has begun by reports that were refused.
    """

    delivery: Delivery
    offered_to: int = 0
    asked_of: int = 0
    answered: bool = False
    seen: set[tuple[Ear | UnsetType, int, DeliveryState, str | UnsetType]] = field(default_factory=set)
    unanswered: int = 0
    copied: set[Ear] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What an idempotency key stands for: one request, and the answer that it got."""

    request_hash: str
    answer: Accepted | LeaseGranted


OutboxKind = Literal["push", "question"]


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """Something that is to be done at its time, written down with what it is about.

    ``push``: wake the phone for a package. ``question``: ask its wearer whether to keep one.
    """

    kind: OutboxKind
    seq: int
    due_at_s: float


@dataclass(slots=True)
class Fresh:
    """What steps have added since a store last took it. ``events`` are numbered and chained.

    ``deliveries`` are those that are new or have ended. ``is_hard``: it must be written down before anybody is told.
    ``is_soft``: something has moved that may be told first. ``lease``: what was taken for true of the lease that was
    there before; a store that has a better clock than it gave holds the step to it. ``moved_on``: the step is taken
    again, and of these ears something else was learned in between, which stays.
    """

    revisions: list[Revision] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    events: list[LogEvent] = field(default_factory=list)
    keys: dict[str, KnownKey] = field(default_factory=dict)
    outbox: list[OutboxItem] = field(default_factory=list)
    is_hard: bool = False
    is_soft: bool = False
    lease: Literal["live", "ended"] | None = None
    moved_on: frozenset[Ear] = frozenset()

    def alarm_moves(self) -> dict[Alarm, bool]:
        """The alarms that were raised (true) or cleared."""
        return {cast("Alarm", one.state): one.code is None for one in self.events if one.kind == "alarm"}


def held_since(held: tuple[Moment, ...], newest: Moment, window_s: float) -> tuple[Moment, ...]:
    """A history with one more moment, without those that are older than the window.

    The last one before the window was still in force when the window began, so it stays.
    """
    since_s = newest.at_s - window_s
    before = sum([moment.at_s <= since_s for moment in held])
    return (*held[max(0, before - 1) :], newest)


def revision_of(proposal: Proposal, base: Revision, revision_id: str, now_s: float) -> Revision:
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
        vendor=proposal.vendor,
    )


def read_revision(content: Content, revision_id: str, parent: str, reason: str, now_s: float) -> Revision:
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


_SORTED = msgspec.json.Encoder(order="deterministic")


def accepted_digest(delivery: Delivery) -> str:
    """One hash of what was accepted: the revision with all that it says, what it was thought of on, and under whom.

    It goes into the chain with the event, so what is left of the revision can be held to it at any time. The form must
    never change: whatever else is to be covered one day goes under another digest.
    """
    revision, base = delivery.revision, delivery.base
    safety, vendor = revision.safety, revision.vendor
    covered = (
        *(delivery.seq, delivery.fence, delivery.kind, delivery.mode, [ear for ear in EARS if ear in delivery.ears]),
        *(revision.revision_id, revision.parent, revision.origin, revision.author, round(revision.at_s * 1_000)),
        [digest_of(revision.digests, ear) for ear in EARS],
        *(base.revision_id, [digest_of(base.digests, ear) for ear in EARS]),
        _hash(revision.reason),
        # By its parts: a field that a later version adds to the whole must not change the hash.
        _hash((safety.rules, safety.findings, safety.limits)),
        None if vendor is None else _hash((vendor.format, vendor.digest, vendor.data)),
    )
    return "sha256:" + _hash(covered)


def _hash(value: object) -> str:
    return hashlib.sha256(_SORTED.encode(value)).hexdigest()
