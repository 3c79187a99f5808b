"""One SQLite file: a thread that writes and a thread that reads, so that the event loop never waits for a disk.

What waits for the writing thread is written in one commit: one full sync pays for all of it. If a piece fails they are
written again, each in a savepoint of its own. Nothing is acknowledged before that commit. The thread gives way to the
event loop at every call of SQLite, and gets its turn again only when the loop has one to spare, so few statements mean
short commits, above all. This module must not know any table. Read
``SqliteDatabase.write`` first, then ``_Writer``.
"""

import asyncio
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from protocol.errors import Overloaded, StorageFull, Unavailable, UnknownOutcome

from .limits import SqliteLimits
from .port import Unwatched, Watch
from .sqlite_reader import Reader

__all__ = ["SqliteDatabase", "Work", "connect"]

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_BATCH: Final = 256
_NO_ROOM: Final = "there is no room to write anything down, try again later"
_UNKNOWN: Final = "what has become of it is not known, try again with the same key"
# The lowest byte of SQLite's error codes is the kind of error.
_KIND = 0xFF
_WAL_TRIES: Final = 20


@dataclass(slots=True)
class _Piece:
    work: Work[Any]
    future: "asyncio.Future[Any]"
    is_new_work: bool
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        """Tell whoever waits, if they still do."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class SqliteDatabase:
    """Opened and closed by whoever made it. ``monotonic`` gives seconds that only rise, for what is watched."""

    def __init__(
        self,
        path: Path,
        *,
        monotonic: Callable[[], float],
        limits: SqliteLimits | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._limits = limits or SqliteLimits()
        self._watch = watch or Unwatched()
        self._writer: _Writer | None = None
        self._reader: Reader | None = None

    @property
    def is_away(self) -> bool:
        """Whether nothing can be written: it is not open, or the last write failed for want of the file or of room."""
        return self._writer is None or self._writer.is_failing

    async def open(self) -> None:
        """Open the file. Raises Unavailable when it cannot be."""
        loop = asyncio.get_running_loop()
        try:
            reading = await loop.run_in_executor(None, connect, self._path, self._limits.timeout_s)
            writing = await loop.run_in_executor(None, connect, self._path, self._limits.timeout_s)
        except (sqlite3.Error, OSError) as error:
            raise _explained(error, self._watch) from None
        self._reader = Reader(reading, loop)
        self._writer = _Writer(
            writing, path=self._path, limits=self._limits, monotonic=self._monotonic, watch=self._watch, loop=loop
        )

    async def write(self, work: Work[T], *, is_new_work: bool = False) -> T:
        """Run ``work`` in a transaction, and return what it did once that is on the disk.

        ``work`` may be run twice, the first time in vain. It may raise: then nothing of it is written, and this raises
        the same. ``is_new_work`` is refused first when the disk is full.

        Raises:
            Overloaded: too much waits already.
            UnknownOutcome: it may have been written or not.
            Unavailable: nothing was written.
        """
        if self._writer is None:
            raise Unavailable("the database is closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._writer.put(_Piece(work, future, is_new_work))
        result: T = await future
        return result

    async def read(self, work: Work[T]) -> T:
        """Run ``work``, which only reads. Raises Unavailable."""
        if self._reader is None:
            raise Unavailable("the database is closed")
        try:
            return await self._reader.read(work)
        except sqlite3.Error as error:
            raise _explained(error, self._watch) from None

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        loop = asyncio.get_running_loop()
        writer, self._writer = self._writer, None
        if writer is not None:
            await loop.run_in_executor(None, writer.close)
        reader, self._reader = self._reader, None
        if reader is not None:
            await loop.run_in_executor(None, reader.close)


class _Writer:
    """The thread that writes. All but ``put``, ``close`` and the flag happens in it.

    No error ends it: a connection that can no longer be trusted is let go, and the next batch opens another.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        path: Path,
        limits: SqliteLimits,
        monotonic: Callable[[], float],
        watch: Watch,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._path = path
        self._ballast = path.with_name(path.name + ".ballast")
        self._limits = limits
        self._monotonic = monotonic
        self._watch = watch
        self._loop = loop
        self._waiting: deque[_Piece] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        self.is_failing = False
        self._is_short = False
        self._thread = threading.Thread(target=self._run, name="auricle-sqlite-write", daemon=True)
        self._thread.start()

    def put(self, piece: _Piece) -> None:
        with self._wake:
            if self._is_closing:
                raise Unavailable("the database is closed")
            if len(self._waiting) >= self._limits.max_waiting_writes:
                self._watch.reached("max_waiting_writes")
                raise Overloaded("too many changes wait to be written")
            self._waiting.append(piece)
            self._watch.waiting(len(self._waiting))
            self._wake.notify()

    def close(self) -> None:
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join()
        self._let_go()

    def _run(self) -> None:
        self._is_short = self.is_failing = not self._set_ballast_aside()
        while batch := self._next_batch():
            started_s = self._monotonic()
            try:
                self._write_all(batch)
            except Exception as error:  # noqa: BLE001  # whoever waits is told, and the next may write again
                self._watch.failed(type(error).__name__)
                self._give_up(batch, UnknownOutcome(_UNKNOWN))
            done = sum(piece.error is None for piece in batch)
            duration_s = self._monotonic() - started_s
            with suppress(RuntimeError):
                # The loop may be closed: then nobody waits.
                self._loop.call_soon_threadsafe(self._settle, batch, done, duration_s)

    def _settle(self, batch: list[_Piece], done: int, duration_s: float) -> None:
        """In the event loop, which alone counts."""
        if done:
            self._watch.committed(done, duration_s)
        self._watch.waiting(len(self._waiting))
        for piece in batch:
            piece.settle()

    def _next_batch(self) -> list[_Piece]:
        """All that waits, up to a bound; empty when it is time to end."""
        with self._wake:
            while not self._waiting and not self._is_closing:
                self._wake.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]

    def _write_all(self, batch: list[_Piece]) -> None:
        # Processes share it: when one has given it up there is no room for anything new in the others either.
        self._is_short = not self._set_ballast_aside()
        error = self._try(self._admitted(batch))
        if isinstance(error, StorageFull) and self._release_ballast():
            # What became of things comes first; whoever wants more is told that there is no room.
            self._is_short = True
            error = self._try(self._admitted(batch))
        self.is_failing = error is not None or self._is_short
        if error is not None:
            for piece in batch:
                piece.error = type(error)(error.public_message)

    def _give_up(self, batch: list[_Piece], error: Unavailable) -> None:
        self.is_failing = True
        self._let_go()
        for piece in batch:
            piece.error = type(error)(error.public_message)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # What cannot even be closed is left to the garbage collector.
            with suppress(sqlite3.Error):
                connection.close()

    def _admitted(self, batch: list[_Piece]) -> list[_Piece]:
        """What may be written: without the ballast, nothing new."""
        if not self._is_short:
            return batch
        for piece in batch:
            if piece.is_new_work:
                piece.error = StorageFull(_NO_ROOM)
        return [piece for piece in batch if not piece.is_new_work]

    def _try(self, batch: list[_Piece]) -> Unavailable | None:
        """Write a batch in one commit, or nothing of it."""
        try:
            connection = self._connection = self._connection or connect(self._path, self._limits.timeout_s)
        except (sqlite3.Error, OSError) as error:
            return _explained(error, self._watch)
        try:
            connection.execute("BEGIN IMMEDIATE")
            if not all(_is_written(connection, piece) for piece in batch):
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                for piece in batch:
                    _write_alone(connection, piece)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            explained = _explained(error, self._watch)
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                # It may be in the file or not, and nothing more can be done with this connection.
                self._watch.failed("rollback")
                self._let_go()
                return UnknownOutcome(_UNKNOWN)
            return explained
        return None

    def _set_ballast_aside(self) -> bool:
        """Whether there is as much room as what became of things may need on a full disk."""
        size = self._limits.ballast_bytes
        if not size or self._ballast.exists():
            return True
        try:
            with self._ballast.open("xb") as file:
                # Written, not only sized: a hole takes no room.
                file.write(b"\0" * size)
        except FileExistsError:
            # Another process has set it aside since we looked.
            return True
        except OSError:
            with suppress(OSError):
                self._ballast.unlink(missing_ok=True)
            return False
        return True

    def _release_ballast(self) -> bool:
        """Whether there may be more room now; another process may have given it up before."""
        if not self._limits.ballast_bytes:
            return False
        try:
            self._ballast.unlink(missing_ok=True)
        except OSError:
            return False
        self._watch.reached("ballast_bytes")
        return True


def _is_written(connection: sqlite3.Connection, piece: _Piece) -> bool:
    """Whether a piece went well; an error of the disk is raised."""
    piece.error = None
    try:
        piece.result = piece.work(connection)
    except sqlite3.Error as error:
        if not isinstance(error, sqlite3.IntegrityError):
            raise
        return False
    except Exception:  # noqa: BLE001  # it is run again where only it is undone, and kept there
        return False
    return True


def _write_alone(connection: sqlite3.Connection, piece: _Piece) -> None:
    """One piece in a savepoint: its own error undoes it alone, one of the disk everything."""
    piece.error = None
    connection.execute("SAVEPOINT piece")
    try:
        piece.result = piece.work(connection)
    except sqlite3.Error as error:
        if not isinstance(error, sqlite3.IntegrityError):
            raise
        piece.error = error
        connection.execute("ROLLBACK TO piece")
    except Exception as error:  # noqa: BLE001  # whoever asked gets it; the thread goes on for the others
        piece.error = error
        connection.execute("ROLLBACK TO piece")
    connection.execute("RELEASE piece")


def connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection as every part of Auricle wants it; the file is made when there is none, for its owner alone."""
    with suppress(FileExistsError):
        # Never opened when it is there: closing it would drop the locks of all connections of this process, and another
        # process that ends would take itself for the last one and remove the WAL that ours go on writing into.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Of several that make a file at once all but one are told that it is locked, and are not made to wait."""
    for is_last in (*[False] * _WAL_TRIES, True):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if is_last or error.sqlite_errorcode & _KIND != sqlite3.SQLITE_BUSY:
                raise
        # This waits until whoever has it is ready.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _explained(error: Exception, watch: Watch) -> Unavailable:
    """What a caller may know: the kind of the failure, never its text, which may quote a statement."""
    kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _KIND
    watch.failed(_REASONS.get(kind, "error"))
    if kind == sqlite3.SQLITE_BUSY:
        watch.reached("database_timeout_s")
    if kind == sqlite3.SQLITE_FULL:
        return StorageFull(_NO_ROOM)
    return Unavailable("the database cannot be used now, try again")


_REASONS: Final = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "no_database",
}
