"""Waiting for what another process or task will do soon."""

import asyncio
from collections.abc import Callable

__all__ = ["eventually"]

PATIENCE_S = 10.0


async def eventually(holds: Callable[[], object]) -> None:
    """Return as soon as ``holds`` does; fail when it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # polling: the other side tells nobody when it is done
            await asyncio.sleep(0.005)
