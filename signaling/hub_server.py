"""One hub and everything that its connections share: tables, clocks, counters, and one sweep for all timers."""

import asyncio
from collections.abc import Callable

from .config import Config
from .connection import HubSession
from .dispatcher import Dispatcher
from .hub import Hub
from .lifetime import LifetimeManager
from .log import LogBook
from .metrics import Metrics
from .tasks import TaskSet

__all__ = ["HubServer"]


class HubServer:
    """What a ``HubSession`` finds around it. ``closing`` owns what outlives a connection for a moment."""

    def __init__(
        self,
        hub: Hub,
        *,
        config: Config,
        dispatcher: Dispatcher,
        lifetime: LifetimeManager,
        log: LogBook,
        metrics: Metrics,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        closing: TaskSet,
    ) -> None:
        self.hub = hub
        self.config = config
        self.dispatcher = dispatcher
        self.lifetime = lifetime
        self.log = log
        self.metrics = metrics
        self.clock = clock
        self.monotonic = monotonic
        self.closing = closing
        self.sessions: dict[str, HubSession] = {}
        self._left = asyncio.Event()

    def forget(self, connection_id: str) -> bool:
        """A connection has ended; False when it had already."""
        known = self.sessions.pop(connection_id, None) is not None
        self._left.set()
        return known

    async def emptied(self) -> None:
        """Wait until no connection is left."""
        while self.sessions:
            self._left.clear()
            await self._left.wait()

    def sweep(self) -> None:
        """Look at the timers of all connections: one sweep instead of a timer each."""
        now, wall = self.monotonic(), self.clock()
        for session in tuple(self.sessions.values()):
            session.tick(now, wall)
