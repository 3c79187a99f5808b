"""The table of registered devices in PostgreSQL: ``DeviceTable`` over the pool that the device log uses too."""

from sqlalchemy import select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from fitting.log_sql.compiled import Statement
from fitting.log_sql.postgres import PostgresDatabase

from .devices_sql import CHANGE, DEVICE, OF_PATIENT
from .tables import registered_device

__all__ = ["PostgresDeviceTable"]

_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped
_COLUMNS = registered_device.columns
_ADD = Statement.of(postgresql.insert(registered_device).on_conflict_do_nothing().returning(_COLUMNS.device), _DIALECT)
_GET = Statement.of(select(_COLUMNS.record).where(_COLUMNS.device == DEVICE), _DIALECT)
_CHANGE = Statement.of(CHANGE.returning(_COLUMNS.device), _DIALECT)
_OF_PATIENT = Statement.of(OF_PATIENT, _DIALECT)


class PostgresDeviceTable:
    """``DeviceTable`` in PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def add(self, device: str, clinic: str, patient: str, record: bytes) -> bool:
        values = {"device": device, "clinic": clinic, "patient": patient, "record": record, "version": 1}
        return bool(await self._database.fetch(_ADD, values, is_write=True))

    async def get(self, device: str) -> bytes | None:
        rows = await self._database.fetch(_GET, {"of_device": device})
        return bytes(rows[0][0]) if rows else None

    async def change(self, device: str, record: bytes, version: int) -> bool:
        values = {"of_device": device, "new_record": record, "new_version": version}
        return bool(await self._database.fetch(_CHANGE, values, is_write=True))

    async def of_patient(self, clinic: str, patient: str, limit: int, after: str) -> tuple[str, ...]:
        values = {"of_clinic": clinic, "of_patient": patient, "bound": limit, "after": after}
        return tuple(row[0] for row in await self._database.fetch(_OF_PATIENT, values))
