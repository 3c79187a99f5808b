"""Looks over many devices, while their store goes away in the middle."""

import itertools

import pytest

from fitting.log_memory import MemoryLogStore
from fitting.log_over_store import Step, StoredDeviceLog, T
from protocol.contract.base import Refusal
from protocol.errors import Unavailable
from tests.contracts.device_log_bench import LIMITS, Bench, Clock, registered

DEVICES = ("d-1", "d-2")


class Failing(MemoryLogStore):
    """Away for the devices that a test names."""

    away: frozenset[str] = frozenset()

    async def run(self, device: str, step: Step[T], *, key: str | None = None) -> T | Refusal:
        if device in self.away:
            raise Unavailable("the store is away")
        return await super().run(device, step, key=key)


async def two_live() -> tuple[Failing, StoredDeviceLog, Clock]:
    """Two devices with a live session each, and a change that nobody was offered."""
    clock, numbers = Clock(), itertools.count()
    store = Failing(clock=clock, epoch="e", limits=LIMITS)
    log = StoredDeviceLog(store, lambda: f"id-{next(numbers)}")
    for device in DEVICES:
        assert await log.create(device, registered()) is None
        bench = Bench(log, clock, device=device)
        await bench.attach()
        await bench.acquire()
        await bench.submit(expires_in_s=10.0)
    return store, log, clock


async def test_sessions_that_have_ended_are_told_when_the_store_goes_away_after_them() -> None:
    store, log, clock = await two_live()
    clock.pass_s(20)
    store.away = frozenset({"d-2"})
    assert [device for device, _ in await log.lapsed()] == ["d-1"]
    with pytest.raises(Unavailable):
        await log.lapsed()
    store.away = frozenset()
    assert [device for device, _ in await log.lapsed()] == ["d-2"]


async def test_changes_that_have_expired_are_told_when_the_store_goes_away_after_them() -> None:
    store, log, clock = await two_live()
    clock.pass_s(12)
    store.away = frozenset({"d-2"})
    assert [late.delivery.device for late in await log.expire()] == ["d-1"]
    assert await log.expire() == ()
    store.away = frozenset()
    assert [late.delivery.device for late in await log.expire()] == ["d-2"]
