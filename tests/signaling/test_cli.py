"""The command line as a person uses it: real processes, their output, their exit codes."""

import asyncio
import os
import socket
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from signaling.migrations import REVISIONS
from tests.databases import new_sqlite
from tests.eventually import eventually_asked
from tests.running import START_TIMEOUT_S, Server, server

KEY = "k" * 32


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "signaling", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={key: value for key, value in os.environ.items() if not key.startswith("AURICLE_")} | environ,
    )


async def status(url: str, token: str) -> int:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.post(f"{url}/hub/negotiate?negotiateVersion=1") as answer,
    ):
        return answer.status


async def test_serve_says_that_it_is_ready_takes_tokens_and_ends_in_order(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        assert running.url.startswith("http://127.0.0.1:")
        assert await status(running.url, await running.token("ann")) == 200
        assert await status(running.url, await running.token("ann", expires_in_s=-1)) == 401
        assert stat.S_IMODE((tmp_path / "dev-signing-key").stat().st_mode) == 0o600
        async with aiohttp.ClientSession() as session, session.post(f"{running.url}/hubs/conformance/negotiate") as off:
            assert off.status == 404
        assert await running.terminate() == 0
        assert '"stopped"' in running.log_text


async def test_a_key_of_the_environment_is_used_and_not_kept(tmp_path: Path) -> None:
    async with server(tmp_path, AURICLE_DEV_SIGNING_KEY=KEY) as running:
        who = ("token", "--user", "ann", "--clinic", "c1", "--role", "clinician")
        token = await asyncio.to_thread(run, *who, AURICLE_DEV_SIGNING_KEY=KEY)
        assert token.stdout.count("\n") == 1
        assert await status(running.url, token.stdout.strip()) == 200
        assert not (tmp_path / "dev-signing-key").exists()
        other = await asyncio.to_thread(run, *who, AURICLE_DEV_SIGNING_KEY="x" * 32)
        assert await status(running.url, other.stdout.strip()) == 401


async def test_a_draining_server_is_not_ready_and_takes_nobody(tmp_path: Path) -> None:
    async with server(tmp_path, AURICLE_DRAIN_S="50", AURICLE_CLOSE_TIMEOUT_S="50") as running:
        await drains(running)


async def drains(running: Server) -> None:
    """A client that does not answer the close keeps the server draining until it was looked at."""
    token = await running.token("ann")
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /hub HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    assert b"101" in await reader.readline()
    async with aiohttp.ClientSession() as session:
        running.process.terminate()
        await eventually_asked(lambda: drains_by_now(running, session))
        async with session.get(f"{running.url}/readyz") as ready:
            assert ready.status == 503
        async with session.get(f"{running.url}/healthz") as health:
            assert health.status == 200
        assert await status(running.url, token) == 503
    writer.close()
    assert await asyncio.wait_for(running.process.wait(), START_TIMEOUT_S) == 0


async def drains_by_now(running: Server, session: aiohttp.ClientSession) -> bool:
    async with session.get(f"{running.url}/readyz") as answer:
        return bool((await answer.json())["status"] != "ready")


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (["serve"], {}, "start with --dev"),
        (["serve", "--dev", "--workers", "two"], {}, "workers: must be 1 to 256, or auto"),
        (["serve", "--dev", "--workers", "0"], {}, "workers: must be 1 to 256, or auto"),
        (["serve", "--dev", "--workers", "2"], {"AURICLE_DATABASE_URL": "memory:"}, "cannot share memory:"),
        (["serve", "--workers", "2"], {}, "start with --dev"),
        (
            ["serve", "--dev", "--workers", "2"],
            {"AURICLE_INTERNAL_LISTEN": "127.0.0.1:7000"},
            "each worker needs its own",
        ),
        (["serve", "--dev"], {"AURICLE_WORKER": "{}"}, "a worker is started by its supervisor only"),
        (["serve", "--dev", "--port", "70000"], {}, "port"),
        (["serve", "--dev"], {"AURICLE_DEV_SIGNING_KEY": "short"}, "at least 32 bytes"),
        (["serve", "--dev"], {"AURICLE_MAX_CONNECTIONS": "many"}, "AURICLE_MAX_CONNECTIONS"),
        (["serve", "--dev"], {"AURICLE_MAX_CONNECTIONS": "0"}, "max_connections"),
        (["serve", "--dev", "--data", "/dev/null/x"], {}, "cannot"),
        (["serve", "--dev"], {"AURICLE_DATABASE_URL": "mysql://u:secret@h/d"}, "database_url: must be empty"),
        (["migrate", "--data", "/dev/null/x"], {}, "cannot use the data folder"),
        (["migrate", "--database-url", "memory:"], {}, "memory has no schema"),
        (["token", "--user", "a", "--clinic", "c", "--role", "boss"], {}, "unknown role boss"),
        (["token", "--user", "a", "--clinic", "c", "--role", "clinician"], {}, "no signing key"),
        (["asyncapi", "--url", "care.example.org"], {}, "url: must be"),
        (["asyncapi", "--url", "ftp://care.example.org"], {}, "url: must be"),
        (["asyncapi", "--url", "wss://care.example.org:many"], {}, "url: must be"),
        (["asyncapi", "--url", "wss://ann@care.example.org"], {}, "url: must be"),
        (["asyncapi", "--output", "/dev/null/x"], {}, "cannot write"),
        (["token", "--user", "", "--clinic", "c", "--role", "clinician"], {"AURICLE_DEV_SIGNING_KEY": KEY}, "user"),
    ],
)
def test_what_cannot_work_is_one_clear_line_and_exit_2(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], says: str
) -> None:
    done = run(*arguments, **({"AURICLE_DATA": str(tmp_path)} | environ))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_port_in_use_is_one_clear_line_and_exit_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("serve", "--dev", "--data", str(tmp_path), "--port", port)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_words_that_are_missing_are_explained() -> None:
    for arguments in ([], ["serve", "--nonsense"], ["token"], ["fly"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert "usage: auricle" in done.stderr


def test_a_database_that_lacks_a_table_is_not_called_ready(tmp_path: Path) -> None:
    where = ("--data", str(tmp_path))
    assert run("migrate", *where).returncode == 0
    with closing(sqlite3.connect(tmp_path / "auricle.db")) as database:
        database.execute("DROP TABLE event")
    for command in (["serve", "--dev", "--port", "0"], ["migrate"], ["migrate", "--check"]):
        refused = run(*command, *where)
        assert refused.returncode != 0
        assert refused.stderr.count("\n") == 1
        assert f"lacks what its schema {REVISIONS[-1]} has, event: restore a backup" in refused.stderr


def test_migrate_makes_the_schema_and_check_tells_whether_it_is_needed(tmp_path: Path) -> None:
    where = ("--data", str(tmp_path / "new"))
    assert run("migrate", "--check", *where).returncode == 1
    assert not (tmp_path / "new").exists()
    made = run("migrate", *where)
    assert (made.returncode, made.stdout) == (0, f"schema none, this version has {REVISIONS[-1]}: migrated\n")
    assert run("migrate", "--check", *where).returncode == 0
    assert stat.S_IMODE((tmp_path / "new" / "auricle.db").stat().st_mode) == 0o600


def test_a_newer_database_keeps_the_server_from_starting(tmp_path: Path) -> None:
    connection = sqlite3.connect(new_sqlite(tmp_path))
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for command in (["serve", "--dev", "--port", "0"], ["migrate"], ["migrate", "--check"]):
        done = run(*command, "--data", str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "schema 9999, which is newer" in done.stderr


def test_a_reader_that_has_enough_is_no_crash() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "signaling", "asyncapi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
