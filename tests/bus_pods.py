"""Pods' connections to a real bus, for tests: made as the product makes them, watched, and closed afterwards."""

import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count

from signaling.backplane import BusState
from signaling.backplane_redis import RedisBackplane, redis_backplane
from signaling.config import Config
from signaling.log import LogBook
from signaling.metrics import Metrics
from tests.eventually import eventually

__all__ = ["BusPods", "Pod", "bus_pods", "settled"]

KEY = b"b" * 32


@dataclass
class Pod:
    """One pod's connection, and what is known of it."""

    backplane: RedisBackplane
    metrics: Metrics
    log: io.StringIO
    missed: list[None] = field(default_factory=list)

    def metric(self, name: str, **labels: str) -> float:
        """A number of the metrics page; 0 for one that is not there."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def is_up(self) -> bool:
        """Whether it says that it is connected."""
        return self.backplane.state is BusState.CONNECTED


class BusPods:
    """Makes pods of one deployment; ``url`` is where their bus is, unless one is told otherwise."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pods: list[Pod] = []

    async def join(self, *, key: bytes = KEY, clock: Callable[[], float] = time.time, **changes: object) -> Pod:
        """One more pod, connected or not; keyword arguments change its configuration."""
        # A server that has to wait for its turn on a busy machine is no bus that is away: it would lose messages.
        patient = Config(redis_url=self.url, bus_flush_s=20, bus_timeout_s=20)
        config = replace(patient, **changes)  # type: ignore[arg-type]  # a test's own words
        metrics, log = Metrics(), io.StringIO()
        address = config.bus_address
        assert address is not None
        backplane = redis_backplane(
            config, address, key=key, metrics=metrics, log=LogBook(log), clock=clock, monotonic=time.monotonic
        )
        pod = Pod(backplane, metrics, log)
        backplane.on_missed(lambda: pod.missed.append(None))
        await backplane.open()
        self.pods.append(pod)
        return pod

    async def connected(self, **changes: object) -> Pod:
        """One more pod that is connected."""
        pod = await self.join(**changes)  # type: ignore[arg-type]  # as above
        await eventually(lambda: pod.is_up)
        return pod


@asynccontextmanager
async def bus_pods(url: str) -> AsyncIterator[BusPods]:
    """Pods that are closed with the block."""
    pods = BusPods(url)
    try:
        yield pods
    finally:
        for pod in pods.pods:
            await pod.backplane.close()


_MARKS = count()


async def settled(*backplanes: RedisBackplane) -> None:
    """Return when servers know what pods listen to, and pods have heard all that was published before.

    A server passes on what one publisher says in its order: whatever comes before a mark is there with the mark.
    """
    await eventually(lambda: all(one.is_settled for one in backplanes))
    marks = [f"mark {next(_MARKS)}" for _ in range(24)]  # enough for every server of a small cluster
    heard: list[bytes] = []
    for one in backplanes:
        for mark in marks:
            one.subscribe(mark, heard.append)
    await eventually(lambda: all(one.is_settled for one in backplanes))
    for one in backplanes:
        for mark in marks:
            one.publish(mark, lambda: b"")
    await eventually(lambda: len(heard) == len(marks) * len(backplanes) * (len(backplanes) - 1))
    for one in backplanes:
        for mark in marks:
            one.unsubscribe(mark)
    await eventually(lambda: all(one.is_settled for one in backplanes))
