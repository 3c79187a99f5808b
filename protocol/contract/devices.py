"""Devices, the lease of the one who fits, and the conversation with the phone that carries the aids."""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import NO_NUL, Answer, Ear, Id, Ordinal, StrictWire, Text, Wire
from .fitting import (
    Base,
    Content,
    DeliveryKind,
    Digest,
    Digests,
    EarProgram,
    Mode,
    References,
    Slot,
    VendorPayload,
)

__all__ = [
    "DELIVERY_STATES",
    "AcquireLease",
    "Alarm",
    "AttachAnswer",
    "AttachDevice",
    "DeliveryAnswer",
    "DeliveryChanged",
    "DeliveryQuery",
    "DeliveryState",
    "DeviceAnswer",
    "DeviceQuery",
    "EarImage",
    "EarStates",
    "EarTruth",
    "HeadView",
    "Images",
    "InAid",
    "InAidChanged",
    "InFlight",
    "LeaseAnswer",
    "Offer",
    "OfferBody",
    "PhoneView",
    "RegisteredAid",
    "Report",
    "ReportAnswer",
    "Settled",
    "SlotImage",
    "Target",
    "Targets",
]

Alarm = Literal["split", "indeterminate", "history_lost", "locked", "poison"]
DeliveryState = Literal[
    "accepted",
    "offered",
    "received",
    "awaiting_install",
    "writing",
    "confirmed",
    "committing",
    "active",
    "rejected",
    "declined",
    "superseded",
    "expired",
    "cancelled",
    "rolled_back",
    "failed",
    "indeterminate",
]
DELIVERY_STATES: Final[tuple[DeliveryState, ...]] = DeliveryState.__args__  # type: ignore[attr-defined]  # typing.Literal keeps its values there; mypy does not model it
ReportedState = Literal[
    "received",
    "awaiting_install",
    "writing",
    "confirmed",
    "committing",
    "active",
    "rejected",
    "declined",
    "superseded",
    "expired",
    "cancelled",
    "rolled_back",
    "failed",
    "indeterminate",
]
Serial = Annotated[str, Meta(min_length=1, max_length=40, pattern=NO_NUL)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Code = Annotated[str, Meta(pattern=r"^E_[A-Z_]{1,30}$")]


class RegisteredAid(StrictWire, frozen=True, kw_only=True):
    """One aid as the clinic registers it; ``model`` names a capability sheet."""

    serial: Serial
    model: Id
    firmware: Annotated[str, Meta(min_length=1, max_length=40, pattern=NO_NUL)]


class EarTruth(Wire, frozen=True, kw_only=True):
    """What one aid is known to hold, by read-back; absent when no read-back has come yet."""

    ram: Digest
    nvm: Digest
    cause: str
    at: str


class InAid(Wire, frozen=True, kw_only=True):
    """The record of what is in the aids; only the phone's reports change it."""

    left: EarTruth | UnsetType = UNSET
    right: EarTruth | UnsetType = UNSET


class HeadView(Wire, frozen=True, kw_only=True):
    """The newest accepted revision of a device."""

    revision: str
    digests: Digests
    content: Content


class PhoneView(Wire, frozen=True, kw_only=True):
    """What is known of the phone that carries the aids."""

    online: bool
    ears: tuple[Ear, ...] = ()
    battery: Percent | UnsetType = UNSET


class DeviceQuery(Wire, frozen=True, kw_only=True):
    """Names one device."""

    device: Id


class DeviceAnswer(Answer, frozen=True, kw_only=True):
    """``GetDevice``: what is worn, what was wanted, what is in the aids.

    ``head`` is absent until the phone has read the aids back once.
    """

    device: str
    in_aid: InAid
    phone: PhoneView
    last_seq: int
    left: RegisteredAid | UnsetType = UNSET
    right: RegisteredAid | UnsetType = UNSET
    head: HeadView | UnsetType = UNSET
    alarms: tuple[Alarm, ...] = ()


class DeliveryQuery(Wire, frozen=True, kw_only=True):
    """Names one delivery of one log, as ``Submit`` answered it."""

    device: Id
    epoch: Text
    seq: Ordinal


class EarStates(Wire, frozen=True, kw_only=True):
    """The state of each ear that a delivery changes."""

    left: DeliveryState | UnsetType = UNSET
    right: DeliveryState | UnsetType = UNSET


class DeliveryAnswer(Answer, frozen=True, kw_only=True):
    """``GetDelivery``: where a delivery is now; ``code`` says why it ended otherwise than wanted, or why it waits."""

    device: str
    epoch: str
    seq: int
    state: DeliveryState
    ears: EarStates
    code: str | UnsetType = UNSET


class AcquireLease(Wire, frozen=True, kw_only=True):
    """Become the one who fits. The same session gets the same fence back, and renews the lease."""

    device: Id
    session: Id


class LeaseAnswer(Answer, frozen=True, kw_only=True):
    """The fence rises with every new holder; the phone refuses a lower one than it has seen."""

    fence: int
    lease_for_ms: int
    mode: Mode
    in_aid: InAid
    phone: PhoneView
    head: HeadView | UnsetType = UNSET
    alarms: tuple[Alarm, ...] = ()


class SlotImage(StrictWire, frozen=True, kw_only=True):
    """One program slot as it was read from one aid."""

    slot: Slot
    name: Annotated[str, Meta(min_length=1, max_length=40, pattern=NO_NUL)]
    category: Literal["universal", "noise", "music", "stream", "telecoil", "tinnitus"]
    program: EarProgram


class EarImage(StrictWire, frozen=True, kw_only=True):
    """Everything that one aid holds in one memory: what the digest of an ear is taken over."""

    ear: Ear
    bands_hz: tuple[int, ...]
    slots: Annotated[tuple[SlotImage, ...], Meta(min_length=1, max_length=8)]
    refs: References = References()


class Images(Wire, frozen=True, kw_only=True):
    """A read-back of one aid: both digests, and the content of its RAM."""

    serial: Serial
    firmware: Text
    ram: Digest
    nvm: Digest
    image: EarImage
    battery: Percent | UnsetType = UNSET


class InFlight(Wire, frozen=True, kw_only=True):
    """A delivery that the phone's journal holds and the server has not settled."""

    seq: int
    phase: Text


class AttachDevice(Wire, frozen=True, kw_only=True):
    """The phone says hello for its aids. ``last_terminal`` 0 and ``epoch`` "" mean that it knows of no log yet.

    ``trial``: the aids hold what was tried in a session and not saved.
    """

    device: Id
    epoch: Text
    last_terminal: Ordinal
    fence_max: Ordinal
    left: Images | UnsetType = UNSET
    right: Images | UnsetType = UNSET
    in_flight: InFlight | UnsetType = UNSET
    trial: bool = False


class AttachAnswer(Answer, frozen=True, kw_only=True):
    """Where the phone and the log stand.

    ``ok``: go on at ``from_seq``. ``reset``: another log, its numbers start anew for the phone. ``ahead``: the phone
    knows deliveries that the log does not, so the log has lost a tail. ``publicKey`` is what offers are signed with,
    the 32 bytes of an Ed25519 key in base64url; a phone keeps the first one that it is given for a device.
    """

    epoch: str
    from_seq: int
    generation: int
    resume: Literal["ok", "reset", "ahead"]
    key_id: str | UnsetType = UNSET
    public_key: str | UnsetType = UNSET


class Target(Wire, frozen=True, kw_only=True):
    """The one aid that may be written."""

    serial: Serial
    firmware: str


class Targets(Wire, frozen=True, kw_only=True):
    """The aids of an offer, by ear."""

    left: Target | UnsetType = UNSET
    right: Target | UnsetType = UNSET


class OfferBody(StrictWire, frozen=True, kw_only=True):
    """Absolute values for the slots of each ear that changes, and the ear digests expected afterwards."""

    bands_hz: tuple[int, ...]
    refs: References
    expect: Digests
    left: tuple[SlotImage, ...] = ()
    right: tuple[SlotImage, ...] = ()
    vendor: VendorPayload | UnsetType = UNSET


class Offer(Wire, frozen=True, kw_only=True):
    """One delivery, offered to the phone. ``after`` is the last seq that the server holds an end for.

    ``sig`` is an Ed25519 signature in base64url over ``fitting.signing.signed_bytes``; ``keyId`` names the key.
    """

    device: str
    epoch: str
    seq: int
    after: int
    attempt: int
    revision_id: str
    mode: Mode
    kind: DeliveryKind
    fence: int
    base: Base
    target: Targets
    body: OfferBody
    body_hash: Digest
    expires_in_s: int
    key_id: str = ""
    sig: str = ""


class Report(Wire, frozen=True, kw_only=True):
    """What the phone did with an offer; ``n`` counts its reports per delivery, so that a repeat is known as one.

    ``ear`` is absent only for ``received`` and for refusals of the whole offer. ``loudness`` is the wearer's answer
    after the maximum output was raised, 1 (very soft) to 7 (uncomfortably loud).
    """

    device: Id
    epoch: Text
    seq: Ordinal
    attempt: Ordinal
    n: Ordinal
    state: ReportedState
    ear: Ear | UnsetType = UNSET
    source: Literal["ram", "nvm"] | UnsetType = UNSET
    digest: Digest | UnsetType = UNSET
    nvm: Digest | UnsetType = UNSET
    code: Code | UnsetType = UNSET
    battery: Percent | UnsetType = UNSET
    loudness: Annotated[int, Meta(ge=1, le=7)] | UnsetType = UNSET


class ReportAnswer(Answer, frozen=True, kw_only=True):
    """The report is recorded; ``state`` is the delivery's state after it."""

    state: DeliveryState


class Settled(Wire, frozen=True, kw_only=True):
    """The end of a delivery is recorded: the phone may drop it from its journal."""

    device: str
    epoch: str
    seq: int


class DeliveryChanged(Wire, frozen=True, kw_only=True):
    """To the fitter: a delivery moved. ``ear`` is absent when the whole delivery moved.

    ``n`` numbers the device's recorded events; it is absent on the way to an end, which is recorded later. A package
    that waits for the aids is told of as ``accepted`` once more, with the reason as its ``code``.
    """

    device: str
    epoch: str
    seq: int
    state: DeliveryState
    at: str
    n: int | UnsetType = UNSET
    ear: Ear | UnsetType = UNSET
    code: str | UnsetType = UNSET
    digest: Digest | UnsetType = UNSET


class InAidChanged(Wire, frozen=True, kw_only=True):
    """To the fitter: what one aid holds has changed, whatever the cause."""

    device: str
    ear: Ear
    ram: Digest
    nvm: Digest
    cause: str
    at: str
