"""The device log: the one record of what was wanted, what was sent and what is in the aid.

Every call is atomic: it checks and acts in one step and returns a value, so no caller reads first and
writes later. Implementations (``log_memory``, and SQL ones beside it) pass one contract suite. This
module must not know where the rows live or who is connected. Read ``DeviceLog.append`` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import (
    AttachDevice,
    DeliveryState,
    InAid,
    RegisteredAid,
    Report,
)
from protocol.contract.fitting import Content, DeliveryKind, Digests, Mode, SafetySummary

__all__ = [
    "Accepted",
    "Attached",
    "Delivery",
    "DeliveryEvent",
    "DeviceHead",
    "DeviceLog",
    "Expired",
    "LeaseGranted",
    "LeaseState",
    "LogLimits",
    "Proposal",
    "Recorded",
    "Revision",
    "RevisionOrigin",
]

RevisionOrigin = Literal["readback", "first_fit", "fitting"]


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Bounds of one device's log; reaching one refuses with ``overloaded``.

    ``lease_ttl_s``: a lease that is not renewed ends. ``max_pending``: deliveries without an end.
    ``max_reports``: reports that move one delivery without ending an ear. ``max_keys``: idempotency
    keys remembered, oldest forgotten first.
    ``max_history``: ended deliveries, their revisions and events kept in memory implementations.
    """

    lease_ttl_s: float = 15.0
    max_pending: int = 64
    max_reports: int = 64
    max_keys: int = 1_024
    max_history: int = 4_096


@dataclass(frozen=True, slots=True)
class Revision:
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


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The live lease of a device; ``until_s`` is on the log's clock."""

    holder: str
    session: str
    fence: int
    until_s: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """One change on its way to the aids. ``ears`` are the ears that it changes, each with its own state.

    ``after`` is the last seq that had ended when this was offered last.
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


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One recorded step of a delivery, numbered per device from 1; ``ear`` is None for the whole delivery."""

    n: int
    seq: int
    state: DeliveryState
    ear: Ear | None
    code: str | None
    digest: str | None
    at_s: float


@dataclass(frozen=True, slots=True)
class DeviceHead:
    """A snapshot of a device. ``revision`` is the newest *accepted* one; None before the first read-back.

    ``answered`` is the earlier answer to the idempotency key that was asked about, if there was one.
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
    battery: int | None = None
    answered: "Accepted | Refusal | None" = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that the safety kernel has passed, on the head that it saw.

    ``request_hash`` is the digest of the whole request: one key can stand for one request only.
    ``fence`` is that of the lease, whose holder must be ``author``.
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


@dataclass(frozen=True, slots=True)
class Accepted:
    """The proposal is in the log. ``replayed``: the key was known, this is the first answer again."""

    epoch: str
    seq: int
    revision_id: str
    digests: Digests
    safety: SafetySummary
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """The caller holds the device; ``renewed`` when the same session already did."""

    fence: int
    lease_for_s: float
    renewed: bool


@dataclass(frozen=True, slots=True)
class Attached:
    """The phone is attached: offers of older generations are void. ``changed`` are ears whose truth moved."""

    epoch: str
    from_seq: int
    generation: int
    resume: Literal["ok", "reset", "ahead"]
    changed: tuple[Ear, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """A report is in the log. ``repeated``: it was there already, nothing moved.

    ``ended``: the delivery has an end, by this report or before it.
    """

    delivery: Delivery
    events: tuple[DeliveryEvent, ...]
    changed: tuple[Ear, ...] = ()
    ended: bool = False
    repeated: bool = False
    in_aid: InAid = field(default_factory=InAid)


@dataclass(frozen=True, slots=True)
class Expired:
    """A delivery whose time was over before it was ever offered, and the events of that end."""

    delivery: Delivery
    events: tuple[DeliveryEvent, ...]


class DeviceLog(Protocol):
    """Atomic operations on the logs of all devices. Codes of refusals are stable and listed per call.

    Unless a call says otherwise, a device that was never created is refused with ``not_found``.
    """

    async def create(self, device: str, aids: Mapping[Ear, RegisteredAid]) -> Refusal | None:
        """Open the log of a new device. Refused: ``already_exists``."""
        ...

    async def head(
        self, device: str, *, key: str | None = None, request_hash: str | None = None
    ) -> DeviceHead | Refusal:
        """A consistent snapshot, with the earlier answer to ``key`` if there is one.

        A key that stood for another request gives ``answered`` = refusal ``idempotency_conflict``.
        """
        ...

    async def acquire(self, device: str, *, session: str, holder: str) -> LeaseGranted | Refusal:
        """Take or renew the lease. Refused: ``lease_held`` (retryable, with retry_after_ms)."""
        ...

    async def append(self, proposal: Proposal) -> Accepted | Refusal:
        """Write a change: one more seq, one more head.

        Checked in this order, in one step with the write: the idempotency key (a known one returns its
        first answer, or ``idempotency_conflict``), the fence (``fence_stale``), the lease
        (``lease_lost``), the head (``base_mismatch``), the bound (``overloaded``, retryable).
        """
        ...

    async def attach(self, claim: AttachDevice) -> Attached | Refusal:
        """A phone takes the device over: generation + 1, read-backs recorded.

        With an empty log the read-backs become its first revision (origin ``readback``).
        Refused: ``wrong_device`` (a serial that is not registered for that ear), ``wrong_digest`` (an
        image that its digest is not of); nothing changes.
        """
        ...

    async def detach(self, device: str, generation: int) -> None:
        """The phone of that generation is gone; a later generation is not touched."""
        ...

    async def next_offer(self, device: str, generation: int) -> Delivery | None:
        """The delivery to offer now: the oldest without an end, marked offered, attempt + 1.

        None when there is none, when the generation is old, when the oldest is already offered
        to this generation (see ``reoffer``) or further along with it, or when its time is over (see ``expire``).
        """
        ...

    async def expire(self) -> tuple[Expired, ...]:
        """End what waits first in line on any device and was never offered in its time."""
        ...

    async def reoffer(self, device: str, generation: int, *, older_than_s: float) -> Delivery | None:
        """The delivery in state ``offered`` to this generation whose phone stayed silent that long, attempt + 1."""
        ...

    async def report(self, report: Report, *, generation: int) -> Recorded | Refusal:
        """Record what the phone did. Facts do not age: any generation may report.

        A ``confirmed`` without the expected digest is no proof: it is recorded as ``failed`` with
        ``E_READBACK``, and as the truth about the aid. Refused: ``unknown_delivery`` (another epoch, or a
        seq that was never offered), ``wrong_ear``, ``illegal_report`` (the state table forbids it),
        ``overloaded`` (more reports than ``max_reports``).
        """
        ...

    async def delivery(self, device: str, seq: int) -> Delivery | None:
        """One delivery, None when it is unknown."""
        ...

    async def pending(self, device: str) -> tuple[Delivery, ...]:
        """The deliveries without an end, oldest first."""
        ...

    async def changed_since(self, device: str, n: int, *, limit: int = 100) -> tuple[DeliveryEvent, ...]:
        """The events of a device after number ``n``, oldest first."""
        ...
