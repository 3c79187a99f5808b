"""Whether a database has the schema that this version needs, and how it gets it.

Looking is cheap and needs no Alembic; only an upgrade loads it. Read ``state_of`` first, then ``upgrade_sqlite``.
"""

import io
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .config import MEMORY, Config, ConfigError
from .migrations import REVISIONS

if TYPE_CHECKING:
    from alembic.config import Config as Alembic

__all__ = [
    "SchemaState",
    "migrate",
    "postgres_script",
    "require_current",
    "require_tables",
    "sqlite_revision",
    "state_of",
    "upgrade_sqlite",
]

SchemaState = Literal["empty", "older", "current", "newer"]
MIGRATIONS = Path(__file__).parent / "migrations"


def state_of(revision: str | None) -> SchemaState:
    """What the revision that a database says it has means for this version."""
    if revision is None:
        return "empty"
    if revision not in REVISIONS:
        return "newer"
    return "current" if revision == REVISIONS[-1] else "older"


def require_current(revision: str | None) -> None:
    """Raises ConfigError, in one clear line, for a database that this version cannot work on."""
    state = state_of(revision)
    if state == "newer":
        raise ConfigError(
            f"the database has schema {revision}, which is newer than this version's {REVISIONS[-1]}: "
            "run the newer version"
        )
    if state != "current":
        found = "no schema yet" if revision is None else f"schema {revision}"
        raise ConfigError(f"the database has {found}, this version needs {REVISIONS[-1]}: run `auricle migrate`")


def require_tables(revision: str | None, found: Collection[str]) -> None:
    """Raises ConfigError for a database that says it is current and lacks tables: somebody has dropped them."""
    if state_of(revision) != "current":
        return
    from fitting.log_sql.tables import METADATA as DEVICE_LOG

    from .stores.tables import METADATA as STORES

    missing = sorted((DEVICE_LOG.tables.keys() | STORES.tables.keys()) - set(found))
    if missing:
        raise ConfigError(f"the database lacks what its schema {revision} has, {', '.join(missing)}: restore a backup")


async def migrate(config: Config, *, check: bool, restored: bool) -> int:
    """``auricle migrate``: upgrade, or with ``check`` only look, and tell on stdout. Raises ConfigError."""
    if config.database_url == MEMORY:
        raise ConfigError("database_url: memory has no schema")
    before = await _found(config)
    if state_of(before) == "newer":
        require_current(before)
    if not check:
        await _upgrade(config)
        if restored:
            await _note_restored(config)
    is_current = state_of(before) == "current"
    done = "nothing to do" if is_current else "`auricle migrate` is needed" if check else "migrated"
    print(f"schema {before or 'none'}, this version has {REVISIONS[-1]}: {done}")
    return 1 if check and not is_current else 0


async def _found(config: Config) -> str | None:
    if not config.database_url:
        return sqlite_revision(config.sqlite_file)
    from . import schema_postgres

    return await schema_postgres.revision(config.database_url)


async def _upgrade(config: Config) -> None:
    if not config.database_url:
        prepare_sqlite(config.sqlite_file)
        return
    from . import schema_postgres

    await schema_postgres.upgrade(config.database_url)


async def _note_restored(config: Config) -> None:
    """Give the database another identity, which tells every phone to read its aids back."""
    if config.database_url:
        from . import schema_postgres

        await schema_postgres.note_restored(config.database_url)
        return
    from fitting.log_sql.meta import RESTORES
    from fitting.log_sql.sqlite import connect

    connection = connect(config.sqlite_file, 30.0)
    try:
        connection.execute(
            "INSERT INTO log_meta (name, value) VALUES (?, '1')"
            " ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
            (RESTORES,),
        )
    finally:
        connection.close()


def sqlite_revision(path: Path) -> str | None:
    """The revision of a file, None when nothing is there.

    Raises:
        ConfigError: it is no database, or lacks what its revision has.
    """
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            # The table is not there.
            return None
        raise ConfigError(f"{path.name}: the database cannot be opened") from None
    except sqlite3.DatabaseError:
        raise ConfigError(f"{path.name}: this is not a database") from None
    if row is None:
        return None
    require_tables(str(row[0]), [name for (name,) in tables])
    return str(row[0])


async def prepare(config: Config) -> None:
    """What several processes need before the first of them opens the database: only a file of ours is upgraded.

    Raises:
        ConfigError: it cannot be worked on.
    """
    if not config.database_url:
        prepare_sqlite(config.sqlite_file)
        return
    from . import schema_postgres

    require_current(await schema_postgres.revision(config.database_url))


def newest_event_s(path: Path) -> float:
    """When the newest event of a file was recorded, in Unix seconds; 0 when there is none. Raises ConfigError."""
    newest = "SELECT max(at) FROM event JOIN device_head ON event.device = device_head.device AND event.n = last_n"
    try:
        with closing(sqlite3.connect(path)) as connection:
            return float(connection.execute(newest).fetchone()[0] or 0.0)
    except sqlite3.Error:
        raise ConfigError(f"{path.name}: the database cannot be read") from None


def prepare_sqlite(path: Path) -> None:
    """``upgrade_sqlite`` in a folder that is made when it is not there. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot use the data folder {path.parent}: {error.strerror}") from None
    upgrade_sqlite(path)


def upgrade_sqlite(path: Path) -> None:
    """Bring a file to the current schema, making it when there is none; nothing happens when it has it.

    Raises:
        ConfigError: it is of a newer version, or cannot be written.
    """
    if state_of(sqlite_revision(path)) in ("current", "newer"):
        require_current(sqlite_revision(path))
        return
    from alembic import command
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import SQLAlchemyError

    from fitting.log_sql.sqlite import connect

    engine = create_engine("sqlite://", creator=lambda: connect(path, 30.0))
    # One transaction from the first look to the last step: of two that upgrade at once, the second finds it done.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            alembic = _alembic()
            alembic.attributes["connection"] = connection
            command.upgrade(alembic, "head")
    except (SQLAlchemyError, sqlite3.Error, OSError):
        raise ConfigError(f"{path}: the database cannot be upgraded") from None
    finally:
        engine.dispose()


def postgres_script(revision: str | None, *, to: str = "head") -> str:
    """The SQL that brings a PostgreSQL database from a revision to another, the current one if none is said."""
    from alembic import command

    script = io.StringIO()
    command.upgrade(_alembic(script), f"{revision or 'base'}:{to}", sql=True)
    return script.getvalue()


def _alembic(output: io.StringIO | None = None) -> "Alembic":
    from alembic.config import Config as Alembic

    config = Alembic(output_buffer=output or io.StringIO(), stdout=io.StringIO())
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
