"""Two pods near each other, and a visit whose fitter hangs on one and whose phone on the other."""

from collections.abc import AsyncIterator

import pytest

from tests.signaling.near import Near, near
from tests.signaling.visit import Visit, visit


@pytest.fixture
async def pods(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Near]:
    async with near(monkeypatch) as pods:
        yield pods


@pytest.fixture
async def here(pods: Near) -> Visit:
    """Live work that was begun on the fitter's pod."""
    return await visit(pods.connect)


@pytest.fixture
async def before(pods: Near) -> Visit:
    """Both ends, before anything has begun."""
    return await visit(pods.connect, live=False)
