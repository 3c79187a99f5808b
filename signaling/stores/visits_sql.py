"""Visits in SQL: ``VisitStore`` over a table that SQLite and PostgreSQL share. Read ``SqlVisitStore.change`` first."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Double, Text, bindparam, exists, func, or_, select, tuple_, update

from media.visit import Visit
from protocol.errors import Overloaded

from .sql import Rows
from .tables import visit as table
from .visits import Changed, Place

__all__ = ["SqlVisitStore"]

_C: Final = table.columns
_OTHER: Final = table.alias("other")
_RECORD: Final = msgspec.msgpack.Decoder(Visit)
_ID: Final = _C.visit == bindparam("of_visit", type_=Text)
_BEFORE: Final = tuple_(_C.starts_at, _C.visit) < tuple_(
    bindparam("before_s", type_=Double), bindparam("before_visit", type_=Text)
)
_LATEST: Final = (_C.starts_at.desc(), _C.visit.desc())
_USER: Final = bindparam("of_user", type_=Text)
_DEVICE: Final = bindparam("of_device", type_=Text)
_GET: Final = select(_C.record).where(_ID)
_LIVE: Final = select(_C.record).where(_C.live_device == _DEVICE)
_OPEN: Final = select(func.count()).select_from(table).where(_C.device == _DEVICE, _C.due_at.is_not(None))
_OF_DEVICE: Final = select(_C.record).where(_C.device == _DEVICE, _BEFORE).order_by(*_LATEST).limit(bindparam("bound"))
_OF_USER: Final = (
    select(_C.record)
    .where(
        _C.clinic == bindparam("of_clinic", type_=Text),
        or_(_C.professional == _USER, _C.patient == _USER),
        _BEFORE,
    )
    .order_by(*_LATEST)
    .limit(bindparam("bound"))
)
_DUE: Final = (
    select(_C.record)
    .where(_C.due_at <= bindparam("now_s", type_=Double))
    .order_by(_C.due_at, _C.visit)
    .limit(bindparam("bound"))
)
_BEGUN: Final = (
    select(_C.record)
    .where(_C.due_at.is_not(None), _C.starts_at <= bindparam("until_s", type_=Double), _BEFORE)
    .order_by(*_LATEST)
    .limit(bindparam("bound"))
)
_VERSION: Final = bindparam("new_version", type_=BigInteger)
_LIVE_DEVICE: Final = bindparam("new_live_device", type_=Text)
# Of two that become live at once the index lets one through; usually the other is there already.
_CHANGE: Final = (
    update(table)
    .where(
        _ID,
        _C.version == _VERSION - 1,
        ~exists().where(_OTHER.c.live_device == _LIVE_DEVICE, _OTHER.c.visit != _C.visit),
    )
    .values(
        starts_at=bindparam("new_starts_at", type_=Double),
        due_at=bindparam("new_due_at", type_=Double),
        live_device=_LIVE_DEVICE,
        version=_VERSION,
        record=bindparam("new_record", type_=_C.record.type),
    )
)
# Later than any visit.
_NOWHERE: Final = Place(1e15, "")


class SqlVisitStore:
    """``VisitStore`` over a table; ``reached`` is told when a device has ``max_open`` visits to come."""

    def __init__(self, rows: Rows, *, max_open: int, reached: Callable[[str], None]) -> None:
        self._rows = rows
        self._max_open = max_open
        self._reached = reached

    async def create(self, visit: Visit) -> bool:
        """See ``VisitStore``. Of those that are scheduled at one instant a few more may fit."""
        if await self.get(visit.visit) is not None:
            return False
        [[is_open]] = await self._rows.read(_OPEN, {"of_device": visit.device})
        if is_open >= self._max_open:
            self._reached("max_open_visits")
            raise Overloaded("the device has too many visits to come")
        values = {
            "visit": visit.visit,
            "clinic": visit.clinic,
            "device": visit.device,
            "patient": visit.patient,
            "professional": visit.professional,
            "starts_at": visit.starts_at_s,
            "due_at": visit.due_at_s,
            "live_device": visit.live_device,
            "version": visit.version,
            "record": msgspec.msgpack.encode(visit),
        }
        return await self._rows.add(table, values)

    async def change(self, visit: Visit) -> Changed:
        """See ``VisitStore``."""
        values = {
            "of_visit": visit.visit,
            "new_starts_at": visit.starts_at_s,
            "new_due_at": visit.due_at_s,
            "new_live_device": visit.live_device,
            "new_version": visit.version,
            "new_record": msgspec.msgpack.encode(visit),
        }
        if await self._rows.change(_CHANGE, values) == 1:
            return "changed"
        before = await self.get(visit.visit)
        return "busy" if before is not None and before.version == visit.version - 1 else "stale"

    async def get(self, visit: str) -> Visit | None:
        """See ``VisitStore``."""
        return _one(await self._rows.read(_GET, {"of_visit": visit}))

    async def live_of(self, device: str) -> Visit | None:
        """See ``VisitStore``."""
        return _one(await self._rows.read(_LIVE, {"of_device": device}))

    async def of_device(self, device: str, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        return _all(await self._rows.read(_OF_DEVICE, {"of_device": device, **_page(before, limit)}))

    async def of_user(self, clinic: str, user: str, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        wanted = {"of_clinic": clinic, "of_user": user, **_page(before, limit)}
        return _all(await self._rows.read(_OF_USER, wanted))

    async def due(self, now_s: float, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        return _all(await self._rows.read(_DUE, {"now_s": now_s, "bound": limit}))

    async def begun(self, until_s: float, before: Place | None, limit: int) -> tuple[Visit, ...]:
        """See ``VisitStore``."""
        return _all(await self._rows.read(_BEGUN, {"until_s": until_s, **_page(before, limit)}))


def _page(before: Place | None, limit: int) -> dict[str, Any]:
    place = _NOWHERE if before is None else before
    return {"before_s": place.starts_at_s, "before_visit": place.visit, "bound": limit}


def _one(rows: Sequence[Sequence[Any]]) -> Visit | None:
    return _RECORD.decode(rows[0][0]) if rows else None


def _all(rows: Sequence[Sequence[Any]]) -> tuple[Visit, ...]:
    return tuple(_RECORD.decode(row[0]) for row in rows)
