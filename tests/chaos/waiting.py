"""Waiting for what other processes do, always with a bound: a fault that never lands must not hold up a run."""

import asyncio
import os
from collections.abc import Callable
from typing import Final

__all__ = ["LANDS_S", "PATIENCE", "holds_within"]

PATIENCE: Final = float(os.environ.get("AURICLE_CHAOS_PATIENCE", "1"))
"""By what everything is multiplied that is given up after a while, by a client, the server or a run.

For a machine that is busy with other things: where nobody gets his turn, nothing can be shown.
"""
LANDS_S: Final = 30.0 * PATIENCE
"""How long a fault may wait for its moment; a busy machine is slow, and a run waits for its slowest fault."""


async def holds_within(timeout_s: float, holds: Callable[[], object]) -> bool:
    """Return as soon as ``holds`` does, or when the time is over; whether it does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while not holds():
        if loop.time() >= end:
            return False
        await asyncio.sleep(0.01)  # polling: other processes and files tell nobody
    return True
