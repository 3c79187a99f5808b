"""The schema in PostgreSQL: the script that Alembic writes makes the tables that statements are compiled from."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from fitting.log_sql.tables import METADATA as DEVICE_LOG
from signaling.config import Config, ConfigError
from signaling.migrations import REVISIONS
from signaling.schema import migrate, postgres_script
from signaling.schema_postgres import revision, upgrade
from signaling.stores.tables import METADATA as STORES
from tests.databases import new_postgres
from tests.postgres import PostgresServer
from tests.signaling.test_cli import run

COLUMNS = """
    SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 3"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"
CONSTRAINTS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid <> coalesce(to_regclass('alembic_version'), 0)
    ORDER BY 1"""


async def described(url: str) -> list[list[tuple[object, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return [[tuple(row) for row in await connection.fetch(sql)] for sql in (COLUMNS, INDEXES, CONSTRAINTS)]
    finally:
        await connection.close()


async def test_the_steps_make_the_tables_that_the_program_knows(postgres: PostgresServer) -> None:
    known = await new_postgres(postgres, migrated=False)
    connection = await asyncpg.connect(known)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped
    for metadata in (DEVICE_LOG, STORES):
        for table in metadata.sorted_tables:
            await connection.execute(str(CreateTable(table).compile(dialect=dialect)))
            for index in table.indexes:
                await connection.execute(str(CreateIndex(index).compile(dialect=dialect)))
    await connection.close()
    made, wanted = await described(await new_postgres(postgres)), await described(known)
    assert made == wanted
    assert all(wanted)


@pytest.mark.parametrize("older", [None, *REVISIONS])
async def test_a_database_of_each_older_version_is_upgraded(postgres: PostgresServer, older: str | None) -> None:
    url = await new_postgres(postgres, migrated=False)
    if older is not None:
        connection = await asyncpg.connect(url)
        await connection.execute(postgres_script(None, to=older))
        await connection.close()
    assert await revision(url) == older
    await upgrade(url)
    assert await revision(url) == REVISIONS[-1]


async def test_several_that_upgrade_at_once_make_one_schema(postgres: PostgresServer) -> None:
    url = await new_postgres(postgres, migrated=False)
    await asyncio.gather(*(upgrade(url) for _ in range(4)))
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM log_meta") == 1
    assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    await connection.close()


async def test_a_newer_database_is_not_touched(postgres: PostgresServer) -> None:
    url = await new_postgres(postgres)
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(ConfigError, match="schema 9999, which is newer"):
        await upgrade(url)
    assert await revision(url) == "9999"


async def test_a_database_that_lacks_a_table_says_which(postgres: PostgresServer) -> None:
    url = await new_postgres(postgres)
    connection = await asyncpg.connect(url)
    await connection.execute("DROP TABLE event")
    await connection.close()
    for look in (revision, upgrade):
        with pytest.raises(ConfigError, match=r"lacks what its schema .* has, event: restore a backup"):
            await look(url)


async def test_nobody_there_is_one_clear_line_without_the_password() -> None:
    with pytest.raises(ConfigError, match="cannot be reached") as refused:
        await revision("postgresql://who:secret-word@127.0.0.1:9/x")
    assert "secret-word" not in str(refused.value)


async def test_serve_refuses_a_database_that_was_not_migrated_and_migrate_does_it(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = await new_postgres(postgres, migrated=False)
    environ = {"AURICLE_DATABASE_URL": url, "AURICLE_DATA": str(tmp_path)}
    refused = await asyncio.to_thread(run, "serve", "--dev", "--port", "0", **environ)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no schema yet" in refused.stderr
    assert "auricle migrate" in refused.stderr
    check = await asyncio.to_thread(run, "migrate", "--check", **environ)
    assert (check.returncode, check.stderr) == (1, "")
    done = await asyncio.to_thread(run, "migrate", "--database-url", url)
    assert done.stdout == f"schema none, this version has {REVISIONS[-1]}: migrated\n"
    assert await revision(url) == REVISIONS[-1]
    assert url not in json.dumps([refused.stderr, check.stdout, done.stdout])


async def test_a_restored_database_says_so(postgres: PostgresServer, capsys: pytest.CaptureFixture[str]) -> None:
    url = await new_postgres(postgres)
    for _ in range(2):
        assert await migrate(Config(database_url=url), check=False, restored=True) == 0
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT value FROM log_meta WHERE name = 'restores'") == "2"
    await connection.close()
    assert "nothing to do" in capsys.readouterr().out
