"""Calls that are over, in SQL: ``CallRecords`` over a table that SQLite and PostgreSQL share."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Double, Text, bindparam, select, tuple_

from .call_records import CallPart, CallPlace
from .sql import Rows
from .tables import call_record as table

__all__ = ["SqlCallRecords"]

_C: Final = table.columns
_PART: Final = select(_C.visit, _C.call_id, _C.part, _C.at, _C.record)
_OF_VISIT: Final = (
    _PART.where(
        _C.visit == bindparam("of_visit", type_=Text),
        _C.part == "",
        tuple_(_C.at, _C.call_id) < tuple_(bindparam("before_s", type_=Double), bindparam("before_call", type_=Text)),
    )
    .order_by(_C.at.desc(), _C.call_id.desc())
    .limit(bindparam("bound"))
)
_BESIDE: Final = _PART.where(_C.call_id == bindparam("of_call", type_=Text), _C.part != "").order_by(_C.part)
# Later than any call.
_NOWHERE: Final = CallPlace(1e15, "")


class SqlCallRecords:
    """``CallRecords`` over a table."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def add(self, part: CallPart) -> bool:
        """See ``CallRecords``."""
        values = {
            "visit": part.visit,
            "call_id": part.call_id,
            "part": part.part,
            "at": part.at_s,
            "record": part.record,
        }
        # It is over and cannot be told again, so it is no new work that a full disk may refuse.
        return await self._rows.add(table, values, is_new_work=False)

    async def of_visit(self, visit: str, before: CallPlace | None, limit: int) -> tuple[CallPart, ...]:
        """See ``CallRecords``."""
        place = _NOWHERE if before is None else before
        wanted = {"of_visit": visit, "before_s": place.at_s, "before_call": place.call_id, "bound": limit}
        return _parts(await self._rows.read(_OF_VISIT, wanted))

    async def beside(self, call_id: str) -> tuple[CallPart, ...]:
        """See ``CallRecords``."""
        return _parts(await self._rows.read(_BESIDE, {"of_call": call_id}))


def _parts(rows: Sequence[Sequence[Any]]) -> tuple[CallPart, ...]:
    return tuple(CallPart(*row) for row in rows)
