"""A database that holds devices of an older version goes on with them after its upgrade, whoever made it."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from alembic import command
from alembic.config import Config as Alembic
from sqlalchemy import create_engine

from protocol.contract.base import Ear
from protocol.contract.devices import RegisteredAid
from signaling.migrations import REVISIONS
from signaling.schema import MIGRATIONS, postgres_script, upgrade_sqlite
from signaling.schema_postgres import upgrade
from tests.contracts.sql_world import postgres_world, sqlite_world
from tests.databases import new_postgres
from tests.postgres import PostgresServer
from tests.signaling.conftest import OpenHouse
from tests.signaling.rest.desk import AID, ask

AIDS: dict[Ear, RegisteredAid] = {"right": RegisteredAid(**AID)}
# As version 0002 has packed it: nobody knew of a version, nor of who changed what.
RECORD = msgspec.msgpack.encode(
    {
        "device": "d1",
        "clinic": "c1",
        "patient": "pat",
        "assignments": ["ann", "abe"],
        "aids": {"right": AID},
        "audiogram": {"ears": {"right": [[500, 350], [1000, 400], [2000, 500], [4000, 600]]}, "name": "old"},
        "loudness_ddb": {"right": [1_050] * 10},
        "max_stable_gain_ddb": {},
        "red_flags": True,
    }
)
FROM = [revision for revision in REVISIONS[:-1] if revision >= "0002"]
_INSERT = "INSERT INTO registered_device (device, clinic, patient, record) VALUES ('d1', 'c1', 'pat', {})"


async def old_sqlite(path: Path, older: str) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Alembic()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, older)
        connection.exec_driver_sql(_INSERT.format("?"), (RECORD,))
    engine.dispose()
    process = await sqlite_world(path).process()
    assert await process.log.create("d1", AIDS) is None
    await process.close()


async def old_postgres(url: str, older: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(postgres_script(None, to=older))
    await connection.execute(_INSERT.format("$1"), RECORD)
    await connection.close()
    process = await postgres_world(url).process()
    assert await process.log.create("d1", AIDS) is None
    await process.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def upgraded(
    request: pytest.FixtureRequest, older: str, tmp_path: Path, postgres: PostgresServer
) -> AsyncIterator[dict[str, Any]]:
    """The configuration of a server on a database that was of the older version."""
    if request.param == "sqlite":
        path = tmp_path / "auricle.db"
        await old_sqlite(path, older)
        upgrade_sqlite(path)
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
        yield {"database_url": "", "data": tmp_path}
    else:
        url = await new_postgres(postgres, migrated=False)
        await old_postgres(url, older)
        await upgrade(url)
        yield {"database_url": url}


@pytest.mark.parametrize("older", FROM)
async def test_a_device_goes_on_with_all_that_was_on_file(open_house: OpenHouse, upgraded: dict[str, Any]) -> None:
    house = await open_house(**upgraded)
    read = await ask(house, "GET /devices/d1")
    assert (read.body["patient"], read.body["assignments"], read.body["redFlags"]) == ("pat", ["abe", "ann"], True)
    [first] = (await ask(house, "GET /devices/d1/audiograms")).body["items"]
    assert (first["audiogram"], first["name"], first["counts"]) == ("registered", "old", True)
    on_file = await ask(house, "GET /devices/d1/on-file")
    assert (on_file.tag, on_file.body["loudnessDdb"]) == ('"1"', {"right": [1_050] * 10})


@pytest.mark.parametrize("older", FROM)
async def test_everything_newer_can_be_done_with_it(open_house: OpenHouse, upgraded: dict[str, Any]) -> None:
    house = await open_house(**upgraded)
    gone = await ask(house, "DELETE /devices/d1/assignments/abe", {"reason": "has left"})
    assert (gone.status, gone.body["assigned"]) == (200, [{"person": "ann"}])
    assert (await ask(house, "GET /devices/d1", by="abe clinician")).status == 404
    change = {"reason": "seen by a physician", "redFlags": False}
    changed = await ask(house, "PATCH /devices/d1/on-file", change, If_Match='"1"')
    assert (changed.status, changed.tag, changed.body["redFlags"]) == (200, '"2"', False)
    thresholds = {"right": {"500": 10, "1000": 10, "2000": 15, "4000": 30}}
    assert (await ask(house, "POST /devices/d1/audiograms", thresholds, Idempotency_Key="k1")).status == 201
    withdrawn = await ask(house, "PUT /patients/pat/consents/live_tuning", {"granted": False}, by="pat patient")
    assert withdrawn.status == 200
    code = (await ask(house, "POST /devices/d1/bind-codes", {})).body["code"]
    assert (await ask(house, "POST /bind", {"code": code}, by="pat patient")).status == 200
