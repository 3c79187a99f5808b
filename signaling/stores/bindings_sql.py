"""Bind codes in SQL: ``BindStore`` over a table that SQLite and PostgreSQL share.

A live code has a place of its device, of which there are as many as there may be live codes: of two codes that are made
at once for the last place one gets it. Read ``SqlBindStore.add`` first.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Double, LargeBinary, Text, bindparam, delete, func, null, select, update

from protocol.errors import Unavailable

from .bindings import BindCode
from .sql import TRIES, Rows
from .tables import bind_code as table

__all__ = ["SqlBindStore"]

_C: Final = table.columns
_CLINIC = _C.clinic == bindparam("of_clinic", type_=Text)
_DEVICE = _C.device == bindparam("of_device", type_=Text)
_NOW = bindparam("now", type_=Double)
_ROW = select(
    _C.code_hash,
    _C.clinic,
    _C.device,
    _C.patient,
    _C.made_by,
    _C.made_at,
    _C.expires_at,
    _C.bound_by,
    _C.bound_at,
    _C.phone,
)
_FORGET = delete(table).where(_DEVICE, _C.bound_at.is_(None), _C.expires_at <= _NOW)
_OTHERS = table.alias("others")
_NEWEST = select(func.max(_OTHERS.columns.bound_at)).where(_OTHERS.columns.device == _C.device).scalar_subquery()
# One that was used and has expired tells nobody anything any more, unless it is how the device is bound now.
_FORGET_USED = delete(table).where(_DEVICE, _C.bound_at < _NEWEST, _C.expires_at <= _NOW)
_PLACES = select(_C.place).where(_DEVICE, _C.place.is_not(None))
_KNOWN = select(_C.code_hash).where(_C.code_hash == bindparam("of_hash", type_=LargeBinary))
_LIVE = _ROW.where(
    _CLINIC, _C.patient == bindparam("of_patient", type_=Text), _C.bound_at.is_(None), _C.expires_at > _NOW
)
_REDEEM = (
    update(table)
    .where(_C.code_hash == bindparam("of_hash", type_=LargeBinary), _C.bound_at.is_(None), _C.expires_at > _NOW)
    .values(
        bound_by=bindparam("user", type_=Text), bound_at=_NOW, phone=bindparam("by_phone", type_=Text), place=null()
    )
)
_USED = _ROW.where(_C.code_hash == bindparam("of_hash", type_=LargeBinary), _C.bound_at.is_not(None))
_BOUND = _ROW.where(_CLINIC, _DEVICE, _C.bound_at.is_not(None)).order_by(_C.bound_at.desc()).limit(1)


class SqlBindStore:
    """``BindStore`` over a table; ``reached`` is told when a device has ``max_live`` live codes."""

    def __init__(self, rows: Rows, *, max_live: int, reached: Callable[[str], None]) -> None:
        self._rows = rows
        self._max_live = max_live
        self._reached = reached

    async def add(self, code: BindCode) -> bool:
        """See ``BindStore``."""
        for forget in (_FORGET, _FORGET_USED):
            await self._rows.change(forget, {"of_device": code.device, "now": code.made_at_s})
        for _ in range(TRIES):
            taken = {place for [place] in await self._rows.read(_PLACES, {"of_device": code.device})}
            free = next((place for place in range(self._max_live) if place not in taken), None)
            if free is None:
                self._reached("max_bind_codes")
                return False
            if await self._rows.add(table, _values(code, free)):
                return True
            if await self._rows.read(_KNOWN, {"of_hash": code.code_hash}):
                return False
        raise Unavailable("others are making codes for the same device, try again")

    async def live(self, clinic: str, patient: str, now_s: float) -> tuple[BindCode, ...]:
        """See ``BindStore``."""
        rows = await self._rows.read(_LIVE, {"of_clinic": clinic, "of_patient": patient, "now": now_s})
        return tuple(_code(*row) for row in rows)

    async def redeem(self, code_hash: bytes, *, by: str, at_s: float, phone: str | None = None) -> bool:
        """See ``BindStore``."""
        values = {"of_hash": code_hash, "user": by, "now": at_s, "by_phone": phone}
        return await self._rows.change(_REDEEM, values) == 1

    async def used(self, code_hash: bytes) -> BindCode | None:
        """See ``BindStore``."""
        rows = await self._rows.read(_USED, {"of_hash": code_hash})
        return _code(*rows[0]) if rows else None

    async def bound(self, clinic: str, device: str) -> BindCode | None:
        """See ``BindStore``."""
        rows = await self._rows.read(_BOUND, {"of_clinic": clinic, "of_device": device})
        return _code(*rows[0]) if rows else None


def _values(code: BindCode, place: int) -> dict[str, Any]:
    return {
        "code_hash": code.code_hash,
        "clinic": code.clinic,
        "device": code.device,
        "patient": code.patient,
        "place": place,
        "made_by": code.made_by,
        "made_at": code.made_at_s,
        "expires_at": code.expires_at_s,
        "bound_by": code.bound_by,
        "bound_at": code.bound_at_s,
        "phone": code.phone,
    }


def _code(code_hash: bytes, *rest: Any) -> BindCode:
    return BindCode(bytes(code_hash), *rest)
