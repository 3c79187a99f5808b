"""Registered devices in SQL: ``DeviceStore`` over a table that SQLite and PostgreSQL share.

Every call of the hub asks whose device it is, so records are kept in memory for a short while. This module must not
know who may do what. Read ``SqlDeviceStore`` first.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
from sqlalchemy import BigInteger, Text, bindparam, select, update
from sqlalchemy.dialects import sqlite as dialects
from sqlalchemy.sql.elements import BindParameter

from fitting.log_sql.compiled import Statement
from fitting.log_sql.sqlite import SqliteDatabase

from .devices import DeviceRecord
from .tables import registered_device

__all__ = ["CHANGE", "DEVICE", "OF_PATIENT", "DeviceTable", "SqlDeviceStore", "SqliteDeviceTable"]

_RECORD = msgspec.msgpack.Decoder(DeviceRecord)
# Mappings that nobody may change are packed as what they are.
_PACKED = msgspec.msgpack.Encoder(enc_hook=dict)
_DIALECT = dialects.dialect(paramstyle="named")
DEVICE: Final[BindParameter[str]] = bindparam("of_device", type_=Text)
_COLUMNS = registered_device.columns
_VERSION: Final = bindparam("new_version", type_=BigInteger)
CHANGE: Final = (
    update(registered_device)
    .where(_COLUMNS.device == DEVICE, _COLUMNS.version == _VERSION - 1)
    .values(record=bindparam("new_record", type_=_COLUMNS.record.type), version=_VERSION)
)
OF_PATIENT: Final = (
    select(_COLUMNS.device)
    .where(
        _COLUMNS.clinic == bindparam("of_clinic", type_=Text),
        _COLUMNS.patient == bindparam("of_patient", type_=Text),
        _COLUMNS.device > bindparam("after", type_=Text),
    )
    .order_by(_COLUMNS.device)
    .limit(bindparam("bound"))
)
_ADD = Statement.of(dialects.insert(registered_device).on_conflict_do_nothing(), _DIALECT)
_GET = Statement.of(select(_COLUMNS.record).where(_COLUMNS.device == DEVICE), _DIALECT)
_CHANGE = Statement.of(CHANGE, _DIALECT)
_OF_PATIENT = Statement.of(OF_PATIENT, _DIALECT)


class DeviceTable(Protocol):
    """The table in one database. Every call raises Unavailable when that is away."""

    async def add(self, device: str, clinic: str, patient: str, record: bytes) -> bool:
        """Add a row of version 1; False when the device has one, and nothing changes."""
        ...

    async def change(self, device: str, record: bytes, version: int) -> bool:
        """Move a row from the version before to this one; False when it is not there."""
        ...

    async def of_patient(self, clinic: str, patient: str, limit: int, after: str) -> tuple[str, ...]:
        """The devices of a patient by their ids, those behind ``after``."""
        ...

    async def get(self, device: str) -> bytes | None:
        """The record of a device, None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class _Read:
    record: DeviceRecord
    at_s: float


class SqlDeviceStore:
    """``DeviceStore`` over a table.

    ``max_cached``: records in memory. ``stale_s``: how old they may be there. ``monotonic`` gives seconds that only
    rise. ``reached`` is told when records have to be forgotten.
    """

    def __init__(
        self,
        table: DeviceTable,
        *,
        monotonic: Callable[[], float],
        max_cached: int,
        stale_s: float,
        reached: Callable[[str], None],
    ) -> None:
        self._table = table
        self._monotonic = monotonic
        self._max_cached = max_cached
        self._stale_s = stale_s
        self._reached = reached
        self._read: OrderedDict[str, _Read] = OrderedDict()
        self._changes = 0

    async def register(self, record: DeviceRecord) -> bool:
        """See ``DeviceStore``. Raises Unavailable."""
        packed = _PACKED.encode(record)
        return await self._table.add(record.device, record.clinic, record.patient, packed)

    async def get(self, device: str) -> DeviceRecord | None:
        """See ``DeviceStore``. Raises Unavailable."""
        now_s = self._monotonic()
        read = self._read.get(device)
        if read is not None and now_s - read.at_s <= self._stale_s:
            return read.record
        changes = self._changes
        packed = await self._table.get(device)
        if packed is None:
            self._read.pop(device, None)
            return None
        record = _RECORD.decode(packed)
        # What was read while something changed may be what it was before.
        if changes == self._changes:
            self._remember(record, now_s)
        return record

    async def change(self, record: DeviceRecord) -> bool:
        """See ``DeviceStore``. Raises Unavailable. Another process sees the old record for ``stale_s`` at most."""
        try:
            return await self._table.change(record.device, _PACKED.encode(record), record.version)
        finally:
            # Also when it is not known whether it was written: nobody here goes on with the old one.
            self._changes += 1
            self._read.pop(record.device, None)

    async def of_patient(self, clinic: str, patient: str, limit: int, *, after: str = "") -> tuple[str, ...]:
        """See ``DeviceStore``. Raises Unavailable."""
        return await self._table.of_patient(clinic, patient, limit, after)

    def _remember(self, record: DeviceRecord, now_s: float) -> None:
        self._read[record.device] = _Read(record, now_s)
        self._read.move_to_end(record.device)
        if len(self._read) > self._max_cached:
            self._reached("max_cached_devices")
            self._read.popitem(last=False)


class SqliteDeviceTable:
    """``DeviceTable`` in SQLite."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def add(self, device: str, clinic: str, patient: str, record: bytes) -> bool:
        row = {"device": device, "clinic": clinic, "patient": patient, "record": record, "version": 1}
        values = _ADD.named(row)

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(_ADD.text, values).rowcount == 1

        return await self._database.write(work, is_new_work=True)

    async def get(self, device: str) -> bytes | None:
        row = await self._database.read(
            lambda connection: connection.execute(_GET.text, _GET.named({"of_device": device})).fetchone()
        )
        return None if row is None else bytes(row[0])

    async def change(self, device: str, record: bytes, version: int) -> bool:
        values = _CHANGE.named({"of_device": device, "new_record": record, "new_version": version})

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(_CHANGE.text, values).rowcount == 1

        return await self._database.write(work)

    async def of_patient(self, clinic: str, patient: str, limit: int, after: str) -> tuple[str, ...]:
        values = _OF_PATIENT.named({"of_clinic": clinic, "of_patient": patient, "bound": limit, "after": after})
        rows = await self._database.read(lambda connection: connection.execute(_OF_PATIENT.text, values).fetchall())
        return tuple(device for (device,) in rows)
