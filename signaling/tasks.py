"""Tasks that somebody owns: every task of the server is started here and ends with its owner.

An error in one of them is logged and contained; it neither vanishes nor takes its siblings along, which is what
a TaskGroup would do and what one connection must never do to another.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from .log import LogBook

__all__ = ["TaskSet", "is_cancelled", "race"]


def is_cancelled() -> bool:
    """Whether a CancelledError is for the current task, and not for something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def race(*works: Coroutine[Any, Any, None]) -> None:
    """Run them together until one ends, end the others, and raise what has ended it.

    Not a TaskGroup: in Python 3.11 that forgets that it was cancelled when one of its tasks fails at the same time, and
    what is cancelled in a loop would go on.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        errors = [
            error for task in (*ended, *tasks) if not task.cancelled() and (error := task.exception()) is not None
        ]
    if errors:
        raise errors[0]


class TaskSet:
    """The background tasks of one owner; ``close`` cancels what still runs and waits for it."""

    def __init__(self, owner: str, log: LogBook) -> None:
        self._owner = owner
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many tasks run."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish(self, timeout_s: float) -> bool:
        """Let them end by themselves for so long, then ``close``; False when that was needed."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        # A task may start another one before it ends.
        while self._tasks and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        all_ended = not self._tasks
        await self.close()
        return all_ended

    async def close(self) -> None:
        """Cancel all and wait until they have ended; the caller's own task is left alone."""
        current = asyncio.current_task()
        # Again, because the end of one may be the beginning of another.
        while running := [task for task in self._tasks if task is not current]:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.task_failed(owner=self._owner, error=error)
