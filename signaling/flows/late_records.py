"""What was done without the log is put into it as soon as it is there.

Knows neither what is recorded nor where. Read ``LateRecords.add`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable

from fitting.mode import SessionTimes
from protocol.errors import Unavailable
from signaling.metrics import Metrics
from signaling.tasks import TaskSet

__all__ = ["LateRecords"]


class LateRecords:
    """Carries records out, again and again while the log is away, ``times.max_late`` of them at a time."""

    def __init__(
        self,
        *,
        tasks: TaskSet,
        metrics: Metrics,
        times: SessionTimes,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tasks = tasks
        self._metrics = metrics
        self._times = times
        self._sleep = sleep
        self._late = 0

    def add(self, record: Callable[[], Awaitable[None]]) -> None:
        """Have this done; it may be done more than once, since the answer to it may be lost."""
        if self._late >= self._times.max_late:
            self._metrics.reached("max_late_records")
            return
        self._late += 1
        self._tasks.spawn(self._record(record))

    async def _record(self, record: Callable[[], Awaitable[None]]) -> None:
        try:
            for delay_s in (*self._times.record_again_s, None):
                try:
                    await record()
                except Unavailable:
                    if delay_s is None:
                        self._metrics.reached("max_late_records")
                        return
                    await self._sleep(delay_s)
                else:
                    return
        finally:
            self._late -= 1
