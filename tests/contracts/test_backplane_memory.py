"""The memory backplane keeps the contract."""

from collections.abc import Callable

import pytest

from signaling.backplane import Backplane, MemoryBackplane, MemoryBus
from tests.contracts.backplane import BackplaneContract


class TestMemoryBackplane(BackplaneContract):
    """The contract over one bus in this process."""

    @pytest.fixture
    def join(self) -> Callable[[], Backplane]:
        bus = MemoryBus()
        return lambda: MemoryBackplane(bus)
