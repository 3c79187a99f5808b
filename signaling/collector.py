"""The garbage collector stops everybody while it looks for cycles, so it looks at little at a time, and often.

Of ten thousand connections nearly all objects stay, and nearly none are in cycles. Left to itself it counts what comes
less what goes: while as many come as go it looks at nothing, and then at all that has come, for a tenth of a second.
Here it looks by the clock, and puts aside what it has seen, so that a look takes as long as there is that is new; now
and then one at everything finds what has become garbage since. Must not know what the objects are. Read
``Collector.look`` first.
"""

import asyncio
import gc
from collections.abc import Callable
from typing import Final

__all__ = ["EVERYTHING_EVERY_S", "Collector"]

EVERYTHING_EVERY_S: Final = 600.0
_EVERY_S: Final = 0.25
# What comes in a turn of the event loop that never ends is looked at all the same.
_THRESHOLDS: Final = (100_000, 10, 10)


class Collector:
    """``monotonic`` is in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._due_s = monotonic()

    async def run(self) -> None:
        """Look by the clock, until cancelled."""
        before = gc.get_threshold()
        gc.set_threshold(*_THRESHOLDS)
        try:
            while True:
                self.look()
                await asyncio.sleep(_EVERY_S)  # sleep: nobody is told of garbage
        finally:
            gc.set_threshold(*before)
            gc.unfreeze()

    def look(self) -> None:
        """At what is new; the first time, and now and then, at everything."""
        now_s = self._monotonic()
        if now_s < self._due_s:
            gc.collect(0)
        else:
            self._due_s = now_s + EVERYTHING_EVERY_S
            gc.unfreeze()
            gc.collect()
        gc.freeze()
