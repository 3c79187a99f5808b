"""The schema of a PostgreSQL database: looked at and upgraded over the driver that the server uses anyway.

Alembic writes the steps as a script, which runs in one transaction under a lock, so that of several pods that upgrade
at once one does. Read ``upgrade`` first.
"""

from typing import Any

import asyncpg

from .config import ConfigError
from .schema import postgres_script, require_current, require_tables, state_of

__all__ = ["note_restored", "revision", "upgrade"]

# Any number that nobody else locks.
_LOCK = 0x41_75_72_69
_CONNECT_S = 10.0
# Those that a statement without a schema's name would find.
_TABLES = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
_HAS_TABLE = "SELECT to_regclass('alembic_version') IS NOT NULL"


async def revision(url: str) -> str | None:
    """The revision of a database, None when nothing is there.

    Raises:
        ConfigError: nobody answers, or it lacks what its revision has.
    """
    connection = await _connect(url)
    try:
        return await _revision(connection)
    finally:
        await connection.close()


async def upgrade(url: str) -> None:
    """Bring a database to the current schema. Raises ConfigError: it is newer, or cannot be changed."""
    connection = await _connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        found = await _revision(connection)
        if state_of(found) in ("current", "newer"):
            require_current(found)
            return
        await connection.execute(postgres_script(found))
    except asyncpg.PostgresError as error:
        raise ConfigError(f"the database cannot be upgraded: it answered {error.sqlstate}") from None
    finally:
        await connection.close()


async def note_restored(url: str) -> None:
    """Give the database another identity, which tells every phone to read its aids back."""
    from fitting.log_sql.meta import RESTORES

    connection = await _connect(url)
    try:
        await connection.execute(
            "INSERT INTO log_meta (name, value) VALUES ($1, '1')"
            " ON CONFLICT (name) DO UPDATE SET value = (log_meta.value::bigint + 1)::text",
            RESTORES,
        )
    finally:
        await connection.close()


async def _revision(connection: Any) -> str | None:
    if not await connection.fetchval(_HAS_TABLE):
        return None
    found = await connection.fetchval("SELECT version_num FROM alembic_version")
    if found is None:
        return None
    rows = await connection.fetch(_TABLES)
    require_tables(str(found), [row[0] for row in rows])
    return str(found)


async def _connect(url: str) -> Any:
    try:
        return await asyncpg.connect(url, timeout=_CONNECT_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        # Its text may quote the address with its password.
        reason = getattr(error, "sqlstate", None) or type(error).__name__
        raise ConfigError(f"the database cannot be reached: {reason}") from None
