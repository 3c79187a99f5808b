"""The patients of a clinic: an id, and a name to show beside it if the clinic wants one here.

``PatientStore`` is the port. A name is shown to those who may read the patient and is in no log, metric, address or
push. This module must not know a device: who wears what is in ``devices``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from protocol.errors import Overloaded

__all__ = ["MemoryPatientStore", "Patient", "PatientStore"]


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient of one clinic. ``patient`` is his user id; ``version`` rises by one with each change."""

    clinic: str
    patient: str
    created_at_s: float
    name: str | None = None
    version: int = 1


class PatientStore(Protocol):
    """Patients by clinic and id. Every call is atomic, and raises Unavailable when the store is away."""

    async def create(self, patient: Patient) -> bool:
        """Store a new patient; False when the clinic has one of this id, and nothing changes.

        Raises:
            Overloaded: the store is full.
        """
        ...

    async def change(self, patient: Patient) -> bool:
        """Store the next version of a patient; False when the one that is there is not the version before it."""
        ...

    async def get(self, clinic: str, patient: str) -> Patient | None:
        """A patient, None when the clinic has none of this id."""
        ...

    async def page(self, clinic: str, after: str, limit: int) -> tuple[Patient, ...]:
        """The patients of a clinic by id, those behind ``after``, at most ``limit``."""
        ...


class MemoryPatientStore:
    """Patients of one process, at most ``max_patients``; ``reached`` is told when there are so many."""

    def __init__(self, *, max_patients: int, reached: Callable[[str], None]) -> None:
        self._max_patients = max_patients
        self._reached = reached
        self._patients: dict[tuple[str, str], Patient] = {}

    async def create(self, patient: Patient) -> bool:
        """See ``PatientStore``."""
        key = (patient.clinic, patient.patient)
        if key in self._patients:
            return False
        if len(self._patients) >= self._max_patients:
            self._reached("max_patients")
            raise Overloaded("no more patients can be kept here")
        self._patients[key] = patient
        return True

    async def change(self, patient: Patient) -> bool:
        """See ``PatientStore``."""
        key = (patient.clinic, patient.patient)
        before = self._patients.get(key)
        if before is None or before.version != patient.version - 1:
            return False
        self._patients[key] = patient
        return True

    async def get(self, clinic: str, patient: str) -> Patient | None:
        """See ``PatientStore``."""
        return self._patients.get((clinic, patient))

    async def page(self, clinic: str, after: str, limit: int) -> tuple[Patient, ...]:
        """See ``PatientStore``."""
        names = sorted(name for of, name in self._patients if of == clinic and name > after)
        return tuple(self._patients[clinic, name] for name in names[:limit])
