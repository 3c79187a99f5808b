"""The memory log keeps the contract of every device log."""

from itertools import count

import pytest

from fitting.log_memory import MemoryDeviceLog
from tests.contracts.device_log import DEVICE, LIMITS, Bench, Clock, DeviceLogContract, registered
from tests.contracts.device_log_bench import refused


class TestMemoryDeviceLog(DeviceLogContract):
    @pytest.fixture
    async def bench(self) -> Bench:
        clock, numbers = Clock(), count(1)
        log = MemoryDeviceLog(clock=clock, monotonic=clock, new_id=lambda: f"id-{next(numbers)}", limits=LIMITS)
        assert await log.create(DEVICE, registered()) is None
        return Bench(log, clock, outbox=log.outbox)

    async def test_only_so_much_history_is_kept(self, bench: Bench) -> None:
        await bench.fitted()
        for _ in range(LIMITS.max_history + 2):
            await bench.apply()
        kept = [seq for seq in range(1, 6) if await bench.log.delivery(DEVICE, seq) is not None]
        assert kept == [3, 4, 5]
        events = await bench.log.changed_since(DEVICE, 0)
        assert {event.seq for event in events} == {3, 4, 5}
        assert await bench.log.changed_since(DEVICE, events[0].n) == events[1:]
        assert refused(await bench.try_report(1, "received")).code == "unknown_delivery"


async def test_two_logs_have_two_epochs() -> None:
    numbers = count(1)
    epochs = set()
    for _ in range(2):
        log = MemoryDeviceLog(clock=Clock(), monotonic=Clock(), new_id=lambda: f"id-{next(numbers)}")
        await log.create(DEVICE, registered())
        bench = Bench(log, Clock())
        epochs.add((await bench.head()).epoch)
    assert len(epochs) == 2
