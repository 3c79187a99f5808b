"""Tables and directories over a real Redis for tests, made as the product makes them, and closed afterwards."""

import io
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from signaling.backplane_redis import RedisBackplane
from signaling.bus.tables_redis import RedisTables, redis_tables
from signaling.config import Config
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.pods.directory_redis import RedisDirectory
from signaling.presence_redis import RedisPresence
from signaling.tasks import TaskSet
from tests.bus_pods import BusPods, bus_pods

__all__ = ["PodTables", "TablePods", "table_pods"]

KEY = b"d" * 32


@dataclass
class PodTables:
    """What one pod knows of others, and what is known of that."""

    tables: RedisTables
    backplane: RedisBackplane
    metrics: Metrics
    log: io.StringIO
    config: Config

    def metric(self, name: str, **labels: str) -> float:
        """A number of the metrics page; 0 for one that is not there."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def directory(self, pod: str, *, key: bytes = KEY) -> RedisDirectory:
        """A directory over these tables; closed by whoever opens it."""
        return RedisDirectory(
            pod,
            self.tables,
            self.backplane,
            key=key,
            times=self.config.directory_times,
            tasks=TaskSet("directory", LogBook(self.log)),
            monotonic=time.monotonic,
        )

    def present(self, pod: str) -> tuple[RedisDirectory, RedisPresence]:
        """Presence over these tables, and the directory that it needs; opened and closed by whoever wants both."""
        directory = self.directory(pod)
        presence = RedisPresence(
            directory,
            self.tables,
            self.backplane,
            key=KEY,
            times=self.config.presence_times,
            tasks=TaskSet("presence", LogBook(self.log)),
            reached=self.metrics.reached,
        )
        return directory, presence


@dataclass
class TablePods:
    """Makes tables of pods of one deployment."""

    url: str
    bus: BusPods
    stack: AsyncExitStack

    async def join(self, **changes: object) -> PodTables:
        """One more pod's tables and its bus, connected or not; keyword arguments change its configuration."""
        # A machine that is busy with other tests answers late.
        config = replace(Config(redis_url=self.url, table_answer_s=5, bus_timeout_s=20), **changes)  # type: ignore[arg-type]  # a test's own words
        address = config.bus_address
        assert address is not None
        metrics, log = Metrics(), io.StringIO()
        tables = redis_tables(
            config,
            address,
            tasks=TaskSet("tables", LogBook(log)),
            metrics=metrics,
            log=LogBook(log),
            monotonic=time.monotonic,
        )
        await tables.open()
        self.stack.push_async_callback(tables.close)
        return PodTables(tables, (await self.bus.join()).backplane, metrics, log, config)


@asynccontextmanager
async def table_pods(url: str) -> AsyncIterator[TablePods]:
    """Pods that are closed with the block."""
    async with bus_pods(url) as bus, AsyncExitStack() as stack:
        yield TablePods(url, bus, stack)
