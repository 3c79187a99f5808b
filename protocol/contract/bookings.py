"""Visits over REST: how one is scheduled, moved and called off, whom one brings along, and what came of it."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Id, Reason, StrictWire, Wire
from .history import Difference, RevisionView
from .visits import DisplayName, ParticipantView, VisitMissedBy, VisitRole, VisitState

__all__ = [
    "AddParticipant",
    "Because",
    "LinkMade",
    "MoveVisit",
    "ParticipantAnswer",
    "Redeemed",
    "ScheduleVisit",
    "VisitAnswer",
    "VisitSummary",
    "VisitView",
]

LocalTime = Annotated[str, Meta(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]\Z")]
Zone = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+\-/]+\Z")]
Minutes = Annotated[int, Meta(ge=5, le=480)]


class AddParticipant(StrictWire, frozen=True, kw_only=True):
    """Somebody who comes along. Without ``user`` he has no account, and joins with a link; ``name`` is shown to all."""

    role: Literal["professional", "caregiver", "interpreter", "trainee"]
    user: Id | UnsetType = UNSET
    name: DisplayName | UnsetType = UNSET


class ScheduleVisit(StrictWire, frozen=True, kw_only=True):
    """A visit at a time as the people at its place write it down, in an IANA zone.

    ``fold`` 1 means the second of an hour that comes twice, when clocks are set back.
    """

    starts_local: LocalTime
    zone: Zone
    duration_min: Minutes = 30
    fold: Literal[0, 1] = 0
    participants: Annotated[tuple[AddParticipant, ...], Meta(max_length=6)] = ()


class MoveVisit(StrictWire, frozen=True, kw_only=True):
    """Another time for a visit, in the same words."""

    starts_local: LocalTime
    zone: Zone
    duration_min: Minutes = 30
    fold: Literal[0, 1] = 0


class Because(StrictWire, frozen=True, kw_only=True):
    """Why a visit does not take place, or is over. Everybody who takes part can read it."""

    reason: Reason


class VisitView(Wire, frozen=True, kw_only=True):
    """One visit. ``version`` rises with each change, and is the entity tag. Guests know of the others' names only.

    ``reason``: of the end or the cancellation. ``missedBy``: who did not come, of one that was missed.
    """

    visit: str
    device: str
    state: VisitState
    starts_at: str
    ends_at: str
    starts_local: str
    zone: str
    created_at: str
    version: int
    participants: tuple[ParticipantView, ...]
    patient: str | UnsetType = UNSET
    professional: str | UnsetType = UNSET
    live_at: str | UnsetType = UNSET
    over_at: str | UnsetType = UNSET
    missed_by: VisitMissedBy | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class VisitAnswer(VisitView, frozen=True, kw_only=True):
    """The visit that was asked for."""

    ok: Literal[True] = True


class ParticipantAnswer(ParticipantView, frozen=True, kw_only=True):
    """Somebody who takes part now."""

    ok: Literal[True] = True


class LinkMade(Answer, frozen=True, kw_only=True):
    """A way in for somebody without an account, shown this once. ``link`` works once, until ``expiresAt``, as the
    bearer token of ``POST /api/v1/joins``; put it behind a ``#`` of a page's address, which browsers send to nobody.
    """

    participant: str
    link: str
    expires_at: str

    def __repr__(self) -> str:
        """A way in must not reach a log through a struct's text."""
        return "LinkMade(...)"


class Redeemed(Answer, frozen=True, kw_only=True):
    """A token for the hub and for this one visit, until ``expiresAt``."""

    token: str
    expires_at: str
    visit: str
    participant: str
    role: VisitRole

    def __repr__(self) -> str:
        """As ``LinkMade``."""
        return "Redeemed(...)"


class VisitSummary(Answer, frozen=True, kw_only=True):
    """What a visit has changed in the aids.

    ``revisions``: all that was accepted in it, newest first, also what was not kept. ``changes``: what the aids kept at
    its end differs in from what was there before; absent when it is not known, as for a phone that was away.
    """

    visit: str
    device: str
    revisions: tuple[RevisionView, ...]
    before: str | UnsetType = UNSET
    kept: str | UnsetType = UNSET
    changes: tuple[Difference, ...] | UnsetType = UNSET
