"""A server with a shelf of books on it."""

from collections.abc import AsyncIterator

import pytest

from tests.signaling.rest.shelf import ShelfHouse, shelf_house


@pytest.fixture
async def here() -> AsyncIterator[ShelfHouse]:
    async with shelf_house(b1="One", b2="Two") as house:
        yield house
