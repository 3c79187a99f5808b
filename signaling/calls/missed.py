"""What was told of calls while pods did not hear each other: each tells its own people once more how things are.

A message that the bus has lost is not sent again, and none of those who wait for it knows that there was one: a phone
would not ring, and a call that is over would go on on a screen. The calls themselves are kept elsewhere, so a pod looks
at those of its people. Something may be told twice. Must not know what a call is. Read ``MissedNews.sweep`` first.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from media.call import Call
from signaling.backplane import Backplane
from signaling.calls.flow import CallFlow
from signaling.tasks import TaskSet

__all__ = ["MissedNews"]

# How long before the bus was there again something may have been lost, and how long after it another pod may find out.
_UNHEARD_S: Final = 60.0
_CATCHING_UP_S: Final = 30.0
_LOOK_S: Final = 5.0


class MissedNews:
    """For the people of this pod. ``visits_here`` are those that they are in.

    At most ``limit`` of them are looked at at once, and as many calls that are over are remembered.
    """

    def __init__(
        self,
        flow: CallFlow,
        backplane: Backplane,
        visits_here: Callable[[], tuple[str, ...]],
        tasks: TaskSet,
        limit: int,
    ) -> None:
        self._flow = flow
        self._registry = flow.parts.registry
        self._now_s = flow.parts.now_s
        self._visits_here = visits_here
        self._tasks = tasks
        self._limit = limit
        self._reached = flow.parts.metrics.reached
        self._until_s = self._look_at_s = -1.0
        self._has_missed = False
        # Calls that another pod has ended, and when that was found, as they were here last.
        self._gone: deque[tuple[float, Call]] = deque()
        flow.on_found.append(self._found)
        flow.on_gone.append(self._over)
        backplane.on_missed(self._missed)

    async def sweep(self) -> None:
        """Tell what was missed, and look for a while at whether others find something."""
        now_s = self._now_s()
        if self._has_missed:
            self._has_missed = False
            # What is found meanwhile is told as it stands.
            self._until_s = -1.0
            await self._look(self._flow.news.standing_here)
            self._until_s = now_s + _CATCHING_UP_S
            self._forget_old()
            while self._gone:
                await self._tell_over(self._gone.popleft()[1])
        elif self._look_at_s <= now_s < self._until_s:
            await self._look(lambda _: None)

    async def _look(self, tell: Callable[[Call], None]) -> None:
        """At the calls of all who are here: of some of them nothing was ever known here."""
        self._look_at_s = self._now_s() + _LOOK_S
        await self._registry.settle()
        visits = self._visits_here()
        if len(visits) > self._limit:
            self._reached("max_calls")
        for visit in visits[: self._limit]:
            call = await self._flow.now(visit)
            if call is not None:
                tell(call)

    def _missed(self) -> None:
        self._has_missed = True

    def _found(self, before: Call | None, call: Call) -> None:
        if not self._is_catching_up:
            return
        if before is None:
            self._flow.news.standing_here(call)
        else:
            self._flow.news.here(before, call)

    def _over(self, call: Call, _: float) -> None:
        if self._is_catching_up:
            self._tasks.spawn(self._tell_over(call))
            return
        self._forget_old()
        if len(self._gone) >= self._limit:
            self._reached("max_calls")
            self._gone.popleft()
        self._gone.append((self._now_s(), call))

    @property
    def _is_catching_up(self) -> bool:
        return not self._has_missed and self._now_s() < self._until_s

    def _forget_old(self) -> None:
        while self._gone and self._gone[0][0] < self._now_s() - _UNHEARD_S:
            self._gone.popleft()

    async def _tell_over(self, call: Call) -> None:
        ended = await self._registry.ended(call)
        if ended is not None:
            self._flow.news.here(call, ended)
