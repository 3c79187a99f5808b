"""A live session: the lease and who holds it, the patient's consent, what keeps it alive and what ends it.

Stop, Undo and Revert are no deliveries: they carry neither a number nor a base, and a phone obeys them in any
state. Nothing here may be needed to make an aid quiet again.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Ear, Id, Ordinal, Reason, Text, Wire
from .devices import Alarm, Images, Percent, PhoneView
from .fitting import Digest, Mode

__all__ = [
    "Alarm",
    "AnswerConsent",
    "Cancel",
    "ConsentAnswer",
    "ConsentAsked",
    "ConsentScope",
    "DeviceCause",
    "DeviceChanged",
    "DeviceHeld",
    "Done",
    "EndReason",
    "ExpectedDigests",
    "Heartbeat",
    "Hold",
    "LeaseLost",
    "LeaseRenewed",
    "ModeAnswer",
    "ModeChanged",
    "ModeReason",
    "ReadBackNow",
    "Relayed",
    "ReleaseLease",
    "ReportDevice",
    "RestoreCause",
    "Revert",
    "RevertNow",
    "Save",
    "SessionAlive",
    "SessionState",
    "SetMode",
    "StealLease",
    "Withdraw",
]

ConsentScope = Literal["live_tuning", "video", "recording", "datalog", "standard_delivery", "support_view"]
SessionState = Literal["none", "asking", "live", "frozen"]
RestoreCause = Literal[
    "undo", "stop", "revert", "dead_man", "lease_lost", "consent_withdrawn", "background", "battery", "session_ended"
]
DeviceCause = Literal[
    "read_back", "reboot", "user_state", "other_app", "undo", "stop", "revert", "dead_man", "lease_lost",
    "consent_withdrawn", "background", "battery", "session_ended",
]  # fmt: skip
# Why live work has ended.
EndReason = Literal[
    "aids_away", "background", "battery", "call_ended", "consent_withdrawn", "dead_man", "lease_lost", "left",
    "link_slow", "phone_lost", "phone_token", "released", "stolen", "stop", "time_up", "token_expired",
]  # fmt: skip
# Why the mode is told: why it has ended, or what else has moved it. ``attached``: to a phone that was away, how it
# stands by now. ``ended``, ``taken_up``: another process has ended, or begun, what this one learned of later.
ModeReason = Literal[
    "aids_away", "background", "battery", "call_ended", "consent_withdrawn", "dead_man", "lease_lost", "left",
    "link_slow", "phone_lost", "phone_token", "released", "stolen", "stop", "time_up", "token_expired",
    "accepted", "attached", "ended", "freeze", "taken_up", "thaw",
]  # fmt: skip


class Done(Answer, frozen=True, kw_only=True):
    """It is so now."""


class Hold(Wire, frozen=True, kw_only=True):
    """``RenewLease``: the holder is still there. ``fence`` is the one that the lease was granted with."""

    device: Id
    session: Id
    fence: Ordinal


class LeaseRenewed(Answer, frozen=True, kw_only=True):
    """The lease lives that much longer; ``state`` is that of the session, whose edits are frozen unless it is live."""

    fence: int
    lease_for_ms: int
    state: SessionState


class ReleaseLease(Wire, frozen=True, kw_only=True):
    """Give the device back. What was tried and not saved is lost: ``discard`` says that this is known."""

    device: Id
    session: Id
    fence: Ordinal
    discard: bool = False


class StealLease(Wire, frozen=True, kw_only=True):
    """Take the device from whoever holds it; the reason is kept and shown. Answered as ``AcquireLease`` is."""

    device: Id
    session: Id
    reason: Reason
    idempotency_key: Id


class SetMode(Wire, frozen=True, kw_only=True):
    """Begin or end live work under a lease. To ``advanced`` the patient is asked first.

    To ``standard`` what was tried must have been saved, or ``discard`` says that it may be lost.
    """

    device: Id
    mode: Mode
    reason: Reason
    fence: Ordinal
    discard: bool = False


class ModeAnswer(Answer, frozen=True, kw_only=True):
    """The mode now, and the state of the live session."""

    mode: Mode
    state: SessionState


class ExpectedDigests(Wire, frozen=True, kw_only=True):
    """What the fitter believes each aid's RAM to hold; an ear without an aid is absent."""

    left: Digest | UnsetType = UNSET
    right: Digest | UnsetType = UNSET


class Save(Wire, frozen=True, kw_only=True):
    """Keep what is in RAM: a persist delivery of both ears, answered as ``Submit`` is."""

    device: Id
    fence: Ordinal
    expect: ExpectedDigests
    reason: Reason
    idempotency_key: Id


class Revert(Wire, frozen=True, kw_only=True):
    """``Revert``, ``Undo``, ``Stop``: back to what the session began with, on both ears, at once."""

    device: Id
    fence: Ordinal | UnsetType = UNSET
    idempotency_key: Id | UnsetType = UNSET


class Relayed(Answer, frozen=True, kw_only=True):
    """Whether a phone was there to hear it; what came of it is told by ``InAidChanged``."""

    relayed: bool


class DeviceHeld(Wire, frozen=True, kw_only=True):
    """``ReadBack``: ask the phone to read both aids now."""

    device: Id


class Cancel(Wire, frozen=True, kw_only=True):
    """Take a change back that has not begun. Answered as ``GetDelivery`` is."""

    device: Id
    epoch: Text
    seq: Ordinal


class Heartbeat(Wire, frozen=True, kw_only=True):
    """Either end says that it is there. A phone names its device and how it stands with it.

    ``away``: the ears whose aid the phone cannot reach now; absent where that is not known. ``call`` is a fitter's:
    whether the wearer can be talked to beside the session; ``unseen``: heard, and his picture is missing, which only
    freezes. Once that was ``on`` or ``unseen``, live work ends with it.
    """

    device: Id | UnsetType = UNSET
    foreground: bool = True
    battery: Percent | UnsetType = UNSET
    rtt_ms: Annotated[int, Meta(ge=0, le=600_000)] | UnsetType = UNSET
    away: Annotated[tuple[Ear, ...], Meta(max_length=2)] | UnsetType = UNSET
    call: Literal["on", "unseen", "ended"] | UnsetType = UNSET


class ReportDevice(Wire, frozen=True, kw_only=True):
    """What is in the aids, unasked: a reboot, an undo, a dead-man, another app, a program button.

    ``slot``, ``volume`` and ``muted`` are the wearer's own doing: no fitting content, in no digest. ``fence`` is that
    of the session whose base came back; live work under another one goes on.
    """

    device: Id
    cause: DeviceCause
    left: Images | UnsetType = UNSET
    right: Images | UnsetType = UNSET
    battery: Percent | UnsetType = UNSET
    slot: Annotated[int, Meta(ge=1, le=8)] | UnsetType = UNSET
    volume_ddb: Annotated[int, Meta(ge=-1_000, le=1_000)] | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
    fence: Ordinal | UnsetType = UNSET


class ConsentAsked(Wire, frozen=True, kw_only=True):
    """To the phone, which answers with a ``ConsentAnswer``: may this be done to the aids in this session?

    ``fence`` is that of the lease that the session works under; without it the consent is for the next fence seen.
    """

    device: str
    session: str
    fitter: str
    clinic: str
    scopes: tuple[ConsentScope, ...]
    expires_in_s: int
    fence: Ordinal | UnsetType = UNSET


class ConsentAnswer(Wire, frozen=True, kw_only=True):
    """The patient's answer; ``scopes`` absent means all that was asked for."""

    accepted: bool
    scopes: tuple[ConsentScope, ...] | UnsetType = UNSET


class AnswerConsent(Wire, frozen=True, kw_only=True):
    """The patient changes his mind: ``accepted`` false withdraws a consent that was given."""

    device: Id
    accepted: bool
    session: Id | UnsetType = UNSET


class Withdraw(Wire, frozen=True, kw_only=True):
    """To the phone: do not begin this one. It answers with a report of that state, or with what it has done."""

    device: str
    epoch: str
    seq: int
    cause: Literal["superseded", "expired", "cancelled"]


class SessionAlive(Wire, frozen=True, kw_only=True):
    """To the phone: the lease of that fence is live. Only this feeds the dead-man; a ping does not."""

    device: str
    fence: int
    ttl_ms: int


class RevertNow(Wire, frozen=True, kw_only=True):
    """To the phone: restore the session's base on both ears. Any fence at or above its own is obeyed."""

    device: str
    fence: int
    cause: RestoreCause


class ReadBackNow(Wire, frozen=True, kw_only=True):
    """To the phone: read both aids and tell with ``ReportDevice``."""

    device: str


class LeaseLost(Wire, frozen=True, kw_only=True):
    """To the fitter: the device is not yours any more."""

    device: str
    reason: Literal["expired", "stolen", "released", "phone_fence"]
    detail: str | UnsetType = UNSET


class ModeChanged(Wire, frozen=True, kw_only=True):
    """To both: how the device is worked on now, and why.

    ``detail`` is what the fitter typed when live work began. ``draft`` is the fitter's, when live work has ended: the
    newest revision that was heard in it and is lost, null when nothing is; absent where that is not known. Nothing
    becomes of it by itself: its content may be asked for again, in either mode.
    """

    device: str
    mode: Mode
    state: SessionState
    reason: ModeReason
    detail: str | UnsetType = UNSET
    draft: str | UnsetType | None = UNSET


class DeviceChanged(Wire, frozen=True, kw_only=True):
    """To the fitter: the phone, the wearer's own settings or an alarm have changed."""

    device: str
    phone: PhoneView
    alarms: tuple[Alarm, ...] = ()
    slot: int | UnsetType = UNSET
    volume_ddb: int | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
