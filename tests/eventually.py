"""Waiting for what another process or task will do soon."""

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["eventually", "eventually_asked"]

PATIENCE_S = 20.0


async def eventually(holds: Callable[[], object]) -> None:
    """Return as soon as ``holds`` does; fail when it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # polling: the other side tells nobody when it is done
            await asyncio.sleep(0.005)


async def eventually_asked(holds: Callable[[], Awaitable[object]]) -> None:
    """The same for what has to be asked for."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
