"""How a benchmark's command runs: within a time, ended cleanly from outside, and with one line for what went wrong.

It must not know what is measured. Read ``bounded`` first.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .bare import loop_factory
from .bench_websocket import BenchFailed

__all__ = ["bounded"]

T = TypeVar("T")


def bounded(name: str, work: Callable[[], Coroutine[Any, Any, T]], time_limit_s: float) -> T | None:
    """What ``work`` gives; None when it failed, took too long, or was ended, which has been said then."""

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None
        # Ended from outside, the servers must still be ended from here.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            async with asyncio.timeout(time_limit_s):
                return await work()
        except TimeoutError:
            raise BenchFailed(f"not finished within the time limit of {time_limit_s:g} s") from None

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(run())
    except BenchFailed as error:
        print(f"{name}: {error}", file=sys.stderr)
    except asyncio.CancelledError:
        print(f"{name}: ended by a signal", file=sys.stderr)
    return None
