"""Patients in SQL: ``PatientStore`` over a table that SQLite and PostgreSQL share."""

from typing import Any, Final

from sqlalchemy import Text, bindparam, select, update

from .patients import Patient
from .sql import Rows
from .tables import patient as table

__all__ = ["SqlPatientStore"]

_COLUMNS: Final = table.columns
_CLINIC = _COLUMNS.clinic == bindparam("of_clinic", type_=Text)
_ID = _COLUMNS.patient == bindparam("of_patient", type_=Text)
_ROW = select(_COLUMNS.clinic, _COLUMNS.patient, _COLUMNS.created_at, _COLUMNS.name, _COLUMNS.version)
_GET = _ROW.where(_CLINIC, _ID)
_PAGE = (
    _ROW.where(_CLINIC, _COLUMNS.patient > bindparam("after", type_=Text))
    .order_by(_COLUMNS.patient)
    .limit(bindparam("bound"))
)
_CHANGE = (
    update(table)
    .where(_CLINIC, _ID, _COLUMNS.version == bindparam("new_version", type_=_COLUMNS.version.type) - 1)
    .values(name=bindparam("new_name", type_=Text), version=bindparam("new_version", type_=_COLUMNS.version.type))
)


class SqlPatientStore:
    """``PatientStore`` over a table."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def create(self, patient: Patient) -> bool:
        """See ``PatientStore``."""
        values: dict[str, Any] = {
            "clinic": patient.clinic,
            "patient": patient.patient,
            "version": patient.version,
            "created_at": patient.created_at_s,
            "name": patient.name,
        }
        return await self._rows.add(table, values)

    async def change(self, patient: Patient) -> bool:
        """See ``PatientStore``."""
        wanted = {"of_clinic": patient.clinic, "of_patient": patient.patient}
        return (
            await self._rows.change(_CHANGE, {**wanted, "new_name": patient.name, "new_version": patient.version}) == 1
        )

    async def get(self, clinic: str, patient: str) -> Patient | None:
        """See ``PatientStore``."""
        rows = await self._rows.read(_GET, {"of_clinic": clinic, "of_patient": patient})
        return Patient(*rows[0]) if rows else None

    async def page(self, clinic: str, after: str, limit: int) -> tuple[Patient, ...]:
        """See ``PatientStore``."""
        rows = await self._rows.read(_PAGE, {"of_clinic": clinic, "after": after, "bound": limit})
        return tuple(Patient(*row) for row in rows)
