"""One connection to a server that is asked: questions go out at once, answers come back in their order.

What takes too long is an outcome, not a wait: the answer is thrown away when it comes, and the breaker hears of it.
Knows neither keys nor which servers there are. Read ``Line.ask`` first.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple

from .breaker import Breaker, Happening, State, step, wait_s
from .in_time import have_come
from .limits import LineLimits
from .link_redis import Link, LinkLost, packed

__all__ = ["AWAY", "Command", "Line", "TablesAway"]

Command = tuple[bytes, ...]


class TablesAway(Enum):
    """Redis has not answered, whatever it was asked: it may have done it or not."""

    AWAY = "away"


AWAY: Final = TablesAway.AWAY
_LOST: Final = object()


class _Owed(NamedTuple):
    """An answer that has not come; ``asked_s`` on the monotonic clock."""

    answer: "asyncio.Future[Any]"
    asked_s: float


class Line:
    """Asks over ``link``. ``reached`` is told which bound was, ``counted`` how each question ended."""

    def __init__(
        self,
        link: Link,
        *,
        limits: LineLimits,
        reached: Callable[[str], None],
        counted: Callable[[str], None],
        monotonic: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._link = link
        self._limits = limits
        self._reached = reached
        self._counted = counted
        self._monotonic = monotonic
        self._chance = chance
        self._owed: deque[_Owed] = deque()
        # It has answered while it was connected.
        self._breaker = Breaker(State.CLOSED)

    @property
    def is_up(self) -> bool:
        """Whether it answers in time."""
        return self._breaker.state is State.CLOSED

    async def ask(self, commands: tuple[Command, ...], *, patient: bool = False) -> tuple[Any, ...] | TablesAway:
        """The answers to commands that leave in one piece; a refused one is a ``Refusal``.

        ``patient``: nobody waits for it, so that it may take as long as the connection may live without an answer.
        """
        if not self._may_ask():
            self._counted("away")
            return AWAY
        if len(self._owed) + len(commands) > self._limits.max_waiting:
            self._reached("max_table_calls")
            self._counted("full")
            return AWAY
        if self._breaker.state is State.OPEN:
            # This question finds out.
            self._happened(Happening.TIME_UP)
        answers = [asyncio.get_running_loop().create_future() for _ in commands]
        self._owed.extend(_Owed(answer, self._monotonic()) for answer in answers)
        try:
            self._link.write(packed(commands))
            if not await have_come(answers, self._limits.timeout_s if patient else self._limits.answer_s):
                self._reached("table_answer_s")
                self._happened(Happening.LATE)
                self._counted("late")
                return AWAY
            found = tuple(answer.result() for answer in answers)
            if _LOST in found:
                raise LinkLost("lost")
        except LinkLost:
            self._counted("lost")
            return AWAY
        except asyncio.CancelledError:
            if self._breaker.state is State.TRYING:
                # Nobody is left who would find out: that is for the next one.
                self._happened(Happening.LATE)
            raise
        finally:
            for answer in answers:
                # Whoever asked may have been cancelled, or too late for one that was lost.
                answer.cancel()
        self._happened(Happening.ANSWERED)
        self._counted("answered")
        return found

    async def read(self) -> None:
        """Hand answers to those who wait for them, until the connection is lost. Raises LinkLost."""
        try:
            await self._link.follow(self._take)
        finally:
            self._breaker = Breaker(until_s=float("inf"))
            for owed in self._owed:
                if not owed.answer.done():
                    owed.answer.set_result(_LOST)
            self._owed.clear()

    def _take(self, said: object) -> None:
        if not self._owed:
            raise LinkLost("unasked")
        answer = self._owed.popleft().answer
        if not answer.done():
            answer.set_result(said)

    def is_overdue(self) -> bool:
        """Whether an answer is so late that none will come."""
        return bool(self._owed) and self._monotonic() - self._owed[0].asked_s > self._limits.timeout_s

    def _may_ask(self) -> bool:
        state = self._breaker.state
        return state is State.CLOSED or (state is State.OPEN and wait_s(self._breaker, self._monotonic()) <= 0)

    def _happened(self, happening: Happening) -> None:
        self._breaker = step(self._breaker, happening, now_s=self._monotonic(), chance=self._chance())
