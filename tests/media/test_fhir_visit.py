"""What is written is FHIR: the models of ``fhir.resources`` read it (R4B, which is R4 for these resources)."""

from typing import get_args

import msgspec
import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from media.fhir_visit import appointment, encounter
from media.visit import Participant
from protocol.contract.visits import VisitRole, VisitState
from tests.media.visits import NOON_S, visit_of

Appointment = get_fhir_model_class("Appointment")
Encounter = get_fhir_model_class("Encounter")
# The required value sets of R4; the models above do not know them.
APPOINTMENT = {"booked", "arrived", "fulfilled", "cancelled", "noshow"}
ENCOUNTER = {"planned", "arrived", "in-progress", "finished", "cancelled"}
EVERYBODY = tuple(
    Participant(f"x-{role}", role, name="Somebody Secret") for role in get_args(VisitRole) if role != "patient"
)


@pytest.mark.parametrize("state", get_args(VisitState))
def test_every_visit_is_a_valid_appointment_and_encounter(state: VisitState) -> None:
    is_begun = state in ("live", "ended")
    visit = visit_of(
        *EVERYBODY,
        state=state,
        live_at_s=NOON_S + 60 if is_begun else None,
        over_at_s=NOON_S + 120 if state == "ended" else None,
    )
    for made, model, statuses in (
        (appointment(visit), Appointment, APPOINTMENT),
        (encounter(visit), Encounter, ENCOUNTER),
    ):
        assert made["status"] in statuses
        assert "Secret" not in str(made)
        # What is sent is JSON.
        model.model_validate_json(msgspec.json.encode(made))
    assert appointment(visit)["start"] == "2027-01-15T08:00:00.000Z"
    assert appointment(visit)["minutesDuration"] == 30
    assert encounter(visit).get("period", {}).get("start") == ("2027-01-15T08:01:00.000Z" if is_begun else None)


def test_the_models_do_notice_what_is_no_fhir() -> None:
    with pytest.raises(ValidationError):
        Appointment.model_validate(appointment(visit_of()) | {"surprise": 1})
    with pytest.raises(ValidationError):
        Encounter.model_validate({name: value for name, value in encounter(visit_of()).items() if name != "class"})
