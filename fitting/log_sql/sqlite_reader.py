"""The thread that reads an SQLite file: all that waits is read in one go, and told in one turn of the event loop.

A hop to a thread and back costs more than what is read; under load many readers share one. Whoever waits is a call of
somebody, and those are bounded where they come in. This module must not know any table, nor who writes. Read
``Reader.read`` first.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from protocol.errors import Unavailable

__all__ = ["Reader"]

T = TypeVar("T")
# Whoever was read first waits for those behind it in the same go.
_AT_ONCE: Final = 32


class Reader:
    """Reads with a connection that is its own from now on, until ``close``."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._waiting: deque[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="auricle-sqlite-read", daemon=True)
        self._thread.start()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns, which only reads; what it raises is raised here. Raises Unavailable once closed."""
        future: asyncio.Future[T] = self._loop.create_future()
        with self._wake:
            if self._is_closing:
                raise Unavailable("the database is closed")
            self._waiting.append((work, future))
            if len(self._waiting) == 1:
                self._wake.notify()
        return await future

    def close(self) -> None:
        """Read what waits, and let go of the connection; not to be called in the event loop."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while batch := self._next_batch():
            outcomes = [(future, *self._outcome(work)) for work, future in batch]
            with suppress(RuntimeError):
                # The loop may be closed: then nobody waits.
                self._loop.call_soon_threadsafe(_settle, outcomes)

    def _next_batch(self) -> list[tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any]"]]:
        """Some of what waits; empty when it is time to end."""
        with self._wake:
            while not self._waiting and not self._is_closing:
                self._wake.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]

    def _outcome(self, work: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
        try:
            return work(self._connection), None
        except Exception as error:  # noqa: BLE001  # whoever asked gets it; the thread goes on for the others
            return None, error


def _settle(outcomes: list[tuple["asyncio.Future[Any]", Any, Exception | None]]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue  # whoever asked waits no more
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
