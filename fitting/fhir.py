"""Audiograms as FHIR R4: read from what a hospital's system sends, written as what it can read.

Read strictly, because gain follows from thresholds: what contradicts itself, or may be another quantity, ear or person,
is refused with a code; what is only not understood is left out, and told. Whoever reads decides what an audiogram of
those that remain is (``audiogram``). This module must not know how documents travel. Read ``read_fhir`` first, then
``write_fhir``; codes are in ``fhir_codes``, errors in ``fhir_errors``.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocol.contract.base import EARS, Ear

from .audiogram import Audiogram, audiogram_of, strict_json, with_marks
from .fhir_codes import (
    DECIBEL,
    LOINC,
    MASKED,
    OBSERVATION_CATEGORY,
    OWN_PATIENT,
    PANEL,
    UCUM,
    code_of,
    display_of,
)
from .fhir_errors import DifferentTests, DuplicateThreshold, LeftOut, NotAFinding, NotFhir, WrongPatient
from .fhir_observation import Reading, day_of, element, elements, readings, require_understood, text

__all__ = ["MAX_ENTRIES", "FhirAudiogram", "read_fhir", "write_fhir"]

# Of one document: resources, and of one resource components or contained resources.
MAX_ENTRIES: Final = 100
_STATUSES: Final = ("final", "amended", "corrected", "appended")
_BUNDLES: Final = ("collection", "document", "searchset")
_EFFECTIVE: Final = ("effectiveDateTime", "effectiveInstant", "effectivePeriod")
_HAVE_SUBJECTS: Final = ("Observation", "DiagnosticReport", "Composition")
# Any constant: so the same audiogram has the same name in every copy.
_NAMES: Final = uuid.UUID("5f0a3c4e-7e8e-4c37-9d53-0f6b8f1f2a11")


@dataclass(frozen=True, slots=True)
class FhirAudiogram:
    """What was read. ``measured_on``: the day as ``YYYY-MM-DD``, empty when it is not said.

    ``left_out``: what was not understood or not measured, in the order of the document.
    """

    audiogram: Audiogram
    measured_on: str
    left_out: tuple[LeftOut, ...]


def read_fhir(data: bytes, *, patient: str) -> FhirAudiogram:
    """Read an Observation, a DiagnosticReport that contains some, or a Bundle of these.

    ``patient``: whose audiogram it is to be; a document that names another one of ours is refused.

    Raises:
        AudiogramError: no JSON, a threshold out of range, or too few frequencies at an ear.
        FhirError: everything else; its ``code`` says what, see ``fhir_errors``.
    """
    document = strict_json(data, "FHIR document")
    left_out: list[LeftOut] = []
    points: dict[Ear, dict[int, Reading]] = {}
    days: set[str] = set()
    for where, observation in _observations(document, left_out):
        found = _checked_readings(where, observation, left_out)
        if found:
            days.add(day_of(where, observation))
        for reading in found:
            at_ear = points.setdefault(reading.ear, {})
            if reading.frequency_hz in at_ear:
                raise DuplicateThreshold(f"{reading.where}: {reading.ear} {reading.frequency_hz} Hz is there twice")
            at_ear[reading.frequency_hz] = reading
    _require_one_person(document, patient)
    if len(days) > 1:
        raise DifferentTests("the thresholds are of different days, or some do not say of which: send one at a time")
    return FhirAudiogram(_audiogram(points), days.pop() if days else "", tuple(left_out))


def _audiogram(points: Mapping[Ear, Mapping[int, Reading]]) -> Audiogram:
    thresholds = {ear: {hz: reading.ddb for hz, reading in at_ear.items()} for ear, at_ear in points.items()}
    return with_marks(
        audiogram_of(thresholds),
        masked={ear: [hz for hz, reading in at_ear.items() if reading.masked] for ear, at_ear in points.items()},
        no_response={
            ear: [hz for hz, reading in at_ear.items() if reading.no_response] for ear, at_ear in points.items()
        },
    )


def _observations(document: Any, left_out: list[LeftOut]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The observations of a document, each with where it stands in it."""
    if not isinstance(document, dict) or not isinstance(document.get("resourceType"), str):
        raise NotFhir("a FHIR resource is an object with a resourceType")
    if document["resourceType"] != "Bundle":
        if document["resourceType"] not in ("Observation", "DiagnosticReport"):
            raise NotFhir("only an Observation, a DiagnosticReport or a Bundle can hold an audiogram")
        yield from _of_resource(document["resourceType"], document, left_out)
        return
    require_understood("Bundle", document)
    if document.get("type") not in _BUNDLES:
        raise NotFhir(f"a Bundle must be a {', '.join(_BUNDLES)}: others tell what to do, or hold what is past")
    for index, entry in enumerate(elements("Bundle", document, "entry", MAX_ENTRIES)):
        where = f"Bundle.entry[{index}]"
        require_understood(where, entry)
        yield from _of_resource(f"{where}.resource", element(where, entry, "resource"), left_out)


def _of_resource(
    where: str, resource: Mapping[str, Any], left_out: list[LeftOut]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    kind = text(where, resource, "resourceType")
    if kind == "DiagnosticReport":
        _require_final(where, resource)
        contained = elements(where, resource, "contained", MAX_ENTRIES)
        inner = [(f"{where}.contained[{index}]", _dated(one, resource)) for index, one in enumerate(contained)]
    else:
        inner = [(where, resource)]
    for at, one in inner:
        kind = text(at, one, "resourceType")
        if kind == "Observation":
            yield at, one
        else:
            left_out.append(LeftOut(at, "resource", kind[:64]))


def _dated(observation: Mapping[str, Any], report: Mapping[str, Any]) -> Mapping[str, Any]:
    """What does not say when it was made was made when its report says."""
    if any(name in observation for name in _EFFECTIVE):
        return observation
    return {**observation, **{name: report[name] for name in _EFFECTIVE if name in report}}


def _checked_readings(where: str, observation: Mapping[str, Any], left_out: list[LeftOut]) -> list[Reading]:
    found = list(readings(where, observation, left_out, MAX_ENTRIES))
    if found:
        _require_final(where, observation)
    return found


def _require_final(where: str, resource: Mapping[str, Any]) -> None:
    require_understood(where, resource)
    status = text(where, resource, "status")
    if status not in _STATUSES:
        raise NotAFinding(f"{where}.status: must be {', '.join(_STATUSES)}, for others may still change or be wrong")


def _require_one_person(document: Mapping[str, Any], patient: str) -> None:
    """All of one person, and nothing of another one of ours; names of other systems say nothing to us."""
    people = set()
    for resource in _resources(document):
        kind = text("resource", resource, "resourceType")
        subject = element("subject", resource, "subject") if kind in _HAVE_SUBJECTS else {}
        names = [element("subject", subject, "identifier")]
        if kind == "Patient":
            names = elements("Patient", resource, "identifier", MAX_ENTRIES)
        told = [(text("identifier", name, "system"), text("identifier", name, "value")) for name in names]
        if any(system == OWN_PATIENT and value != patient for system, value in told):
            raise WrongPatient("subject: this is the audiogram of another patient")
        if subject and kind != "Composition":
            people.add((text("subject", subject, "reference"), *told))
    if len(people) > 1:
        raise WrongPatient("subject: the findings are of different people")


def _resources(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every resource of a document and what each contains, whatever is taken of it."""
    entries = elements("Bundle", document, "entry", MAX_ENTRIES) if document["resourceType"] == "Bundle" else []
    for resource in [document, *(element("Bundle.entry", entry, "resource") for entry in entries)]:
        yield resource
        yield from elements("contained", resource, "contained", MAX_ENTRIES)


def write_fhir(audiogram: Audiogram, *, audiogram_id: str, patient: str, measured_on: str) -> dict[str, Any]:
    """A Bundle with one Observation, a component per threshold, which ``read_fhir`` reads back as it was.

    ``name`` stays here: it is a label of its clinic. ``measured_on`` as ``FhirAudiogram``.
    """
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": OBSERVATION_CATEGORY, "code": "exam"}]}],
        "code": {"coding": [{"system": LOINC, "code": PANEL, "display": "Pure tone threshold audiometry panel"}]},
        "subject": {"identifier": {"system": OWN_PATIENT, "value": patient}},
    }
    if measured_on:
        observation["effectiveDateTime"] = measured_on
    observation["component"] = [
        _component(audiogram, ear, frequency, ddb) for ear in EARS for frequency, ddb in audiogram.ears.get(ear, ())
    ]
    name = uuid.uuid5(_NAMES, f"{patient}/{audiogram_id}")
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"urn:uuid:{name}", "resource": observation}],
    }


def _component(audiogram: Audiogram, ear: Ear, frequency_hz: int, ddb: int) -> dict[str, Any]:
    system, code = code_of(ear, frequency_hz)
    value: dict[str, Any] = {
        "value": ddb // 10 if ddb % 10 == 0 else ddb / 10,
        "unit": "dB HL",
        "system": UCUM,
        "code": DECIBEL,
    }
    if frequency_hz in audiogram.no_response.get(ear, ()):
        value["comparator"] = ">"
    component: dict[str, Any] = {
        "code": {"coding": [{"system": system, "code": code, "display": display_of(ear, frequency_hz)}]},
        "valueQuantity": value,
    }
    if frequency_hz in audiogram.masked.get(ear, ()):
        component["extension"] = [{"url": MASKED, "valueBoolean": True}]
    return component
