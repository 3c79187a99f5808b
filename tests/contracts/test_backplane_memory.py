"""The memory backplane keeps the contract, and costs nothing where nobody listens."""

import pytest

from signaling.backplane import Backplane, MemoryBackplane, MemoryBus
from tests.contracts.backplane import BackplaneContract, Join, Settled


class TestMemoryBackplane(BackplaneContract):
    """The contract over one bus in this process."""

    @pytest.fixture
    def join(self) -> Join:
        bus = MemoryBus()

        async def join() -> Backplane:
            backplane = MemoryBackplane(bus)
            await backplane.open()
            return backplane

        return join

    @pytest.fixture
    def settled(self) -> Settled:
        async def settled(*_: Backplane) -> None:
            """Everything has come about when a call returns."""

        return settled

    async def test_what_nobody_hears_is_never_encoded(self, join: Join) -> None:
        one, two = await join(), await join()
        one.subscribe("c", lambda _: None)
        encoded: list[int] = []

        def payload() -> bytes:
            encoded.append(1)
            return b"x"

        one.publish("c", payload)
        assert encoded == []
        two.subscribe("c", lambda _: None)
        one.publish("c", payload)
        assert encoded == [1]
