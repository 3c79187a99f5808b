"""Both push notifiers keep the contract."""

from collections.abc import AsyncIterator

import pytest

from tests.contracts.push_notifier import PushNotifierContract
from tests.signaling.push_desk import Desk, hub_desk, log_desk


class TestHubPush(PushNotifierContract):
    """The contract over a notification hub."""

    @pytest.fixture
    async def desk(self) -> AsyncIterator[Desk]:
        async with hub_desk() as desk:
            yield desk


class TestLogPush(PushNotifierContract):
    """The contract over a log."""

    @pytest.fixture
    async def desk(self) -> AsyncIterator[Desk]:
        async with log_desk() as desk:
            yield desk
