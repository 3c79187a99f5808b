"""``auricle audit verify`` holds each change and its revision to what the chain says was accepted."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import msgspec
import pytest

from protocol.contract.fitting import SafetySummary
from signaling.audit import verify
from signaling.config import Config, ConfigError
from tests.contracts.device_log_bench import BOTH_LOUDER, FRESH, louder
from tests.contracts.sql_world import World, postgres_world, sqlite_world
from tests.databases import new_postgres, new_sqlite
from tests.postgres import PostgresServer
from tests.signaling.test_cli import run

_CONTENT = msgspec.msgpack.encode(louder(BOTH_LOUDER, by=300)).hex()
_FIRST = msgspec.msgpack.encode(louder(FRESH, by=-10)).hex()
_SAFETY = msgspec.msgpack.encode(SafetySummary(rules=("K1", "K2"))).hex()
NOT_ACCEPTED = "is not what was accepted"
UNREADABLE = "change 1 or its revision is gone or cannot be read"
GONE = "was accepted and is not there any more"
# What is done to the database, in SQL of both, and the line that tells of it. Blobs are written as {hex}.
EDITS = {
    "content": ("UPDATE revision SET content = {_CONTENT} WHERE seq = 1", NOT_ACCEPTED),
    "base": ("UPDATE revision SET content = {_FIRST} WHERE origin = 'readback'", NOT_ACCEPTED),
    "author": ("UPDATE revision SET author = 'eve' WHERE seq = 1", NOT_ACCEPTED),
    "reason": ("UPDATE revision SET reason = 'the patient asked for it' WHERE seq = 1", NOT_ACCEPTED),
    "safety": ("UPDATE revision SET safety = {_SAFETY} WHERE seq = 1", NOT_ACCEPTED),
    "unreadable": ("UPDATE revision SET safety = {80c1} WHERE seq = 1", UNREADABLE),
    "revision": ("DELETE FROM revision WHERE seq = 1", UNREADABLE),
    "deliveries": ("DELETE FROM delivery", GONE),
}


def statement(edit: str, blob: str) -> str:
    text = EDITS[edit][0]
    for name, value in (("_CONTENT", _CONTENT), ("_FIRST", _FIRST), ("_SAFETY", _SAFETY), ("80c1", "80c1")):
        text = text.replace("{" + name + "}", blob % value)
    return text


async def fit(world: World) -> None:
    process = await world.first()
    await process.bench.fitted()
    await process.bench.apply(BOTH_LOUDER)
    await process.close()


@pytest.mark.parametrize("edit", EDITS)
async def test_what_was_done_to_a_revision_is_found(
    tmp_path: Path, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await fit(sqlite_world(new_sqlite(tmp_path)))
    assert await verify(Config(data=tmp_path), None) == 0
    with closing(sqlite3.connect(tmp_path / "auricle.db")) as database:
        assert database.execute(statement(edit, "x'%s'")).rowcount == 1
        database.commit()
    capsys.readouterr()
    for device in (None, "d-1"):
        assert await verify(Config(data=tmp_path), device) == 1
        told, said = capsys.readouterr().out.splitlines()
        assert EDITS[edit][1] in told
        assert told.startswith("d-1: ")
        assert said.endswith("of 1 devices: 0 broken, 1 amiss")


@pytest.mark.parametrize("edit", ["content", "safety", "unreadable", "deliveries"])
async def test_what_was_done_to_a_revision_is_found_in_postgres_too(
    postgres: PostgresServer, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await new_postgres(postgres)
    await fit(postgres_world(url))
    admin = await asyncpg.connect(url)
    await admin.execute(statement(edit, "decode('%s', 'hex')"))
    await admin.close()
    assert await verify(Config(database_url=url), None) == 1
    assert EDITS[edit][1] in capsys.readouterr().out


async def test_acceptances_of_an_older_version_are_counted_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fitting.log_rows.accepted_digest", lambda _: None)
    await fit(sqlite_world(new_sqlite(tmp_path)))
    assert await verify(Config(data=tmp_path), None) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "1 changes in the old format: their events do not cover what was changed"


async def test_an_end_that_was_kept_elsewhere_tells_of_a_chain_that_was_made_anew_or_cut(tmp_path: Path) -> None:
    path, heads = new_sqlite(tmp_path), tmp_path / "heads"
    world = sqlite_world(path)
    await fit(world)
    where = ("audit", "verify", "--data", str(tmp_path))
    done = await asyncio.to_thread(run, *where, "--heads", str(heads))
    assert done.returncode == 0
    device, n, end = heads.read_text().split()
    process = await world.process()
    await process.log.note("d-1", "device", "seen", actor="ann")
    await process.close()
    assert await verify(Config(data=tmp_path), None, against=heads) == 0
    others = (f"{device} {n} {'0' * 64}\n", f"{device} {int(n) + 5} {end}\n", f"d-9 {n} {end}\n")
    for other in others:
        heads.write_text(other)
        assert await verify(Config(data=tmp_path), None, against=heads) == 1
    heads.write_text("nothing\n")
    with pytest.raises(ConfigError, match="no list of heads"):
        await verify(Config(data=tmp_path), None, against=heads)
