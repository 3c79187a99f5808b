"""The schema: its steps make exactly the tables that the program compiles its statements from."""

import sqlite3
import threading
import time
from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as Alembic
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine

from fitting.log_sql.sqlite import SqliteDatabase
from fitting.log_sql.tables import METADATA as DEVICE_LOG
from protocol.contract.base import Ear
from protocol.contract.devices import RegisteredAid
from signaling.config import ConfigError
from signaling.migrations import REVISIONS
from signaling.schema import MIGRATIONS, require_current, sqlite_revision, state_of, upgrade_sqlite
from signaling.stores.devices import DeviceRecord
from signaling.stores.devices_sql import SqlDeviceStore, SqliteDeviceTable
from signaling.stores.tables import METADATA as STORES
from tests.databases import new_sqlite


def alembic() -> Alembic:
    config = Alembic()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def all_tables() -> MetaData:
    merged = MetaData()
    for metadata in (DEVICE_LOG, STORES):
        for table in metadata.tables.values():
            table.to_metadata(merged)
    return merged


def test_the_steps_make_the_tables_that_the_program_knows(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{new_sqlite(tmp_path)}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, all_tables()) == []
        made = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'").all()
    engine.dispose()
    wanted = {name for name, table in all_tables().tables.items() if not table.dialect_options["sqlite"]["with_rowid"]}
    assert {name for (name,) in made} == wanted == {"event"}


def test_the_steps_are_listed_in_their_order() -> None:
    script = ScriptDirectory.from_config(alembic())
    assert tuple(step.revision for step in script.walk_revisions())[::-1] == REVISIONS


@pytest.mark.parametrize("older", [None, *REVISIONS])
def test_a_database_of_each_older_version_is_upgraded(tmp_path: Path, older: str | None) -> None:
    path = tmp_path / "a.db"
    if older is not None:
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            config = alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, older)
        engine.dispose()
    assert sqlite_revision(path) == older
    upgrade_sqlite(path)
    assert sqlite_revision(path) == REVISIONS[-1]


async def test_a_device_that_was_registered_before_is_there_after_the_upgrade_with_nothing_measured(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        aid = {"serial": "R-1", "model": "ref10", "firmware": "1.0"}
        before = {"device": "d1", "clinic": "c1", "patient": "pat", "assignments": ["ann"], "aids": {"right": aid}}
        packed = msgspec.msgpack.encode(before | {"audiogram": None})
        connection.exec_driver_sql("INSERT INTO registered_device VALUES ('d1', 'c1', 'pat', ?)", (packed,))
    engine.dispose()
    upgrade_sqlite(path)
    database = SqliteDatabase(path, monotonic=time.monotonic)
    await database.open()
    try:
        table = SqliteDeviceTable(database)
        store = SqlDeviceStore(table, monotonic=time.monotonic, max_cached=1, stale_s=1.0, reached=lambda _: None)
        aids: dict[Ear, RegisteredAid] = {"right": RegisteredAid(serial="R-1", model="ref10", firmware="1.0")}
        assert await store.get("d1") == DeviceRecord("d1", "c1", "pat", frozenset({"ann"}), aids)
    finally:
        await database.close()


def test_two_that_upgrade_at_once_make_one_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    threads = [threading.Thread(target=upgrade_sqlite, args=(path,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sqlite_revision(path) == REVISIONS[-1]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM log_meta").fetchone() == (1,)
    connection.close()


def test_each_database_names_itself(tmp_path: Path) -> None:
    names = set()
    for name in ("a.db", "b.db"):
        upgrade_sqlite(tmp_path / name)
        connection = sqlite3.connect(tmp_path / name)
        names |= set(connection.execute("SELECT value FROM log_meta WHERE name = 'database_id'"))
        connection.close()
    assert len(names) == 2


def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:
    path = new_sqlite(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigError, match="schema 9999, which is newer"):
        upgrade_sqlite(path)
    assert sqlite_revision(path) == "9999"


def test_what_is_no_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database at all" * 1_000)
    with pytest.raises(ConfigError, match=r"a\.db: this is not a database"):
        upgrade_sqlite(path)
    assert path.read_bytes().startswith(b"not a database")


@pytest.mark.parametrize(("revision", "state"), [(None, "empty"), ("9999", "newer"), (REVISIONS[-1], "current")])
def test_what_a_revision_means(revision: str | None, state: str) -> None:
    assert state_of(revision) == state
    if state == "current":
        require_current(revision)
    else:
        with pytest.raises(ConfigError, match="schema"):
            require_current(revision)
