"""An event loop whose time is a number: it jumps to the next timer when nothing is ready, and nothing ever waits.

There is no input and no output. Two timers of the same instant fire in an order drawn from the seed; callbacks that are
ready keep the order that asyncio promises. Tasks know the process that they are of, so that it can be killed. Must not
know what runs in it. Read ``SimLoop`` first, then ``Process.kill``.
"""

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine, Generator
from itertools import count
from typing import Any, Final

__all__ = ["Process", "SimLoop", "SimTask", "Stuck"]

# Two timers that are due at the same time are told apart by this much at most.
_TIE_S: Final = 1e-6
# A run of some minutes takes some ten thousand.
_MOST_TURNS: Final = 300_000
_RUNNING: Final[contextvars.ContextVar["Process | None"]] = contextvars.ContextVar("process", default=None)


class Stuck(RuntimeError):
    """Nothing is ready and nothing is due: what is waited for will never come."""


class SimTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(self, coro: Any, *, loop: "SimLoop", **more: Any) -> None:
        self.number = next(loop.numbers)
        super().__init__(coro, loop=loop, **more)

    def __hash__(self) -> int:
        return self.number


class _Jump:
    """In the place of a selector: waiting for the network is letting time pass."""

    def __init__(self, loop: "SimLoop") -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("nothing is ready and no timer is set")
        self._turns += 1
        if self._turns == _MOST_TURNS:
            raise Stuck("there is no end to it: something calls itself again and again")
        self._loop.now_s += max(0.0, timeout)
        return []

    def close(self) -> None:
        """Nothing is open."""


class SimLoop(asyncio.BaseEventLoop):
    """``now_s`` is the time. ``failures`` are the errors that nobody has taken."""

    def __init__(self, chance: random.Random, *, begins_at_s: float = 1_000.0) -> None:
        super().__init__()
        self.now_s = begins_at_s
        self.failures: list[BaseException | str] = []
        self.numbers = count()
        self._chance = chance
        self._selector = _Jump(self)
        self._clock_resolution = 1e-9
        self.set_task_factory(_made)
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self.now_s

    def call_at(  # type: ignore[override]  # whatever the callback takes
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Any:
        return super().call_at(when + self._chance.random() * _TIE_S, callback, *args, context=context)

    def skip(self, seconds: float) -> None:
        """All clocks go on by so much with nothing done meanwhile; what was due then is due now, in its order."""
        self.now_s += seconds

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]  # it takes nothing
        """Threads have a time of their own."""
        raise RuntimeError("nothing in a simulation may run in a thread")

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no other thread."""

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(context.get("exception") or str(context.get("message")))


def _made(loop: Any, coro: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], **more: Any) -> Any:
    task = SimTask(coro, loop=loop, **more)
    process = _RUNNING.get()
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(process.forget)
    return task


class Process:
    """Everything that dies together. ``epitaphs`` are called at a kill, before the tasks end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.epitaphs: list[Callable[[], None]] = []

    def run(self, action: Callable[[], None]) -> None:
        """Do something as this process; what it starts is part of it."""
        self._context().run(action)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run ``work``, and all that it starts, as part of this process."""
        return self._context().run(asyncio.get_running_loop().create_task, work)

    def _context(self) -> contextvars.Context:
        context = contextvars.copy_context()
        context.run(_RUNNING.set, self)
        return context

    def kill(self) -> None:
        """From now on nothing of it has any effect outside of it."""
        if not self.is_alive:
            return
        self.is_alive = False
        for epitaph in self.epitaphs:
            epitaph()
        for task in tuple(self.tasks):
            task.cancel()

    async def gone(self) -> None:
        """Wait until all its tasks have ended. They may take a cancellation to clear up: again and again."""
        for _ in range(100):
            if not self.tasks:
                return
            for task in tuple(self.tasks):
                task.cancel()
            await asyncio.sleep(0.001)
        raise RuntimeError(f"tasks of {self.name} do not end: {list(self.tasks)}")

    def forget(self, task: asyncio.Task[Any]) -> None:
        """A task has ended. What a dead process still complains of is nobody's business."""
        self.tasks.pop(task, None)
        if not self.is_alive and not task.cancelled():
            task.exception()

    async def reach(self) -> None:
        """At the border of the process: a dead one goes no further."""
        if not self.is_alive:
            await asyncio.get_running_loop().create_future()
