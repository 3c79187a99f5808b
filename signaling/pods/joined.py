"""What joins this process to the others of its deployment, chosen for it: over Redis, or alone in memory.

The only place of this package that knows the configuration. Read ``Joined`` first.
"""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from signaling.backplane import Backplane, BusState, MemoryBackplane, MemoryBus
from signaling.config import Config
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.presence import MemoryPresence, Presence, PresenceBoard
from signaling.tasks import TaskSet

from .asks import PodAsks
from .directory import MemoryDirectory, PodBoard, PodDirectory

if TYPE_CHECKING:
    from signaling.bus.tables_redis import RedisTables

__all__ = ["Joined"]


class Joined:
    """``pod`` is a process: what comes after a crash is another one. ``tables`` and ``asks`` are None where there is
    one pod.
    """

    def __init__(
        self,
        config: Config,
        signing_key: bytes,
        *,
        metrics: Metrics,
        log: LogBook,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._config = config
        self._signing_key = signing_key
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self.pod = secrets.token_hex(8)
        self.backplane: Backplane = self._backplane()
        self.tables = self._tables()
        self.directory: PodDirectory = self._directory()
        self.asks = self._asks()
        self.presence: Presence = self._presence()

    @property
    def is_whole(self) -> bool:
        """Whether pods hear and know of each other, as far as anybody knows."""
        return self.backplane.state is BusState.CONNECTED and (self.tables is None or self.tables.is_up)

    async def open(self) -> None:
        """Join the others, now or whenever that can be; waits for nothing."""
        await self.backplane.open()
        if self.asks is not None:
            self.asks.open()
        if self.tables is not None:
            await self.tables.open()
        await self.directory.open()
        await self.presence.open()

    async def met(self) -> None:
        """Return once the others are known, can find this pod, and are heard; after ``join_s`` it goes on without them.

        A client that is answered sooner has a session that no other pod can reach, or is refused one that others have,
        and is told that it has joined a group of which it does not hear everything.
        """
        is_heard = asyncio.Event()
        self.backplane.on_missed(is_heard.set)
        try:
            async with asyncio.timeout(self._config.join_s):
                await self.directory.looked()
                while self.backplane.state is BusState.DEGRADED:
                    is_heard.clear()
                    await is_heard.wait()
        except TimeoutError:
            self._metrics.reached("join_s")

    async def close(self) -> None:
        """Leave them."""
        # It is polite to say goodbye, and no more than that: whoever has not heard it notices.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.bus_timeout_s):
                await self.presence.close()
                await self.directory.close()
        if self.tables is not None:
            await self.tables.close()
        if self.asks is not None:
            self.asks.close()
        await self.backplane.close()

    def _key(self, purpose: bytes) -> bytes:
        return hmac.digest(self._signing_key, purpose, hashlib.sha256)

    def _backplane(self) -> Backplane:
        address = self._config.bus_address
        if address is None:
            return MemoryBackplane(MemoryBus())
        from signaling.backplane_redis import redis_backplane

        return redis_backplane(
            self._config,
            address,
            key=self._key(b"backplane"),
            metrics=self._metrics,
            log=self._log,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    def _tables(self) -> "RedisTables | None":
        address = self._config.bus_address
        if address is None:
            return None
        from signaling.bus.tables_redis import redis_tables

        return redis_tables(
            self._config,
            address,
            tasks=TaskSet("tables", self._log),
            metrics=self._metrics,
            log=self._log,
            monotonic=self._monotonic,
        )

    def _presence(self) -> Presence:
        if self.tables is None:
            return MemoryPresence(PresenceBoard())
        from signaling.presence_redis import RedisPresence

        return RedisPresence(
            self.directory,
            self.tables,
            self.backplane,
            key=self._key(b"presence"),
            times=self._config.presence_times,
            tasks=TaskSet("presence", self._log),
            reached=self._metrics.reached,
        )

    def _asks(self) -> PodAsks | None:
        if self._config.bus_address is None:
            return None
        return PodAsks(self.pod, self.backplane, max_open=self._config.max_pod_asks, reached=self._metrics.reached)

    def _directory(self) -> PodDirectory:
        if self.tables is None:
            return MemoryDirectory(self.pod, PodBoard())
        from .directory_redis import RedisDirectory

        return RedisDirectory(
            self.pod,
            self.tables,
            self.backplane,
            key=self._key(b"pods"),
            times=self._config.directory_times,
            tasks=TaskSet("directory", self._log),
            monotonic=self._monotonic,
        )
