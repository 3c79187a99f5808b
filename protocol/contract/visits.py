"""Visits: a professional and a patient meet at a time, with whom they bring along. What they write is in ``chat``.

A visit has a time twice: in UTC, which is when it is, and as the people at its place wrote it down, with the zone.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Id, Ordinal, Text, Wire
from .chat import MessageView
from .fitting import Mode

__all__ = [
    "Admission",
    "AdmitToVisit",
    "Departed",
    "DisplayName",
    "InVisit",
    "Invited",
    "JoinVisit",
    "JoinVisitAnswer",
    "LeaveVisit",
    "ParticipantChanged",
    "ParticipantView",
    "VisitChanged",
    "VisitMissedBy",
    "VisitRole",
    "VisitState",
]

VisitState = Literal["scheduled", "waiting", "live", "ended", "cancelled", "no_show"]
VisitRole = Literal["professional", "patient", "caregiver", "interpreter", "trainee"]
Admission = Literal["invited", "waiting", "admitted", "removed"]
VisitMissedBy = Literal["patient", "professional", "both"]
# Of somebody who is brought along. Only ever shown to the others of the visit.
DisplayName = Annotated[Text, Meta(min_length=1, max_length=200)]


class JoinVisit(Wire, frozen=True, kw_only=True):
    """Come into the visit, or into its waiting room; done twice it is done once.

    ``after``: the number of the newest message that the caller has, so that he gets those that he missed.
    ``liveText``: he wishes to read what others type while they type it.
    """

    visit: Id
    after: Ordinal = 0
    live_text: bool = False


class LeaveVisit(Wire, frozen=True, kw_only=True):
    """This connection is not in the visit any more; the visit goes on."""

    visit: Id


class AdmitToVisit(Wire, frozen=True, kw_only=True):
    """The professional lets somebody in from the waiting room. The first one that is let in begins the visit."""

    visit: Id
    participant: Id


class ParticipantView(Wire, frozen=True, kw_only=True):
    """Somebody who takes part. ``user`` is absent for who has no account; ``present``: over a connection, now."""

    participant: str
    role: VisitRole
    admission: Admission
    present: bool
    user: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class InVisit(Wire, frozen=True, kw_only=True):
    """A visit as those who are in it know it. Its state may still be ``scheduled`` for a professional who is early."""

    visit: str
    device: str
    state: VisitState
    starts_at: str
    ends_at: str
    starts_local: str
    zone: str
    participants: tuple[ParticipantView, ...]
    version: int


class JoinVisitAnswer(Answer, frozen=True, kw_only=True):
    """``admitted`` false: the caller is in the waiting room, knows nothing of the others, and hears when he is let in.

    ``mode`` is that of the aids. ``messages`` are the newest that he missed, oldest first; ``missed`` is how many there
    are in all, so that the others can be asked for over REST. ``unread`` counts what others have written.
    """

    visit: InVisit
    participant: str
    role: VisitRole
    admitted: bool
    mode: Mode
    messages: tuple[MessageView, ...] = ()
    missed: int = 0
    unread: int = 0
    read_to: int = 0


class Invited(Answer, frozen=True, kw_only=True):
    """Who was let in, or was in already."""

    participant: ParticipantView
    state: VisitState


class Departed(Answer, frozen=True, kw_only=True):
    """The connection is not in the visit."""

    visit: str


class ParticipantChanged(Wire, frozen=True, kw_only=True):
    """To everybody in the visit, and to whom it is about: somebody came, was let in, went or was sent away."""

    visit: str
    participant: ParticipantView
    version: int


class VisitChanged(Wire, frozen=True, kw_only=True):
    """To everybody of the visit, waiting or in: its state or its time is another."""

    visit: str
    state: VisitState
    starts_at: str
    ends_at: str
    starts_local: str
    zone: str
    version: int
