"""The two queues of one connection's calls, each made when it is first needed: most connections are idle."""

from typing import Final

from .flow import Flow
from .hub import Lane
from .streams import RunningStream
from .tasks import TaskSet
from .turns import TurnQueue

__all__ = ["Lanes"]

# An attribute of an enum costs a call in Python 3.11.
_PLAIN: Final = Lane.PLAIN


class Lanes:
    """``limit`` bounds the calls that wait in each.

    ``stoppable``: calls that the client may stop, by invocation id, whether they run or wait for their turn.
    """

    __slots__ = ("_flow", "_limit", "_plain", "_safety", "_tasks", "stoppable")

    def __init__(self, tasks: TaskSet, flow: Flow, *, limit: int) -> None:
        self._tasks = tasks
        self._flow = flow
        self._limit = limit
        self._plain: TurnQueue | None = None
        self.stoppable: dict[str, RunningStream] = {}
        self._safety: TurnQueue | None = None

    @property
    def idle(self) -> bool:
        """Whether no call runs or waits."""
        return (self._plain is None or self._plain.idle) and (self._safety is None or self._safety.idle)

    def is_idle(self, lane: Lane) -> bool:
        """Whether a call of that lane could run at once."""
        queue = self._plain if lane is _PLAIN else self._safety
        return queue is None or queue.idle

    def queue(self, lane: Lane) -> TurnQueue:
        """The queue of a lane."""
        if lane is _PLAIN:
            self._plain = self._plain or TurnQueue(self._tasks, self._flow, limit=self._limit)
            return self._plain
        self._safety = self._safety or TurnQueue(self._tasks, self._flow, limit=self._limit)
        return self._safety
