"""The order of calls on one connection: one at a time, unless a call gives its turn up.

A call that waits for an answer of its own client must give its turn up, or it would wait for ever. One task runs
a whole burst of calls; an idle connection has none.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .flow import Flow
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
    """Calls that wait for their turn; ``limit`` of them are a reason to read nothing more."""

    __slots__ = ("_flow", "_limit", "_running", "_stops", "_tasks", "_waiting")

    def __init__(self, tasks: TaskSet, flow: Flow, *, limit: int) -> None:
        self._tasks = tasks
        self._flow = flow
        self._limit = limit
        self._waiting: deque[Call] = deque()
        self._running: Turn | None = None
        self._stops = False

    @property
    def idle(self) -> bool:
        """Whether a call that comes now would run at once."""
        return self._running is None

    def submit(self, call: Call) -> None:
        """Run ``call`` when it is its turn."""
        self._waiting.append(call)
        if self._running is None:
            self._next_worker()
        if len(self._waiting) >= self._limit and not self._stops:
            self._stops = True
            self._flow.stop("max_pending_calls")

    def _next_worker(self) -> None:
        self._running = None
        if self._waiting:
            self._running = Turn(self)
            self._tasks.spawn(self._work(self._running))

    async def _work(self, turn: Turn) -> None:
        try:
            while self._waiting:
                call = self._waiting.popleft()
                if self._stops and len(self._waiting) < self._limit:
                    self._stops = False
                    self._flow.go_on()
                await call(turn)
                if turn.given_up:
                    return
        except asyncio.CancelledError:
            # The connection's time is up: what has not begun must not be begun any more.
            self._waiting.clear()
            raise
        finally:
            if not turn.given_up:
                # Also when a call failed: the next one must not wait for ever.
                self._next_worker()
