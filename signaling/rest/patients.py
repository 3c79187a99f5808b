"""The patients of a clinic, for its professionals; each patient may read what is kept of himself."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar

from msgspec import UNSET

from protocol.contract.base import Id
from protocol.contract.people import ChangePatient, CreatePatient, PatientAnswer, PatientView
from protocol.contract.rest import Page, PageQuery
from protocol.contract.times import iso_ms
from protocol.errors import NotFound
from signaling.policy import Relation, Rule
from signaling.stores.patients import Patient, PatientStore

from .pages import page, text_after
from .problems import Conflict, PreconditionFailed
from .resource import Call, Reply, Resource, route

__all__ = ["Patients"]


class Patients(Resource):
    """Who may wear devices of the clinic."""

    tag: ClassVar[str] = "patients"
    policy: ClassVar[Mapping[str, Rule]] = {
        "POST /api/v1/patients": Rule({"clinician": Relation.ANY, "assistant": Relation.ANY}),
        "GET /api/v1/patients": Rule({"clinician": Relation.ANY, "assistant": Relation.ANY}),
        "GET /api/v1/patients/{patient}": Rule(
            {"clinician": Relation.CLINIC, "assistant": Relation.CLINIC, "patient": Relation.OWN}, "patient"
        ),
        "PUT /api/v1/patients/{patient}": Rule({"clinician": Relation.CLINIC, "assistant": Relation.CLINIC}, "patient"),
    }

    def __init__(self, patients: PatientStore, clock: Callable[[], float]) -> None:
        self._patients = patients
        self._clock = clock

    @route(
        "POST /api/v1/patients",
        status=HTTPStatus.CREATED,
        creates=True,
        problems=("already_exists",),
        body_example={"patient": "pat"},
        links={"readPatient": {"patient": "$response.body#/patient"}},
    )
    async def create_patient(self, call: Call, body: CreatePatient) -> Reply[PatientAnswer]:
        """Make a patient of this clinic known, with a name to show if the clinic wants one here."""
        name = None if body.name is UNSET else body.name
        patient = Patient(call.principal.clinic, body.patient, self._clock(), name)
        if not await self._patients.create(patient):
            # The same request again, whose answer was lost, finds what it has made.
            found = await self._patients.get(patient.clinic, patient.patient)
            if found is None or found != replace(patient, created_at_s=found.created_at_s):
                raise Conflict("a patient with this id exists already")
            patient = found
        return _reply(patient, location=f"/api/v1/patients/{patient.patient}")

    @route("GET /api/v1/patients")
    async def list_patients(self, call: Call, query: PageQuery) -> Page[PatientView]:
        """The patients of this clinic, by id."""
        found = await self._patients.page(call.principal.clinic, text_after(query.after) or "", query.limit + 1)
        return page([PatientView(**_fields(patient)) for patient in found], query, lambda one: one.patient)

    @route("GET /api/v1/patients/{patient}")
    async def read_patient(self, call: Call, patient: Id) -> Reply[PatientAnswer]:
        """One patient."""
        return _reply(await self._patient(call, patient))

    @route("PUT /api/v1/patients/{patient}", needs_match=True, body_example={"name": "P. A."})
    async def change_patient(self, call: Call, patient: Id, body: ChangePatient) -> Reply[PatientAnswer]:
        """Give a patient another name to show, or none."""
        found = await self._patient(call, patient)
        call.expects(str(found.version))
        changed = replace(found, name=None if body.name is UNSET else body.name, version=found.version + 1)
        if not await self._patients.change(changed):
            raise PreconditionFailed("somebody else has changed it: read it again")
        return _reply(changed)

    async def _patient(self, call: Call, patient: str) -> Patient:
        found = await self._patients.get(call.principal.clinic, patient)
        if found is None:
            raise NotFound("no such patient")
        return found


def _fields(patient: Patient) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "patient": patient.patient,
        "version": patient.version,
        "created_at": iso_ms(patient.created_at_s),
    }
    return shown if patient.name is None else shown | {"name": patient.name}


def _reply(patient: Patient, location: str | None = None) -> Reply[PatientAnswer]:
    return Reply(PatientAnswer(**_fields(patient)), version=str(patient.version), location=location)
