"""A visit as a state table, who takes part in it, and what each of them may do.

Time, names and randomness are given; what a call is, and what a hearing aid, is not known here. What changes a visit is
in ``visit_steps``. Read ``TABLE`` first, then ``RIGHTS`` and ``Visit``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from protocol.contract.visits import Admission, VisitMissedBy, VisitRole, VisitState

from .visit_recording import RecordingAnswer

__all__ = [
    "OVER",
    "RIGHTS",
    "TABLE",
    "Event",
    "JoinLink",
    "Participant",
    "Right",
    "Visit",
    "VisitTimes",
    "join_window",
    "step",
]


class Event(StrEnum):
    """What happens to a visit."""

    RESCHEDULE = "reschedule"
    CANCEL = "cancel"
    ARRIVE = "arrive"
    """Somebody who must be let in has come."""
    DESERT = "desert"
    """Nobody waits any more."""
    ADMIT = "admit"
    END = "end"
    MISS = "miss"
    """It has not begun in its time."""
    LAPSE = "lapse"
    """Nobody has ended it in its time."""


OVER: Final[frozenset[VisitState]] = frozenset(("ended", "cancelled", "no_show"))

# What is missing cannot happen. A visit that is live is ended, not cancelled; and one that is over stays so.
TABLE: Final[Mapping[VisitState, Mapping[Event, VisitState]]] = MappingProxyType(
    {
        "scheduled": {
            Event.RESCHEDULE: "scheduled",
            Event.CANCEL: "cancelled",
            Event.ARRIVE: "waiting",
            Event.DESERT: "scheduled",
            Event.MISS: "no_show",
        },
        "waiting": {
            Event.RESCHEDULE: "scheduled",
            Event.CANCEL: "cancelled",
            Event.ARRIVE: "waiting",
            Event.DESERT: "scheduled",
            Event.ADMIT: "live",
            Event.MISS: "no_show",
        },
        "live": {
            Event.ARRIVE: "live",
            Event.DESERT: "live",
            Event.ADMIT: "live",
            Event.END: "ended",
            Event.LAPSE: "ended",
        },
        "ended": {},
        "cancelled": {},
        "no_show": {},
    }
)


def step(state: VisitState, event: Event) -> VisitState | None:
    """The state that follows, None when this cannot happen in this state."""
    return TABLE[state].get(event)


class Right(StrEnum):
    """What somebody may do in a visit. Whoever is in it may read, and leave."""

    MANAGE = "manage"
    """Reschedule, cancel and end it; invite, let in and send away."""
    WRITE = "write"
    START_CALL = "start_call"
    TALK = "talk"
    """Send sound and picture in a call; without it one only sees and hears."""
    STOP = "stop"
    """Make the aids quiet: end live work on them, back to what they kept."""
    UNDO = "undo"


RIGHTS: Final[Mapping[VisitRole, frozenset[Right]]] = MappingProxyType(
    {
        "professional": frozenset(Right),
        "patient": frozenset((Right.WRITE, Right.START_CALL, Right.TALK, Right.STOP, Right.UNDO)),
        # Who sits beside a child or somebody who cannot press the button in time.
        "caregiver": frozenset((Right.WRITE, Right.START_CALL, Right.TALK, Right.STOP, Right.UNDO)),
        "interpreter": frozenset((Right.WRITE, Right.TALK)),
        "trainee": frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class JoinLink:
    """The newest link of a participant without an account. ``id`` is its number, ``used_at_s`` when it was redeemed."""

    id: str
    expires_at_s: float
    used_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody who takes part; ``user`` is empty for who has no account.

    ``connections`` are those over which he is there, the newest last; ``pods`` are the pods that have them, by
    connection.
    """

    participant: str
    role: VisitRole
    user: str = ""
    name: str = ""
    admission: Admission = "invited"
    connections: tuple[str, ...] = ()
    arrived_at_s: float | None = None
    link: JoinLink | None = None
    pods: Mapping[str, str] = field(default_factory=dict)

    def may(self, right: Right) -> bool:
        """Whether his role has the right, and he was let in."""
        return self.admission == "admitted" and right in RIGHTS[self.role]


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit about one device. Times are Unix seconds.

    ``starts_local`` is the time at its place as it was agreed on, ``2026-03-29T09:30``, in the IANA zone ``zone``.
    ``due_at_s``: when time alone brings something about, None when never again. ``by`` has made the last change of
    ``state``. ``base_revision`` and ``kept_revision``: what the aids kept when the visit became live,
    and when it was over, as far as that was known. ``recorded``: who has agreed to be recorded, and taken it back.
    """

    visit: str
    clinic: str
    device: str
    patient: str
    professional: str
    starts_at_s: float
    ends_at_s: float
    starts_local: str
    zone: str
    created_at_s: float
    due_at_s: float | None
    participants: tuple[Participant, ...]
    state: VisitState = "scheduled"
    version: int = 1
    by: str = ""
    reason: str = ""
    live_at_s: float | None = None
    over_at_s: float | None = None
    missed_by: VisitMissedBy | None = None
    base_revision: str = ""
    kept_revision: str = ""
    recorded: tuple[RecordingAnswer, ...] = ()
    sequence: int = 0
    """How often it was moved or cancelled: calendars take the newest (RFC 5545, 3.8.7.4)."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state in OVER

    def find(self, participant: str) -> Participant | None:
        """Somebody who takes part and was not sent away, by his id in this visit."""
        return next((one for one in self.present_list() if one.participant == participant), None)

    def of_user(self, user: str) -> Participant | None:
        """Somebody who takes part and was not sent away, by his account."""
        return next((one for one in self.present_list() if user and one.user == user), None)

    def present_list(self) -> tuple[Participant, ...]:
        """Everybody but those who were sent away."""
        return tuple(one for one in self.participants if one.admission != "removed")

    @property
    def live_device(self) -> str | None:
        """The device that no other visit may be live about."""
        return self.device if self.state == "live" else None


@dataclass(frozen=True, slots=True)
class VisitTimes:
    """Seconds. ``opens_before_s``: the waiting room opens so long before a visit. ``no_show_after_s``: a visit for
    which nobody has come until so long after its beginning is missed, and one for which somebody waits so long after
    its end. ``live_s``: one that is live is ended so long after its end.
    """

    opens_before_s: float = 900.0
    no_show_after_s: float = 1_800.0
    live_s: float = 14_400.0


def join_window(visit: Visit, times: VisitTimes) -> tuple[float, float]:
    """From when until when one may come, in Unix seconds: for a visit that is live, as long as it is."""
    return visit.starts_at_s - times.opens_before_s, visit.ends_at_s + times.live_s
