"""One server and one Node process serve all tests of this folder; each test has connections of its own."""

from collections.abc import AsyncIterator
from itertools import count

import pytest

from tests.e2e.node_client import NodeDriver, node_driver
from tests.running import Server, server

_scopes = count()


@pytest.fixture(scope="session")
async def shared_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with server(tmp_path_factory.mktemp("data"), "--conformance") as running:
        yield running


@pytest.fixture(scope="session")
async def driver() -> AsyncIterator[NodeDriver]:
    async with node_driver() as running:
        yield running


@pytest.fixture
async def node(driver: NodeDriver) -> AsyncIterator[NodeDriver]:
    """The driver with fresh names, and no connection left when the test ends."""
    driver.scope = f"{next(_scopes)}:"
    yield driver
    await driver.call("stopAll", scope=driver.scope)
