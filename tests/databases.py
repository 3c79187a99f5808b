"""Databases for tests: made once as they are for real, and copied for every test."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

import asyncpg

from signaling.schema import upgrade_sqlite
from signaling.schema_postgres import upgrade
from tests.postgres import PostgresServer

__all__ = ["new_postgres", "new_sqlite"]

_TEMPLATES: dict[str, str] = {}


@cache
def _template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="auricle-sqlite-")) / "template.db"
    upgrade_sqlite(path)
    return path


def new_sqlite(folder: Path) -> Path:
    """A migrated, empty database file in a folder."""
    return Path(shutil.copy(_template(), folder / "auricle.db"))


async def new_postgres(server: PostgresServer, *, migrated: bool = True) -> str:
    """The URL of an empty database of its own on a server."""
    if migrated and server.url not in _TEMPLATES:
        template = await new_postgres(server, migrated=False)
        await upgrade(template)
        _TEMPLATES[server.url] = server.name_in(template)
    name = server.new_name()
    connection = await asyncpg.connect(server.url)
    try:
        source = f' TEMPLATE "{_TEMPLATES[server.url]}"' if migrated else ""
        await connection.execute(f'CREATE DATABASE "{name}"{source}')
    finally:
        await connection.close()
    return server.database_url(name)
