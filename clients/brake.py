"""The wearer's hand on the brake: what is under way is given a moment to finish, then it is let go.

Undo and Stop must work in the middle of anything: a slow write, a question, a link that hangs. Everything that waits
does so ``within`` the brake. It must not know what is waited for. Read ``Brake.pulled``.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

__all__ = ["Brake"]


class Brake:
    """``grace_s``: how long what is under way may still go on."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._pulls = 0
        self._waits: dict[asyncio.Timeout, float] = {}

    @property
    def is_on(self) -> bool:
        """Whether somebody wants what is under way to end."""
        return self._pulls > 0

    @contextmanager
    def pulled(self) -> Iterator[None]:
        """Make everything that waits end soon, and nothing new begin, until the block is left."""
        self._pulls += 1
        for scope, grace_s in self._waits.items():
            _end_by(scope, asyncio.get_running_loop().time() + grace_s)
        try:
            yield
        finally:
            self._pulls -= 1

    @asynccontextmanager
    async def within(self, seconds: float | None, *, at_once: bool = False) -> AsyncIterator[None]:
        """Wait so long at most, shorter when the brake is pulled. Raises TimeoutError in both cases.

        ``at_once``: with no time to finish, for what only waits for a person.
        """
        grace_s = 0.0 if at_once else self._grace_s
        async with asyncio.timeout(seconds) as scope:
            self._waits[scope] = grace_s
            if self.is_on:
                _end_by(scope, asyncio.get_running_loop().time() + grace_s)
            try:
                yield
            finally:
                del self._waits[scope]


def _end_by(scope: asyncio.Timeout, when: float) -> None:
    if scope.expired():
        return
    limit = scope.when()
    scope.reschedule(when if limit is None else min(limit, when))
