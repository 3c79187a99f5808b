"""What the server keeps its log in, as something that can be killed, stopped, and read behind the server's back.

The chain of events is verified here from the rows, by code of its own: the product's word is no proof. Read
``Database`` first.
"""

import asyncio
import hashlib
import os
import signal
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tests.postgres import PostgresServer, postgres_server

__all__ = ["Database", "PostgresDatabase", "SqliteDatabase", "audit_events", "database"]

_EVENTS: Final = (
    "SELECT device, n, kind, state, at, seq, ear, code, digest, actor, text, hash FROM event ORDER BY device, n"
)


class Database(ABC):
    """``environ`` is what the server must be told to use it; ``needs_migration``: it does not make its own schema."""

    environ: dict[str, str]
    needs_migration = False

    @abstractmethod
    async def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """What a query gives, asked without the server."""


class SqliteDatabase(Database):
    """The file in the server's data folder."""

    def __init__(self, data: Path) -> None:
        self.environ = {}
        self._data = data

    async def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Read the file; the server must have ended."""
        (path,) = self._data.glob("*.db")
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


class PostgresDatabase(Database):
    """A server of its own, with one database, which keeps what it acknowledged when it is killed."""

    needs_migration = True

    def __init__(self, server: PostgresServer) -> None:
        assert server.folder is not None
        self._server = server
        self.environ = {"AURICLE_DATABASE_URL": server.url}
        # Its own socket, where a connection of no network ends.
        self.target = f"unix://{server.folder}/.s.PGSQL.5432"

    def environ_through(self, url: str) -> dict[str, str]:
        """``environ`` for who is to reach it through a proxy, at ``http://host:port``."""
        address = urlsplit(url)
        return {"AURICLE_DATABASE_URL": f"postgresql://auricle@{address.hostname}:{address.port}/postgres"}

    async def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Ask it."""
        import asyncpg

        connection = await asyncpg.connect(self._server.url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def kill(self, down_s: float) -> None:
        """SIGKILL, and start it again after a while."""
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(down_s)
        await asyncio.to_thread(self._server.start)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Nothing of it moves within the block."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in self._pids():
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> Iterator[int]:
        assert self._server.process is not None
        main = self._server.process.pid
        yield main
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        yield from map(int, children)


@contextmanager
def database(kind: str, data: Path) -> Iterator[Database]:
    """The database of a run, gone with the block."""
    if kind == "sqlite":
        yield SqliteDatabase(data)
        return
    with postgres_server(durable=True) as server:
        yield PostgresDatabase(server)


async def audit_events(kept: Database) -> AsyncIterator[dict[str, Any]]:
    """Every recorded event with the hash that it should have, computed from its content and the hash before."""
    before, last_device = "", None
    for device, n, kind, state, at_s, seq, ear, code, digest, actor, text, held in await kept.rows(_EVENTS):
        if device != last_device:
            before, last_device = hashlib.sha256(device.encode()).hexdigest(), device
        told = [before, n, round(at_s * 1_000), kind, state, seq, ear, code, digest, actor, text]
        yield {
            "device": device, "n": n, "kind": kind, "state": state, "seq": seq, "ear": ear, "code": code,
            "prev": before, "hash": held, "computed": hashlib.sha256(msgspec.json.encode(told)).hexdigest(),
        }  # fmt: skip
        before = held
