"""The memory log keeps the contract of every device log."""

from itertools import count

import pytest

from fitting.log import DeviceLog
from fitting.log_memory import MemoryDeviceLog
from tests.contracts.device_log import DEVICE, LIMITS, Bench, Clock, DeviceLogContract, registered


class TestMemoryDeviceLog(DeviceLogContract):
    @pytest.fixture
    async def bench(self) -> Bench:
        clock, numbers = Clock(), count(1)
        log: DeviceLog = MemoryDeviceLog(clock=clock, new_id=lambda: f"id-{next(numbers)}", limits=LIMITS)
        assert await log.create(DEVICE, registered()) is None
        return Bench(log, clock)


async def test_two_logs_have_two_epochs() -> None:
    numbers = count(1)
    epochs = set()
    for _ in range(2):
        log = MemoryDeviceLog(clock=Clock(), new_id=lambda: f"id-{next(numbers)}")
        await log.create(DEVICE, registered())
        bench = Bench(log, Clock())
        epochs.add((await bench.head()).epoch)
    assert len(epochs) == 2
