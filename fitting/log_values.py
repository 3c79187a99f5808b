"""What a device log speaks in: revisions, deliveries, events, leases, and the answers of its calls.

Every value is immutable; a log that keeps a new one keeps a new object. They are structs: a change makes eighteen
copies of them, each for a tenth of what a dataclass costs. This module must not know how a log is kept nor what may
follow what. Read ``Revision``, ``Delivery`` and ``LogEvent`` first.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import DeliveryState, EarTruth, InAid, RegisteredAid
from protocol.contract.fitting import Content, DeliveryKind, Digests, Mode, SafetySummary, VendorPayload
from protocol.contract.history import RevisionOrigin
from protocol.contract.sessions import Alarm, EndReason

__all__ = [
    "Accepted",
    "Attached",
    "Delivery",
    "DeviceHead",
    "Ended",
    "EventKind",
    "LastEnd",
    "Learned",
    "LeaseGranted",
    "LeaseState",
    "LiveSession",
    "LogEvent",
    "LogLimits",
    "Moment",
    "Proposal",
    "Recorded",
    "Released",
    "Revision",
    "RevisionOrigin",
    "SessionEnded",
    "Stolen",
    "WithdrawCause",
    "Withdrawn",
    "first_hash",
]

EventKind = Literal["delivery", "lease", "session", "device", "alarm"]
WithdrawCause = Literal["superseded", "expired", "cancelled"]


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Bounds of one device's log; reaching one refuses with ``overloaded``.

    ``lease_ttl_s``: a lease that is not renewed ends. ``max_pending``: deliveries without an end.
    ``max_reports``: reports that move one delivery without ending an ear. ``max_keys``: idempotency
    keys remembered, oldest forgotten first.
    ``max_history``: ended deliveries, their revisions and events kept in memory implementations. ``max_moments``:
    contents accepted in the 10 seconds that a budget is counted from; of those active in the 7 days the oldest are put
    together instead, at their lowest. ``max_unanswered``: attachments in a row that are lost over the same offer; then
    the phone is asked not to begin it, and what waits behind it goes on. ``question_after_s``: how long an installed
    package is worn before its wearer is asked whether to keep it.
    """

    lease_ttl_s: float = 15.0
    max_pending: int = 64
    max_reports: int = 64
    max_keys: int = 1_024
    max_history: int = 4_096
    max_moments: int = 128
    max_unanswered: int = 3
    question_after_s: float = 259_200.0


class Revision(Struct, frozen=True):
    """One immutable configuration. ``parent`` is "" only for the first, which is a read-back."""

    revision_id: str
    parent: str
    origin: RevisionOrigin
    author: str
    reason: str
    content: Content
    digests: Digests
    safety: SafetySummary
    at_s: float
    vendor: VendorPayload | None = None


class Moment(Struct, frozen=True):
    """A revision that was accepted, or became active, at ``at_s``."""

    at_s: float
    revision: Revision


class LiveSession(Struct, frozen=True):
    """Live work that the patient has agreed to, under the lease of that fence.

    ``base`` is what the aids go back to: what they held when it began, or what was saved last. ``held`` is what was
    accepted since, as far as budgets look back, the very first base included. ``heard`` is what came about, by the time
    that it did, as far back.
    """

    fence: int
    session: str
    holder: str
    base: Revision
    at_s: float
    held: tuple[Moment, ...]
    heard: tuple[Moment, ...] = ()


class LastEnd(Struct, frozen=True):
    """How the last live session of a device ended, for whoever was away then. None once another has begun.

    ``fence`` and ``holder`` are that session's, ``draft`` as in ``SessionEnded``.
    """

    reason: EndReason
    fence: int
    holder: str
    draft: str | None = None


class LeaseState(Struct, frozen=True):
    """The live lease of a device; ``until_s`` is on the log's clock."""

    holder: str
    session: str
    fence: int
    until_s: float


class Delivery(Struct, frozen=True):
    """One change on its way to the aids. ``ears`` are the ears that it changes, each with its own state.

    ``after`` is the last seq up to which all had ended when this was offered last. ``withdrawn``: the phone is asked
    not to begin it, for that reason; its word is awaited.
    """

    device: str
    epoch: str
    seq: int
    revision: Revision
    base: Revision
    kind: DeliveryKind
    mode: Mode
    fence: int
    state: DeliveryState
    ears: Mapping[Ear, DeliveryState]
    attempt: int
    after: int
    offered_at_s: float | None
    expires_at_s: float
    code: str | None = None
    withdrawn: WithdrawCause | None = None


class LogEvent(Struct, frozen=True):
    """One recorded step, numbered per device from 1 and chained by hashes.

    ``n`` is 0 while the step is not yet recorded for good: what a phone says on the way to an end is told at once, and
    recorded with the next step that must not be lost. ``ear`` is None for the whole delivery. ``digest`` is that of
    the aid, or of ``accepted`` what ``log_parts.accepted_digest`` makes of it. ``state`` is a delivery's
    state, or what happened to a lease, a session, a device. ``actor`` is a user, "phone" or "server", ``text`` a typed
    reason.
    """

    n: int
    kind: EventKind
    state: str
    at_s: float
    seq: int | None = None
    ear: Ear | None = None
    code: str | None = None
    digest: str | None = None
    actor: str = ""
    text: str | None = None
    hash: str = ""

    def chained(self, n: int, before: str) -> "LogEvent":
        """The same step with its number and its hash, which covers all that came before it."""
        return replace(self, n=n, hash=self.hash_after(before, n))

    def hash_after(self, before: str, n: int) -> str:
        """The hash that it has as number ``n`` behind the one whose hash is ``before``."""
        at_ms = round(self.at_s * 1_000)
        what = (self.kind, self.state, self.seq, self.ear, self.code, self.digest)
        return hashlib.sha256(_TOLD.encode((before, n, at_ms, *what, self.actor, self.text))).hexdigest()


_TOLD = msgspec.json.Encoder()


def first_hash(device: str) -> str:
    """What the first event of a device is chained to."""
    return hashlib.sha256(device.encode()).hexdigest()


class DeviceHead(Struct, frozen=True):
    """A snapshot of a device. ``revision`` is the newest *accepted* one; None before the first read-back.

    ``answered`` is the earlier answer to the idempotency key that was asked about, if there was one. ``active`` is what
    NVM held, or may have held for a while, as far as budgets look back (``log_moments``), ``waiting`` the newest change
    if it is volatile and was never offered.
    ``at_s`` is when this was true, on the log's clock. ``ground`` is what a package would be written over, None when it
    is not known what the aids keep. ``attached``: a phone has attached, and nobody has said that it is gone.
    """

    device: str
    epoch: str
    aids: Mapping[Ear, RegisteredAid]
    revision: Revision | None
    in_aid: InAid
    lease: LeaseState | None
    fence: int
    generation: int
    last_seq: int
    last_terminal: int
    at_s: float
    battery: int | None = None
    answered: "Accepted | Refusal | None" = None
    live: LiveSession | None = None
    active: tuple[Moment, ...] = ()
    waiting: Delivery | None = None
    alarms: frozenset[Alarm] = frozenset()
    ground: Revision | None = None
    last_end: LastEnd | None = None
    attached: bool = False

    @property
    def is_saved(self) -> bool:
        """Whether every aid is known to hold the same in RAM and in NVM."""
        ears = (getattr(self.in_aid, ear) for ear in self.aids)
        return all(isinstance(truth, EarTruth) and truth.ram == truth.nvm for truth in ears)


class Proposal(Struct, frozen=True):
    """A change that the safety kernel has passed, on the head that it saw.

    ``request_hash`` is the digest of the whole request: one key can stand for one request only.
    ``fence`` is that of the lease, whose holder must be ``author``. ``supersedes`` is the change that waits and may
    fall away, because this one was judged on its base too. ``expect``: the aids' RAM must be known to hold that.
    ``ground``: the revision that a package was judged on, which the aids must still keep. ``is_wish``: its wearer wants
    that back, which a lease with no live work under it does not keep out.
    """

    device: str
    key: str
    request_hash: str
    expected_head: str
    kind: DeliveryKind
    mode: Mode
    fence: int
    author: str
    reason: str
    origin: RevisionOrigin
    content: Content
    digests: Digests
    ears: tuple[Ear, ...]
    safety: SafetySummary
    expires_in_s: float
    supersedes: int | None = None
    expect: Mapping[Ear, str] | None = None
    ground: str = ""
    vendor: VendorPayload | None = None
    is_wish: bool = False


class Accepted(Struct, frozen=True):
    """The proposal is in the log. ``replayed``: the key was known, this is the first answer again.

    ``ended`` are the changes that it made fall away.
    """

    epoch: str
    seq: int
    revision_id: str
    digests: Digests
    safety: SafetySummary
    replayed: bool = False
    ended: "tuple[Ended, ...]" = ()


class LeaseGranted(Struct, frozen=True):
    """The caller holds the device; ``renewed`` when the same session already did."""

    fence: int
    lease_for_s: float
    renewed: bool


class Attached(Struct, frozen=True):
    """The phone is attached: offers of older generations are void. ``changed`` are ears whose truth moved.

    ``question``: the package that its wearer was asked about and has not answered.
    """

    epoch: str
    from_seq: int
    generation: int
    resume: Literal["ok", "reset", "ahead"]
    changed: tuple[Ear, ...] = ()
    in_aid: InAid = field(default_factory=InAid)
    live: LiveSession | None = None
    alarm_moves: Mapping[Alarm, bool] = field(default_factory=dict)
    question: int | None = None
    last_end: LastEnd | None = None


class Recorded(Struct, frozen=True):
    """A report is in the log. ``repeated``: it was there already, nothing moved.

    ``ended``: the delivery has an end, by this report or before it. ``others`` are changes that fell away with it. All
    deliveries up to ``last_terminal`` have ended. ``alarm_moves``: alarms raised (true) or cleared.
    """

    delivery: Delivery
    events: tuple[LogEvent, ...]
    changed: tuple[Ear, ...] = ()
    ended: bool = False
    repeated: bool = False
    in_aid: InAid = field(default_factory=InAid)
    last_terminal: int = 0
    others: "tuple[Ended, ...]" = ()
    alarm_moves: Mapping[Alarm, bool] = field(default_factory=dict)


class Ended(Struct, frozen=True):
    """A delivery that came to its end without the phone's word, and the events of that end."""

    delivery: Delivery
    events: tuple[LogEvent, ...]
    last_terminal: int = 0


class Withdrawn(Struct, frozen=True):
    """A delivery that shall not begin: it has ended, or the phone is to be asked and ``ended`` is None."""

    delivery: Delivery
    ended: Ended | None = None


class SessionEnded(Struct, frozen=True):
    """A live session is over. ``restore``: the aids may hold what was tried, so the phone is to restore the base.

    ``ended`` are the changes that were never offered and fell away, ``withdraw`` those that the phone is asked about.
    ``draft`` is the newest revision that came about in it and is lost: the fitter may ask for its content again.
    """

    live: LiveSession
    cause: EndReason
    restore: bool
    ended: tuple[Ended, ...] = ()
    withdraw: tuple[Delivery, ...] = ()
    draft: str | None = None


class Released(Struct, frozen=True):
    """The lease is given back; ``session`` is the live session that ended with it."""

    session: SessionEnded | None = None


class Stolen(Struct, frozen=True):
    """The lease is another's now. ``loser`` held it until now, ``session`` is what of his ended."""

    granted: LeaseGranted
    loser: LeaseState | None = None
    session: SessionEnded | None = None


class Learned(Struct, frozen=True):
    """What a phone told of its aids, unasked: the ears whose truth moved, and the changes that fell away.

    ``session`` is the live session that has ended with it.
    """

    in_aid: InAid
    changed: tuple[Ear, ...] = ()
    ended: tuple[Ended, ...] = ()
    alarms: frozenset[Alarm] = frozenset()
    alarm_moves: Mapping[Alarm, bool] = field(default_factory=dict)
    session: SessionEnded | None = None
