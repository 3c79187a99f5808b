"""What Azure Communication Services are asked for in a visit, and what their answers mean for it. Asks nothing itself.

The visit stays ours; ACS carry its call, its chat, or both, as a clinic wants it. Nobody's name, role in a family or
reason for coming goes there: people are called by their role. Read ``AcsPlan``, then ``scopes_for`` and ``Trouble``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from protocol.contract.visits import VisitRole

from .visit import Participant, Right, Visit

__all__ = [
    "FROM_ACS",
    "MAX_RETRY_S",
    "REFRESH_BEFORE_S",
    "TOKEN_MINUTES",
    "AcsAddress",
    "AcsPlan",
    "ClinicPlan",
    "Reason",
    "Trouble",
    "display_name",
    "person_of",
    "read_address",
    "read_plan",
    "room_role",
    "scopes_for",
    "split_text",
    "trouble_of",
    "wanted_in_chat",
]

# The service's shortest. A client asks for the next one ten minutes before, as its SDK does by itself.
TOKEN_MINUTES: Final = 60
REFRESH_BEFORE_S: Final = 600
# What a message that was written in ACS is called in ours: no client may give such a name.
FROM_ACS: Final = "@acs:"
MAX_RETRY_S: Final = 300.0
_DEFAULT_RETRY_S: Final = 5.0
FallBack = Literal["webrtc", "chat"]
_NAMES: Final[Mapping[VisitRole, str]] = {
    "professional": "Professional",
    "patient": "Patient",
    "caregiver": "Companion",
    "interpreter": "Interpreter",
    "trainee": "Trainee",
}


class ClinicPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What of a clinic's visits ACS carry. ``rooms``: only who was let in can join a call; otherwise a group id does.

    ``fall_back``: what a visit has in place of a call when ACS fail.
    """

    calls: bool = True
    chat: bool = True
    rooms: bool = True
    fall_back: FallBack = "webrtc"


class AcsPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """By clinic; ``default`` is for all that are not named, None: they do without ACS."""

    clinics: dict[str, ClinicPlan] = {}
    default: ClinicPlan | None = None

    def of(self, clinic: str) -> ClinicPlan | None:
        """What a clinic wants, None for nothing."""
        return self.clinics.get(clinic, self.default)

    @property
    def uses_rooms(self) -> bool:
        """Whether anybody does."""
        plans = (*self.clinics.values(), *(() if self.default is None else (self.default,)))
        return any(plan.rooms and plan.calls for plan in plans)


def read_plan(document: bytes) -> AcsPlan:
    """Raises ValueError, which says what is wrong."""
    try:
        return msgspec.json.decode(document, type=AcsPlan)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True, slots=True, repr=False)
class AcsAddress:
    """Where the resource is, and its access key, "" for Entra's credentials. Never printed."""

    endpoint: str
    key: str = ""


def read_address(connection_string: str, endpoint: str) -> AcsAddress | None:
    """None when nothing is configured.

    Raises:
        ValueError: it is no connection string, or no ``https://`` endpoint; neither is quoted.
    """
    if not (connection_string or endpoint):
        return None
    if not connection_string:
        return AcsAddress(_checked(endpoint))
    parts = {name.strip().lower(): value for name, _, value in (p.partition("=") for p in connection_string.split(";"))}
    if not parts.get("accesskey"):
        raise ValueError("must be endpoint=https://...;accesskey=...")
    return AcsAddress(_checked(endpoint or parts.get("endpoint", "")), parts["accesskey"])


def _checked(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.netloc or parts.path not in ("", "/") or parts.query or "@" in parts.netloc:
        raise ValueError("the endpoint must be https://name, without a path")
    return f"https://{parts.netloc}"


def scopes_for(person: Participant, plan: ClinicPlan) -> tuple[str, ...]:
    """What somebody's token is good for: as little as his part in the visit needs."""
    found: list[str] = []
    if plan.calls:
        # A room is begun by nobody in particular; a group call by whoever comes first.
        found.append("voip.join" if plan.rooms or not person.may(Right.START_CALL) else "voip")
    if plan.chat and _reads(person):
        # People come and go by the visit alone.
        found.append("chat.join.limited")
    return tuple(found)


def room_role(role: VisitRole) -> str:
    """Who only looks on sends nothing."""
    if role == "professional":
        return "Presenter"
    return "Consumer" if role == "trainee" else "Attendee"


def display_name(role: VisitRole) -> str:
    """What others see in a call and a chat of ACS: never a name."""
    return _NAMES[role]


def person_of(visit: Visit, person: Participant) -> str:
    """Whose identity it is: an account's for ever, a guest's for this visit."""
    return f"user:{person.user}" if person.user else f"guest:{visit.visit}:{person.participant}"


def wanted_in_chat(visit: Visit) -> dict[str, Participant]:
    """Who is to be in the thread of a visit, by id in it."""
    if visit.state != "live":
        return {}
    return {one.participant: one for one in visit.present_list() if one.admission == "admitted" and _reads(one)}


def split_text(text: str, most: int) -> tuple[str, ...]:
    """A text of ACS in pieces that are messages of ours, none when there is nothing to keep."""
    kept = text.replace("\x00", "")
    return tuple(kept[at : at + most] for at in range(0, len(kept), most))


def _reads(person: Participant) -> bool:
    # Who may not write reads over the hub: in a thread of ACS nobody can only read.
    return person.may(Right.WRITE)


class Reason(StrEnum):
    """Why ACS did not do what they were asked for."""

    THROTTLED = "throttled"
    """They ask to be left alone for longer than anybody wants to wait."""
    BUSY = "busy"
    """Too many of ours wait already."""
    AWAY = "away"
    """5xx, or no connection, or they were like that a moment ago."""
    SLOW = "slow"
    """No answer in time."""
    REFUSED = "refused"
    """401, 403: a key that was revoked or rolled, or a clock that is off."""
    UNKNOWN = "unknown"
    """404: an identity, a room or a thread that there is no more."""
    MISTAKE = "mistake"
    """Another 4xx: ours."""


class Trouble(Exception):
    """ACS did not do it. Says nothing of what they answered. ``retry_after_s``: when to ask again, 0 for at once."""

    def __init__(self, reason: Reason, retry_after_s: float = 0.0) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.retry_after_s = retry_after_s


def trouble_of(status: int, retry_after: str | None) -> Trouble:
    """What a status that is no success means."""
    try:
        wait_s = min(max(float(retry_after or 0.0), 0.0), MAX_RETRY_S)
    except ValueError:
        wait_s = 0.0
    if status == 429:
        return Trouble(Reason.THROTTLED, wait_s or _DEFAULT_RETRY_S)
    if status >= 500:
        return Trouble(Reason.AWAY, wait_s or _DEFAULT_RETRY_S)
    if status in (401, 403):
        return Trouble(Reason.REFUSED)
    return Trouble(Reason.UNKNOWN if status == 404 else Reason.MISTAKE)
