"""A PostgreSQL database: a bounded pool of connections, what a lost one means, and what time it is there.

A statement is one round trip and one transaction. A connection that is lost while it writes leaves the outcome unknown,
which is told as such, never as a failure. This module must not know any table. Read ``PostgresDatabase.fetch`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import asyncpg

from protocol.errors import StorageFull, Unavailable, UnknownOutcome

from .compiled import Statement
from .limits import PostgresLimits
from .port import Unwatched, Watch

__all__ = ["LostRace", "PostgresDatabase", "ServerClock"]

# How far apart two clocks may drift: a second in three hours.
_DRIFT = 1e-4
_RETRY_AFTER_S = 0.05
_RETRY_AFTER_MOST_S = 2.0
# SQLSTATE classes after which it is not known what has become of a statement: connection lost, server going down.
_LOST: Final = ("08", "57P")
_DISK_FULL: Final = "53100"
_TOO_LATE: Final = ("57014", "55P03")
_RACES: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class LostRace(Exception):
    """Somebody else had written first: nothing was written, and trying on what there is now makes sense."""


class ServerClock:
    """The server's time without asking: the best that recent answers have told. ``monotonic`` only rises."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._ahead_s = 0.0
        self._error_s = float("inf")
        self._told_s = 0.0

    def now_s(self) -> float:
        """Unix seconds."""
        return self._monotonic() + self._ahead_s

    def told(self, server_s: float, sent_s: float, got_s: float) -> None:
        """The server said this between the two; the quicker the answer, the better it is known."""
        error_s, ahead_s = (got_s - sent_s) / 2, server_s - (sent_s + got_s) / 2
        known_s = self._error_s + (got_s - self._told_s) * _DRIFT
        # Further apart than either can be wrong: it is another server, or its clock was set.
        if error_s <= known_s or abs(ahead_s - self._ahead_s) > error_s + known_s:
            self._ahead_s, self._error_s, self._told_s = ahead_s, error_s, got_s


class PostgresDatabase:
    """Opened and closed by whoever made it. ``url`` holds a password and is never told to anybody.

    ``greet`` is called with every new connection before it is used.
    """

    def __init__(
        self,
        url: str,
        *,
        monotonic: Callable[[], float],
        limits: PostgresLimits | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._url = url
        self._monotonic = monotonic
        self._limits = limits or PostgresLimits()
        self._watch = watch or Unwatched()
        self._pool: Any = None
        self._is_open = False
        self._turns = asyncio.Semaphore(self._limits.max_connections)
        self._giving_back: set[asyncio.Task[None]] = set()
        # Taken from the pool and unused, the one that was used last at the end: that one is warm.
        self._idle: list[Any] = []
        self._in_use = 0
        self._failures = 0
        self._retry_at_s = 0.0
        self.clock = ServerClock(monotonic)
        self.greet: Callable[[Any], Awaitable[None]] | None = None

    @property
    def is_away(self) -> bool:
        """Whether the database could not be reached the last time."""
        return not self._is_open or self._failures > 0

    async def open(self) -> None:
        """Connect. Raises Unavailable when nobody answers."""
        timeout_s = self._limits.timeout_s
        pool = asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._limits.max_connections,
            timeout=timeout_s,
            # The server ends a statement first, and then it is known that nothing was written.
            command_timeout=timeout_s + 1,
            server_settings={
                "application_name": "auricle",
                # Every statement is by keys, so one plan is as good as another, and making it is most of the work.
                "plan_cache_mode": "force_generic_plan",
                "jit": "off",
                "statement_timeout": str(round(timeout_s * 1_000)),
                "lock_timeout": str(round(timeout_s * 1_000)),
            },
            init=self._init,
            # By default a connection is asked to forget what its user has set, a round trip each time: nobody sets any.
            reset=_as_it_is,
        )
        try:
            async with asyncio.timeout(timeout_s):
                self._pool = await pool
                self._is_open = True
        except (*_ERRORS, ValueError) as error:
            pool.terminate()
            raise self._explained(error, is_write=False) from None

    async def fetch(self, statement: Statement, values: Mapping[str, Any], *, is_write: bool = False) -> Sequence[Any]:
        """Run one statement. A column ``clock`` of its first row is taken for the server's time.

        Raises:
            UnknownOutcome: a write may have happened or not.
            Unavailable: nothing was written, and nothing can be read.
            LostRace: nothing was written, because of what is there already.
        """
        placed = statement.placed(values)
        # A connection that died while nobody used it is found out by the first who does; reading again does no harm.
        for is_last in (is_write, True):
            connection, is_sound = await self._acquire(), False
            try:
                sent_s = self._monotonic()
                rows: Sequence[Any] = await connection.fetch(statement.text, *placed)
                is_sound = True
                self._answered(rows, sent_s)
                if is_write:
                    self._watch.committed(1, self._monotonic() - sent_s)
                return rows
            except _RACES:
                raise LostRace from None
            except _ERRORS as error:
                explained = self._explained(error, is_write=is_write)
                if is_last or not _is_lost(error):
                    raise explained from None
            finally:
                self._release(connection, is_sound=is_sound)
        raise Unavailable("the database cannot be reached, try again")

    async def close(self) -> None:
        """Let go of all connections."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                while self._idle:
                    await self._give_back(self._idle.pop())
                # Those that are in use come back first.
                await self._pool.close()
        except _ERRORS:
            self._pool.terminate()

    async def _init(self, connection: Any) -> None:
        if self.greet is not None:
            await self.greet(connection)

    async def _acquire(self) -> Any:
        if not self._is_open:
            raise Unavailable("the database is closed")
        if self._monotonic() < self._retry_at_s:
            # Whoever asks meanwhile is answered at once; waiting for each of them would only add up.
            raise Unavailable("the database cannot be reached, try again")
        is_busy = self._turns.locked()
        if is_busy:
            self._watch.reached("max_database_connections")
        self._count(1)
        try:
            await self._have_turn()
        except BaseException:
            self._count(-1)
            raise
        try:
            while self._idle:
                connection = self._idle.pop()
                if _is_open(connection):
                    return connection
                await self._give_back(connection)
            return await self._pool.acquire(timeout=self._limits.timeout_s)
        except BaseException as error:
            self._leave_turn()
            if not isinstance(error, _ERRORS):
                raise
            raise self._explained(error, is_write=False) from None

    async def _have_turn(self) -> None:
        """In the order in which they asked: the pool itself gives a connection to whoever looks at the right moment."""
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            # It is there, and has more to do than it can: that is no reason to leave it alone.
            self._watch.reached("database_timeout_s")
            raise Unavailable("the database is too busy, try again") from None

    def _leave_turn(self) -> None:
        self._count(-1)
        self._turns.release()

    def _count(self, change: int) -> None:
        self._in_use += change
        self._watch.waiting(max(0, self._in_use - self._limits.max_connections))

    def _release(self, connection: Any, *, is_sound: bool) -> None:
        if is_sound and self._is_open:
            # At once: the pool would take some turns of the event loop for it, and look after nothing that matters.
            self._idle.append(connection)
            self._leave_turn()
            return
        # The pool finds out what is the matter with it, and whoever used it need not wait for that.
        giving_back = asyncio.get_running_loop().create_task(self._give_back(connection))
        self._giving_back.add(giving_back)
        giving_back.add_done_callback(self._gave_back)

    def _gave_back(self, task: asyncio.Task[None]) -> None:
        self._giving_back.discard(task)
        self._leave_turn()

    async def _give_back(self, connection: Any) -> None:
        try:
            await self._pool.release(connection)
        except _ERRORS:
            # It is lost; what it was used for has been told already.
            self._watch.failed("release")

    def _answered(self, rows: Sequence[Any], sent_s: float) -> None:
        self._failures = 0
        if rows and "clock" in rows[0]:
            self.clock.told(rows[0]["clock"], sent_s, self._monotonic())

    def _explained(self, error: Exception, *, is_write: bool) -> Unavailable:
        """What a caller may know: the kind of the failure, never its text, which may quote a statement or a value."""
        state = getattr(error, "sqlstate", None)
        self._watch.failed(state or type(error).__name__)
        if state in _TOO_LATE or isinstance(error, TimeoutError):
            self._watch.reached("database_timeout_s")
        if state == _DISK_FULL:
            return StorageFull("there is no room to write anything down, try again later")
        if not _is_lost(error):
            return Unavailable("the database cannot be used now, try again")
        self._failures += 1
        wait_s = min(_RETRY_AFTER_MOST_S, _RETRY_AFTER_S * 2.0 ** min(self._failures - 1, 10))
        self._retry_at_s = self._monotonic() + (wait_s if self._failures > 1 else 0.0)
        if is_write:
            return UnknownOutcome("the answer of the database was lost, try again with the same key")
        return Unavailable("the database cannot be reached, try again")


async def _as_it_is(_: Any) -> None:
    """A connection goes back as it came: each statement is a transaction of its own, and leaves nothing behind."""


def _is_open(connection: Any) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # It has ended, and has gone back to the pool by itself.
        return False


def _is_lost(error: Exception) -> bool:
    """Whether the connection is, as opposed to the server's having said no."""
    state = getattr(error, "sqlstate", None)
    return not isinstance(error, asyncpg.PostgresError) or (state is not None and state.startswith(_LOST))
