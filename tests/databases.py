"""Databases for tests: made once as they are for real, and copied for every test."""

import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import asyncpg

from signaling.schema import upgrade_sqlite
from signaling.schema_postgres import upgrade
from signaling.stores.tables import METADATA as STORES
from tests.postgres import PostgresServer

__all__ = ["lent_postgres", "new_postgres", "new_sqlite"]

_EMPTIED = ("device_head", *STORES.tables)
_TEMPLATES: dict[str, str] = {}
# Each is hundreds of files, and a test needs two at most: older ones are dropped, so that the end is quick.
_MAX_DATABASES = 6
_MADE: dict[str, list[str]] = {}
_UNUSED: dict[str, list[str]] = {}


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="auricle-sqlite-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "template.db"
    upgrade_sqlite(path)
    return path


def new_sqlite(folder: Path) -> Path:
    """A migrated, empty database file in a folder."""
    return Path(shutil.copy(_template(), folder / "auricle.db"))


@asynccontextmanager
async def lent_postgres(server: PostgresServer) -> AsyncIterator[str]:
    """The URL of an empty database that a test leaves as it found it but for rows: quicker than a new one."""
    unused = _UNUSED.setdefault(server.url, [])
    url = unused.pop() if unused else await new_postgres(server, lasting=True)
    try:
        yield url
    finally:
        connection = await asyncpg.connect(url)
        await connection.execute(f"TRUNCATE {', '.join(_EMPTIED)} CASCADE")
        await connection.close()
        unused.append(url)


async def new_postgres(server: PostgresServer, *, migrated: bool = True, lasting: bool = False) -> str:
    """The URL of an empty database of its own on a server; it goes when there are many more, unless it is to last."""
    if migrated and server.url not in _TEMPLATES:
        template = await new_postgres(server, migrated=False, lasting=True)
        await upgrade(template)
        _TEMPLATES[server.url] = server.name_in(template)
    name, made = server.new_name(), _MADE.setdefault(server.url, [])
    connection = await asyncpg.connect(server.url)
    try:
        source = f' TEMPLATE "{_TEMPLATES[server.url]}"' if migrated else ""
        await connection.execute(f'CREATE DATABASE "{name}"{source}')
        if not lasting:
            made.append(name)
        if len(made) > _MAX_DATABASES:
            await connection.execute(f'DROP DATABASE "{made.pop(0)}" WITH (FORCE)')
    finally:
        await connection.close()
    return server.database_url(name)
