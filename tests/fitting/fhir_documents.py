"""FHIR documents of audiograms for tests, as other systems write them."""

import json
from typing import Any

from fitting.fhir import FhirAudiogram, read_fhir

__all__ = ["Json", "bundle", "component", "concept", "observation", "panel", "read", "single", "thresholds"]

Json = dict[str, Any]
UNIT = {"unit": "dB", "system": "http://unitsofmeasure.org", "code": "dB"}
RIGHT = {"89025-1": 35, "89017-8": 40, "89019-4": 50, "89023-6": 60}


def concept(code: str, **more: Any) -> Json:
    return {"coding": [{"system": "http://loinc.org", "code": code, **more}]}


def component(code: str, value: Any, **more: Any) -> Json:
    return {"code": concept(code), "valueQuantity": {"value": value, **UNIT}} | more


def thresholds(values: dict[str, Any] = RIGHT) -> list[Json]:
    return [component(code, value) for code, value in values.items()]


def observation(**more: Any) -> Json:
    return {"resourceType": "Observation", "status": "final", "effectiveDateTime": "2026-11-20T09:30:00+01:00"} | more


def panel(components: list[Json] | None = None, **more: Any) -> Json:
    components = thresholds() if components is None else components
    return observation(code=concept("89015-2"), component=components) | more


def single(code: str, value: Any, **more: Any) -> Json:
    return observation(**component(code, value)) | more


def bundle(*resources: Json, kind: str = "collection") -> Json:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": resource} for resource in resources]}


def read(document: Any, patient: str = "pat") -> FhirAudiogram:
    return read_fhir(json.dumps(document).encode(), patient=patient)
