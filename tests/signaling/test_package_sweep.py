"""A look at all that is due for packages: a few at a time, so that phones that attach meanwhile find the database."""

import asyncio
from typing import Any

import pytest

from fitting.outbox import DueItem
from protocol.errors import Unavailable
from signaling.flows.packages import PackageFlow, PackageLimits
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.troubles import Troubles
from tests.eventually import eventually

DUE = tuple(DueItem(number, f"d{number}", "push", 1, 0.0, 0) for number in range(20))


class Counted:
    """An outbox with much to do, and a log that lets nobody go before the test says so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.now = self.most = 0
        self.finished: list[DueItem] = []

    async def take(self, limit: int, *, hold_s: float) -> tuple[DueItem, ...]:
        return DUE

    async def delivery(self, device: str, seq: int) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go.wait()
        self.now -= 1

    async def done(self, item: DueItem) -> None:
        self.finished.append(item)

    async def is_known_attached(self, device: str) -> bool:
        """No phone is there."""
        return False


def flow_of(counted: Any) -> PackageFlow:
    metrics = Metrics()
    nobody: Any = None
    return PackageFlow(
        log=counted,
        outbox=counted,
        tokens=nobody,
        notifier=nobody,
        phones=nobody,
        anywhere=counted,
        submit=nobody,
        troubles=Troubles(metrics, LogBook()),
        secret=b"",
        limits=PackageLimits(),
        reached=metrics.reached,
    )


async def test_only_a_few_are_carried_out_at_a_time_and_all_of_them_in_the_end() -> None:
    counted = Counted()
    sweep = asyncio.ensure_future(flow_of(counted).sweep())
    await eventually(lambda: counted.now == 8)
    # More would have begun in the same turn of the loop.
    assert counted.most == 8
    counted.go.set()
    await sweep
    assert sorted(counted.finished) == list(DUE)


async def test_that_the_database_is_away_is_told_as_such() -> None:
    class Away(Counted):
        async def delivery(self, device: str, seq: int) -> None:
            raise Unavailable("away")

    with pytest.raises(Unavailable):
        await flow_of(Away()).sweep()
