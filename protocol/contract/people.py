"""People over REST: patients, who may fit a device, what a patient consents to, and the codes that bind a phone."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import Answer, Id, Reason, StrictWire, Text, Wire
from .registration import Loudness, StableGain
from .sessions import ConsentScope

__all__ = [
    "Assigned",
    "Assignments",
    "Because",
    "Bind",
    "BindCodeMade",
    "Bound",
    "ChangeOnFile",
    "ChangePatient",
    "ConsentState",
    "ConsentView",
    "Consents",
    "CreatePatient",
    "DecideConsent",
    "DecisionView",
    "MakeBindCode",
    "OnFile",
    "PatientAnswer",
    "PatientView",
]

ConsentState = Literal["granted", "withdrawn", "unasked"]
DisplayName = Annotated[Text, Meta(min_length=1, max_length=200)]


class CreatePatient(StrictWire, frozen=True, kw_only=True):
    """A new patient of the caller's clinic. ``patient`` is the user id of his tokens; ``name`` is only ever shown."""

    patient: Id
    name: DisplayName | UnsetType = UNSET


class ChangePatient(StrictWire, frozen=True, kw_only=True):
    """What can be changed of a patient; without a ``name`` he has none any more."""

    name: DisplayName | UnsetType = UNSET


class PatientView(Wire, frozen=True, kw_only=True):
    """One patient; ``version`` rises with each change, and is the entity tag."""

    patient: str
    version: int
    created_at: str
    name: str | UnsetType = UNSET


class PatientAnswer(PatientView, frozen=True, kw_only=True):
    """The patient that was asked for."""

    ok: Literal[True] = True


class DecisionView(Wire, frozen=True, kw_only=True):
    """A yes or no: by which user, in which role, when and why."""

    holds: bool
    by: str
    role: str
    at: str
    reason: str


class Because(StrictWire, frozen=True, kw_only=True):
    """Why somebody may, or may not any more, fit the device."""

    reason: Reason


class Assigned(Wire, frozen=True, kw_only=True):
    """A person, and what was decided; ``decision`` is absent when only the registration names him."""

    person: str
    decision: DecisionView | UnsetType = UNSET


class Assignments(Answer, frozen=True, kw_only=True):
    """Everybody who may fit the device now, and all that was ever decided about it, by person and time."""

    device: str
    assigned: tuple[Assigned, ...]
    history: tuple[Assigned, ...]


class DecideConsent(StrictWire, frozen=True, kw_only=True):
    """``granted`` false withdraws. A professional who writes down what a patient has said gives a reason."""

    granted: bool
    reason: Reason | UnsetType = UNSET


class ConsentView(Wire, frozen=True, kw_only=True):
    """One scope. ``state`` is ``unasked`` as long as nobody has decided; ``history`` is all that was decided."""

    scope: ConsentScope
    state: ConsentState
    history: tuple[DecisionView, ...] = ()


class Consents(Answer, frozen=True, kw_only=True):
    """Every scope there is."""

    patient: str
    consents: tuple[ConsentView, ...]


class MakeBindCode(StrictWire, frozen=True, kw_only=True):
    """How the patient gets the code: one that is sent lives longer."""

    way: Literal["clinic", "mail"] = "clinic"


class BindCodeMade(Answer, frozen=True, kw_only=True):
    """The code, which is shown this once."""

    code: str
    device: str
    expires_at: str


class Bind(StrictWire, frozen=True, kw_only=True):
    """The code as the patient has typed it: case, spaces and hyphens do not count.

    ``phone`` is the app's own name of this installation: the one that was bound last owns the device's pushes.
    """

    code: Annotated[Text, Meta(min_length=1, max_length=64)]
    phone: Id | UnsetType = UNSET


class Bound(Answer, frozen=True, kw_only=True):
    """This phone carries the device from now on, and takes offers that are signed with this key only."""

    device: str
    contract: int
    key_id: str
    public_key: str


class ChangeOnFile(StrictWire, frozen=True, kw_only=True):
    """What changes of what is on file of a device, and why; what is absent stays, null takes it away."""

    reason: Reason
    loudness_ddb: Loudness | UnsetType | None = UNSET
    max_stable_gain_ddb: Annotated[tuple[StableGain, ...], Meta(max_length=8)] | UnsetType = UNSET
    red_flags: bool | UnsetType = UNSET


class OnFile(Answer, frozen=True, kw_only=True):
    """What the safety kernel is told beside the audiogram; ``version`` rises with each change, and is the entity tag.

    Levels as in a registration. ``changedBy``, ``changedAt`` and ``reason`` are the last change's.
    """

    device: str
    version: int
    loudness_ddb: Loudness | UnsetType = UNSET
    max_stable_gain_ddb: tuple[StableGain, ...] = ()
    red_flags: bool = False
    changed_by: str | UnsetType = UNSET
    changed_at: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
