"""A visit as FHIR R4: the ``Appointment`` that was made, and the ``Encounter`` that came of it.

People are named by the ids that they have here, never by their names. Read ``appointment`` and ``encounter``.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from protocol.contract.visits import VisitRole, VisitState

from .visit import Participant, Visit

__all__ = ["appointment", "encounter"]

_OWN: Final = "urn:auricle"
_APPOINTMENT: Final[Mapping[VisitState, str]] = {
    "scheduled": "booked",
    "waiting": "arrived",
    "live": "arrived",
    "ended": "fulfilled",
    "cancelled": "cancelled",
    "no_show": "noshow",
}
_ENCOUNTER: Final[Mapping[VisitState, str]] = {
    "scheduled": "planned",
    "waiting": "arrived",
    "live": "in-progress",
    "ended": "finished",
    "cancelled": "cancelled",
    "no_show": "cancelled",
}
# https://terminology.hl7.org/CodeSystem/v3-ParticipationType
_TYPES: Final[Mapping[VisitRole, tuple[str, str]]] = {
    "professional": ("PPRF", "primary performer"),
    "patient": ("SBJ", "subject"),
    "caregiver": ("ESC", "escort"),
    "interpreter": ("TRANS", "Translator"),
    "trainee": ("PART", "Participation"),
}
_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_ACT_CODE: Final = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def appointment(visit: Visit) -> dict[str, Any]:
    """The ``Appointment``."""
    return {
        "resourceType": "Appointment",
        "id": visit.visit,
        "identifier": [_identifier("visit", visit.visit)],
        "status": _APPOINTMENT[visit.state],
        "start": _instant(visit.starts_at_s),
        "end": _instant(visit.ends_at_s),
        "minutesDuration": round((visit.ends_at_s - visit.starts_at_s) / 60),
        "created": _instant(visit.created_at_s),
        "participant": [
            {"type": [_type(one)], "actor": _actor(one), "required": _required(one), "status": "accepted"}
            for one in visit.present_list()
        ],
    }


def encounter(visit: Visit) -> dict[str, Any]:
    """The ``Encounter``, a virtual one; its period is that of the visit as it was."""
    others = [one for one in visit.present_list() if one.role != "patient"]
    made: dict[str, Any] = {
        "resourceType": "Encounter",
        "id": visit.visit,
        "identifier": [_identifier("visit", visit.visit)],
        "status": _ENCOUNTER[visit.state],
        "class": {"system": _ACT_CODE, "code": "VR", "display": "virtual"},
        "subject": {"type": "Patient", "identifier": _identifier("patient", visit.patient)},
        "participant": [{"type": [_type(one)], "individual": _actor(one)} for one in others],
        "appointment": [{"type": "Appointment", "identifier": _identifier("visit", visit.visit)}],
    }
    if visit.live_at_s is not None:
        made["period"] = {"start": _instant(visit.live_at_s)}
        if visit.over_at_s is not None:
            made["period"]["end"] = _instant(visit.over_at_s)
    return made


def _actor(person: Participant) -> dict[str, Any]:
    if person.role == "patient":
        return {"type": "Patient", "identifier": _identifier("patient", person.user)}
    is_professional = person.role in ("professional", "trainee")
    name = person.user or person.participant
    kind = "user" if person.user else "participant"
    return {"type": "Practitioner" if is_professional else "RelatedPerson", "identifier": _identifier(kind, name)}


def _type(person: Participant) -> dict[str, Any]:
    code, display = _TYPES[person.role]
    return {"coding": [{"system": _PARTICIPATION, "code": code, "display": display}]}


def _required(person: Participant) -> str:
    return "required" if person.role in ("professional", "patient") else "optional"


def _identifier(kind: str, value: str) -> dict[str, str]:
    return {"system": f"{_OWN}:{kind}", "value": value}


def _instant(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
