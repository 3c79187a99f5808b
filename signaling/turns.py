"""The order of calls on one connection: one at a time, unless a call gives its turn up.

A call that waits for an answer of its own client must give its turn up, or it would wait for ever. One task runs
a whole burst of calls; an idle connection has none.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .tasks import TaskSet

__all__ = ["Turn", "TurnQueue"]

Call = Callable[["Turn"], Awaitable[None]]


class Turn:
    """The right to be the one call that runs; ``give_up`` lets the next one start beside it."""

    __slots__ = ("_given_up", "_queue")

    def __init__(self, queue: "TurnQueue") -> None:
        self._queue = queue
        self._given_up = False

    @property
    def given_up(self) -> bool:
        """Whether somebody else may run."""
        return self._given_up

    def give_up(self) -> None:
        """Let the next call start; doing it twice is doing it once."""
        if not self._given_up:
            self._given_up = True
            self._queue._next_worker()


class TurnQueue:
    """Calls that wait for their turn, at most ``limit`` of them: the reader stops at ``full``."""

    def __init__(self, tasks: TaskSet, *, limit: int) -> None:
        self._tasks = tasks
        self._limit = limit
        self._waiting: deque[Call] = deque()
        self._running: Turn | None = None
        self._room: asyncio.Event | None = None

    @property
    def idle(self) -> bool:
        """Whether a call that comes now would run at once."""
        return self._running is None

    @property
    def full(self) -> bool:
        """Whether the reader must wait for ``room``."""
        return len(self._waiting) >= self._limit

    async def room(self) -> None:
        """Wait until the queue is no longer full."""
        while self.full:
            self._room = asyncio.Event()
            await self._room.wait()

    def submit(self, call: Call) -> None:
        """Run ``call`` when it is its turn."""
        self._waiting.append(call)
        if self._running is None:
            self._next_worker()

    def _next_worker(self) -> None:
        self._running = None
        if self._waiting:
            self._running = Turn(self)
            self._tasks.spawn(self._work(self._running))

    async def _work(self, turn: Turn) -> None:
        try:
            while self._waiting:
                call = self._waiting.popleft()
                if self._room is not None and not self.full:
                    self._room.set()
                await call(turn)
                if turn.given_up:
                    return
        finally:
            if not turn.given_up:
                # Also when a call failed or was cancelled: the next one must not wait for ever.
                self._next_worker()
