"""Audiograms in SQL: ``AudiogramStore`` over a table that SQLite and PostgreSQL share.

A row is only ever added, under the next number of its device, and the database lets one of two that want the same
number have it; the other looks again. Every change is judged by the newest audiogram, so that one is kept in memory for
a short while. This module must not know what follows from a threshold. Read ``SqlAudiogramStore.add`` first.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite as dialects
from sqlalchemy.sql import Select
from sqlalchemy.sql.elements import BindParameter

from fitting.log_sql.compiled import Statement
from fitting.log_sql.sqlite import SqliteDatabase
from protocol.contract.base import MAX_SAFE_INTEGER
from protocol.errors import Overloaded, Unavailable

from .audiograms import AudiogramRecord, require_newer
from .tables import audiogram

__all__ = ["ONE", "PAGE", "AudiogramRow", "AudiogramTable", "SqlAudiogramStore", "SqliteAudiogramTable"]

_RECORD = msgspec.msgpack.Decoder(AudiogramRecord)
# Mappings that nobody may change are packed as what they are.
_PACKED = msgspec.msgpack.Encoder(enc_hook=dict)
_DIALECT = dialects.dialect(paramstyle="named")
_DEVICE: Final[BindParameter[str]] = bindparam("of_device")
_ID: Final[BindParameter[str]] = bindparam("of_id")
_BEFORE: Final[BindParameter[int]] = bindparam("before")
_ROWS: Final[BindParameter[int]] = bindparam("rows")
# So many others that put one on file for one device at once are waited for.
_MAX_TRIES: Final = 8
_LOOK_BACK: Final = 50

ONE: Final[Select[tuple[bytes]]] = select(audiogram.c.record).where(
    audiogram.c.device == _DEVICE, audiogram.c.id == _ID
)
PAGE: Final[Select[tuple[bytes]]] = (
    select(audiogram.c.record)
    .where(audiogram.c.device == _DEVICE, audiogram.c.number < _BEFORE)
    .order_by(audiogram.c.number.desc())
    .limit(_ROWS)
)
_ADD = Statement.of(dialects.insert(audiogram).on_conflict_do_nothing(), _DIALECT)
_ONE, _PAGE = Statement.of(ONE, _DIALECT), Statement.of(PAGE, _DIALECT)


@dataclass(frozen=True, slots=True)
class AudiogramRow:
    """One row: what is searched, and the packed record."""

    device: str
    number: int
    id: str
    record: bytes

    @property
    def values(self) -> dict[str, str | int | bytes]:
        """By column."""
        return {"device": self.device, "number": self.number, "id": self.id, "record": self.record}


class AudiogramTable(Protocol):
    """The table in one database. Every call raises Unavailable when that is away."""

    async def add(self, row: AudiogramRow) -> bool:
        """Add a row; False when the device has one with that number or id, and nothing changes."""
        ...

    async def get(self, device: str, audiogram_id: str) -> bytes | None:
        """One record, None when there is none."""
        ...

    async def page(self, device: str, before: int, limit: int) -> tuple[bytes, ...]:
        """Records of a device, the highest number first."""
        ...


@dataclass(frozen=True, slots=True)
class _Read:
    newest: AudiogramRecord | None
    at_s: float


class SqlAudiogramStore:
    """``AudiogramStore`` over a table.

    ``max_audiograms``: of one device. ``max_cached``: devices whose newest is in memory, ``stale_s``: how old it may be
    there. ``monotonic`` gives seconds that only rise. ``reached`` is told which of the bounds was.
    """

    def __init__(
        self,
        table: AudiogramTable,
        *,
        monotonic: Callable[[], float],
        max_audiograms: int,
        max_cached: int,
        stale_s: float,
        reached: Callable[[str], None],
    ) -> None:
        self._table = table
        self._monotonic = monotonic
        self._max_audiograms = max_audiograms
        self._max_cached = max_cached
        self._stale_s = stale_s
        self._reached = reached
        self._read: OrderedDict[str, _Read] = OrderedDict()

    async def add(self, record: AudiogramRecord) -> AudiogramRecord:
        """See ``AudiogramStore``. Raises Unavailable, UnknownOutcome."""
        for _ in range(_MAX_TRIES):
            known = await self.get(record.device, record.audiogram_id)
            if known is not None:
                # It may have come about unnoticed, and others may stand before it by now.
                asked_s = self._monotonic()
                self._keep(record.device, await self._newest(record.device), asked_s)
                return known
            newest = await self._newest(record.device)
            require_newer(record, await self._newest_day(record, newest))
            number = 1 if newest is None else newest.number + 1
            if number > self._max_audiograms:
                self._reached("max_audiograms")
                raise Overloaded("no more audiograms can be put on file for this device")
            added = replace(record, number=number)
            row = AudiogramRow(added.device, number, added.audiogram_id, _PACKED.encode(added))
            now_s = self._monotonic()
            if await self._table.add(row):
                self._keep(record.device, added, now_s)
                return added
        raise Unavailable("others put audiograms on file for this device, try again")

    async def newest(self, device: str) -> AudiogramRecord | None:
        """See ``AudiogramStore``. Raises Unavailable."""
        now_s = self._monotonic()
        read = self._read.get(device)
        if read is not None and now_s - read.at_s <= self._stale_s:
            return read.newest
        return self._keep(device, await self._newest(device), now_s)

    def _keep(self, device: str, found: AudiogramRecord | None, at_s: float) -> AudiogramRecord | None:
        """The newest that is known: what was read before another was put on file may be told after it."""
        read = self._read.get(device)
        known = None if read is None else read.newest
        newest = found if known is None or (found is not None and found.number >= known.number) else known
        self._read[device] = _Read(newest, at_s)
        self._read.move_to_end(device)
        if len(self._read) > self._max_cached:
            self._reached("max_cached_devices")
            self._read.popitem(last=False)
        return newest

    async def get(self, device: str, audiogram_id: str) -> AudiogramRecord | None:
        """See ``AudiogramStore``. Raises Unavailable."""
        packed = await self._table.get(device, audiogram_id)
        return None if packed is None else _RECORD.decode(packed)

    async def page(self, device: str, *, before: int | None, limit: int) -> tuple[AudiogramRecord, ...]:
        """See ``AudiogramStore``. Raises Unavailable."""
        packed = await self._table.page(device, MAX_SAFE_INTEGER if before is None else before, limit)
        return tuple(map(_RECORD.decode, packed))

    async def _newest_day(self, record: AudiogramRecord, newest: AudiogramRecord | None) -> str:
        """The day of the newest of which it is known, as none was put on file before one of a later day."""
        if newest is None or not record.measured_on:
            return ""
        found: tuple[AudiogramRecord, ...] = (newest,)
        while found:
            known = next((one.measured_on for one in found if one.measured_on), None)
            if known is not None:
                return known
            found = await self.page(record.device, before=found[-1].number, limit=_LOOK_BACK)
        return ""

    async def _newest(self, device: str) -> AudiogramRecord | None:
        return next(iter(await self.page(device, before=None, limit=1)), None)


class SqliteAudiogramTable:
    """``AudiogramTable`` in SQLite."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def add(self, row: AudiogramRow) -> bool:
        values = _ADD.named(row.values)

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(_ADD.text, values).rowcount == 1

        return await self._database.write(work, is_new_work=True)

    async def get(self, device: str, audiogram_id: str) -> bytes | None:
        values = _ONE.named({"of_device": device, "of_id": audiogram_id})
        row = await self._database.read(lambda connection: connection.execute(_ONE.text, values).fetchone())
        return None if row is None else bytes(row[0])

    async def page(self, device: str, before: int, limit: int) -> tuple[bytes, ...]:
        values = _PAGE.named({"of_device": device, "before": before, "rows": limit})
        rows = await self._database.read(lambda connection: connection.execute(_PAGE.text, values).fetchall())
        return tuple(bytes(record) for (record,) in rows)
