"""Who waits for what a call over ACS needs, which may take long while these are throttled, and what ends the waiting.

Whoever waits holds up no other call of his connection, and waits for one call of a visit at a time. Nothing of a call
is known here but its name. Read ``Joins.wait``.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from signaling.hub import Caller
from signaling.tasks import race

__all__ = ["GivenUp", "Joins"]

T = TypeVar("T")


class GivenUp(Exception):
    """Nobody waits for it any more: who did has hung up, or the call or the visit is over for him."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """``call_id`` "": the call is still to be begun."""

    visit: str
    user: str
    call_id: str
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Joins:
    """Those of this pod, by connection and visit."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], _Waiting] = {}

    async def wait(self, caller: Caller, visit: str, call_id: str, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` has brought. One that waits for the same already, of the same connection, is given up for it.

        Raises GivenUp, and what ``work`` raises.
        """
        key = (caller.connection_id, visit)
        mine = _Waiting(visit, caller.user, call_id)
        before, self._waiting[key] = self._waiting.get(key), mine
        if before is not None:
            before.over.set()
        caller.give_up_turn()
        found: list[T] = []

        async def brought() -> None:
            found.append(await work)

        async def given_up() -> None:
            await mine.over.wait()

        try:
            await race(given_up(), brought())
        finally:
            if self._waiting.get(key) is mine:
                del self._waiting[key]
        if mine.over.is_set() or not found:
            raise GivenUp
        return found[0]

    def hung_up(self, connection_id: str, visit: str) -> bool:
        """Somebody does not want it any more; whether he waited."""
        waiting = self._waiting.get((connection_id, visit))
        if waiting is not None:
            waiting.over.set()
        return waiting is not None

    def call_over(self, call_id: str) -> None:
        """A call has ended."""
        self._end(lambda one: one.call_id == call_id)

    def visit_over(self, visit: str, user: str | None = None) -> None:
        """A visit has ended, for all or for somebody."""
        self._end(lambda one: one.visit == visit and user in (None, one.user))

    def _end(self, is_over: Callable[[_Waiting], bool]) -> None:
        for one in tuple(self._waiting.values()):
            if is_over(one):
                one.over.set()
