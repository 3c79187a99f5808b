"""Push tokens in a table: what the two databases share, and SQLite. A dead token is kept, so that it stays dead."""

from typing import Any, Final

from sqlalchemy import Double, Text, bindparam, select, update
from sqlalchemy.dialects import sqlite as dialects

from fitting.log_sql.compiled import Statement
from fitting.log_sql.sqlite import SqliteDatabase
from fitting.push import PushTarget

from .tables import push_token

__all__ = ["GET", "PARK", "SET_ANEW", "SqlitePushTokens", "named", "target_of"]

_C: Final = push_token.columns
GET: Final = select(_C.platform, _C.token).where(
    _C.device == bindparam("of_device", type_=Text), _C.parked_at.is_(None)
)
PARK: Final = (
    update(push_token)
    .where(
        _C.device == bindparam("of_device", type_=Text),
        _C.platform == bindparam("of_platform", type_=Text),
        _C.token == bindparam("of_token", type_=Text),
    )
    .values(parked_at=bindparam("at", type_=Double))
)
SET_ANEW: Final = ("platform", "token", "at", "parked_at")

_DIALECT: Final = dialects.dialect(paramstyle="named")
_GET, _PARK = Statement.of(GET, _DIALECT), Statement.of(PARK, _DIALECT)
_insert = dialects.insert(push_token)
_PUT = Statement.of(
    _insert.on_conflict_do_update(index_elements=["device"], set_={name: _insert.excluded[name] for name in SET_ANEW}),
    _DIALECT,
)


def named(device: str, target: PushTarget, now_s: float) -> dict[str, Any]:
    """The values by which statements name a phone."""
    return {
        "of_device": device,
        "of_platform": target.platform,
        "of_token": target.token,
        "device": device,
        "platform": target.platform,
        "token": target.token,
        "at": now_s,
        "parked_at": None,
    }


def target_of(row: Any) -> PushTarget | None:
    """A row of ``GET``."""
    return None if row is None else PushTarget(row[0], row[1])


class SqlitePushTokens:
    """``PushTokens`` in SQLite."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def put(self, device: str, target: PushTarget, now_s: float) -> None:
        """See ``PushTokens``."""
        values = _PUT.named(named(device, target, now_s))
        await self._database.write(lambda connection: connection.execute(_PUT.text, values).rowcount)

    async def get(self, device: str) -> PushTarget | None:
        """See ``PushTokens``."""
        values = _GET.named({"of_device": device})
        return target_of(await self._database.read(lambda connection: connection.execute(_GET.text, values).fetchone()))

    async def park(self, device: str, target: PushTarget, now_s: float) -> None:
        """See ``PushTokens``."""
        values = _PARK.named(named(device, target, now_s))
        await self._database.write(lambda connection: connection.execute(_PARK.text, values).rowcount)
