"""Push tokens in PostgreSQL: ``PushTokens`` over the pool that the device log uses too."""

from typing import Final

from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from fitting.log_sql.compiled import Statement
from fitting.log_sql.postgres import PostgresDatabase
from fitting.push import PushTarget

from .push_tokens_sql import GET, PARK, SET_ANEW, named, target_of
from .tables import push_token

__all__ = ["PostgresPushTokens"]

_DIALECT: Final = dialects.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped
_DEVICE = push_token.columns.device
_GET, _PARK = Statement.of(GET, _DIALECT), Statement.of(PARK.returning(_DEVICE), _DIALECT)
_insert = postgresql.insert(push_token)
_PUT = Statement.of(
    _insert.on_conflict_do_update(
        index_elements=["device"], set_={name: _insert.excluded[name] for name in SET_ANEW}
    ).returning(_DEVICE),
    _DIALECT,
)


class PostgresPushTokens:
    """``PushTokens`` in PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def put(self, device: str, target: PushTarget, now_s: float) -> None:
        """See ``PushTokens``."""
        await self._database.fetch(_PUT, named(device, target, now_s), is_write=True)

    async def get(self, device: str) -> PushTarget | None:
        """See ``PushTokens``."""
        rows = await self._database.fetch(_GET, {"of_device": device})
        return target_of(rows[0] if rows else None)

    async def park(self, device: str, target: PushTarget, now_s: float) -> None:
        """See ``PushTokens``."""
        await self._database.fetch(_PARK, named(device, target, now_s), is_write=True)
