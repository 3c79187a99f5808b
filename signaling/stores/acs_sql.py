"""``AcsStore`` in SQL, over two tables that SQLite and PostgreSQL share. Read ``SqlAcsStore.change`` first."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Double, LargeBinary, Text, bindparam, delete, select, update

from .acs import AcsVisit, StoredIdentity
from .sql import Rows
from .tables import acs_identity, acs_visit

__all__ = ["SqlAcsStore"]

_I: Final = acs_identity.columns
_V: Final = acs_visit.columns
_decode: Final = msgspec.msgpack.Decoder(AcsVisit).decode
_WHO: Final = (
    _I.clinic == bindparam("of_clinic", type_=Text),
    _I.person == bindparam("of_person", type_=Text),
)
_IDENTITY: Final = select(_I.clinic, _I.person, _I.mark, _I.sealed, _I.visit)
_OF_PERSON: Final = _IDENTITY.where(*_WHO)
_OF_MARK: Final = _IDENTITY.where(
    _I.clinic == bindparam("of_clinic", type_=Text), _I.mark == bindparam("of_mark", type_=Text)
)
_USED: Final = update(acs_identity).where(*_WHO).values(visit=bindparam("new_visit", type_=Text))
_FORGET: Final = delete(acs_identity).where(*_WHO)
_VISIT: Final = select(_V.record).where(_V.visit == bindparam("of_visit", type_=Text))
_OF_THREAD: Final = select(_V.record).where(_V.thread == bindparam("of_thread", type_=Text)).limit(1)
_CHANGE: Final = (
    update(acs_visit)
    .where(
        _V.visit == bindparam("of_visit", type_=Text),
        _V.version == bindparam("seen_version", type_=BigInteger),
    )
    .values(
        thread=bindparam("new_thread", type_=Text),
        due_at=bindparam("new_due_at", type_=Double),
        version=bindparam("new_version", type_=BigInteger),
        record=bindparam("new_record", type_=LargeBinary),
    )
)
_DUE: Final = (
    select(_V.record)
    .where(_V.due_at <= bindparam("now_s", type_=Double))
    .order_by(_V.due_at, _V.visit)
    .limit(bindparam("bound"))
)


class SqlAcsStore:
    """``AcsStore`` over two tables."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def identity(self, clinic: str, person: str) -> StoredIdentity | None:
        """See ``AcsStore``."""
        return _identity(await self._rows.read(_OF_PERSON, {"of_clinic": clinic, "of_person": person}))

    async def whose(self, clinic: str, mark: str) -> StoredIdentity | None:
        """See ``AcsStore``."""
        return _identity(await self._rows.read(_OF_MARK, {"of_clinic": clinic, "of_mark": mark}))

    async def add_identity(self, identity: StoredIdentity) -> bool:
        """See ``AcsStore``."""
        values = {
            "clinic": identity.clinic,
            "person": identity.person,
            "mark": identity.mark,
            "sealed": identity.sealed,
            "visit": identity.visit,
        }
        return await self._rows.add(acs_identity, values)

    async def used(self, clinic: str, person: str, visit: str) -> None:
        """See ``AcsStore``."""
        await self._rows.change(_USED, {"of_clinic": clinic, "of_person": person, "new_visit": visit})

    async def forget(self, clinic: str, person: str) -> bool:
        """See ``AcsStore``."""
        return await self._rows.change(_FORGET, {"of_clinic": clinic, "of_person": person}) > 0

    async def visit(self, visit: str) -> AcsVisit | None:
        """See ``AcsStore``."""
        return _visit(await self._rows.read(_VISIT, {"of_visit": visit}))

    async def of_thread(self, thread: str) -> AcsVisit | None:
        """See ``AcsStore``."""
        return _visit(await self._rows.read(_OF_THREAD, {"of_thread": thread})) if thread else None

    async def add(self, visit: AcsVisit) -> bool:
        """See ``AcsStore``."""
        values = {
            "visit": visit.visit,
            "thread": visit.thread,
            "due_at": visit.due_at_s,
            "version": visit.version,
            "record": msgspec.msgpack.encode(visit),
        }
        return await self._rows.add(acs_visit, values)

    async def change(self, visit: AcsVisit) -> bool:
        """See ``AcsStore``."""
        values = {
            "of_visit": visit.visit,
            "seen_version": visit.version - 1,
            "new_thread": visit.thread,
            "new_due_at": visit.due_at_s,
            "new_version": visit.version,
            "new_record": msgspec.msgpack.encode(visit),
        }
        return await self._rows.change(_CHANGE, values) == 1

    async def due(self, now_s: float, limit: int) -> tuple[AcsVisit, ...]:
        """See ``AcsStore``."""
        return tuple(_decode(row[0]) for row in await self._rows.read(_DUE, {"now_s": now_s, "bound": limit}))


def _identity(rows: Sequence[Sequence[Any]]) -> StoredIdentity | None:
    return StoredIdentity(*rows[0]) if rows else None


def _visit(rows: Sequence[Sequence[Any]]) -> AcsVisit | None:
    return _decode(rows[0][0]) if rows else None
