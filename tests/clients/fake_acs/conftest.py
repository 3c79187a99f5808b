"""The stand-in, running in the test's own loop with a clock that a test may move."""

import time
from collections.abc import AsyncIterator

import pytest

from clients.fake_acs.service import FakeAcs, fake_acs


class Moved:
    """The time, and how far a test has moved it."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def moved() -> Moved:
    return Moved()


@pytest.fixture
async def acs(moved: Moved) -> AsyncIterator[FakeAcs]:
    async with fake_acs(FakeAcs(clock=moved)) as service:
        yield service
