"""Two servers and one Node process serve all tests of this folder; each test has connections of its own."""

import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from tests.chaos.proxy import Proxy, proxy
from tests.e2e.client import COMBINATIONS, PROTOCOLS, Client, Combination
from tests.e2e.node_client import NodeDriver, node_driver
from tests.running import Server, server

_scopes = count()


@pytest.fixture(scope="session")
async def shared_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with the limits and deadlines that everybody has."""
    async with server(tmp_path_factory.mktemp("data"), "--conformance") as running:
        yield running
        only_asked_for_crashes(running)


@pytest.fixture(scope="session")
async def brisk_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that soon gives up clients that are lost, silent or slow."""
    settings = {
        "AURICLE_DISCONNECT_TIMEOUT_S": "1.5",
        "AURICLE_CLIENT_TIMEOUT_S": "5",
        "AURICLE_KEEP_ALIVE_S": "0.5",
        "AURICLE_CLOSE_TIMEOUT_S": "0.3",
        "AURICLE_SWEEP_S": "0.1",
        "AURICLE_MAX_SEND_QUEUE_BYTES": "200000",
    }
    async with server(tmp_path_factory.mktemp("brisk"), "--conformance", **settings) as running:
        yield running
        only_asked_for_crashes(running)


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


@pytest.fixture(scope="module")
async def their_driver() -> AsyncIterator[NodeDriver]:
    async with node_driver(Path(__file__).parent / "socketio_node") as running:
        yield running


@pytest.fixture
async def their(their_driver: NodeDriver) -> AsyncIterator[NodeDriver]:
    """The same of socket.io-client."""
    their_driver.scope = f"{next(_scopes)}:"
    yield their_driver
    await their_driver.call("stopAll", scope=their_driver.scope)


@pytest.fixture(params=COMBINATIONS, ids=str)
def combination(request: pytest.FixtureRequest) -> Combination:
    """Each transport with each format that it carries."""
    chosen: Combination = request.param
    return chosen


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(shared_server: Server, node: NodeDriver, combination: Combination) -> Client:
    """Microsoft's client for the conformance hub, over every transport."""
    return Client(node, shared_server, combination)


@pytest.fixture
def far_server(shared_server: Server) -> Server:
    """The server at the other end of ``link``; a module may choose the brisk one."""
    return shared_server


@pytest.fixture
async def link(far_server: Server) -> AsyncIterator[Proxy]:
    """A network before a server that breaks when it is told to."""
    async with proxy(far_server.url) as running:
        yield running


@pytest.fixture
def resuming(far_server: Server, node: NodeDriver, protocol: str, link: Proxy) -> Client:
    """Microsoft's client with stateful reconnect, through ``link``."""
    chosen = Combination("WebSockets", protocol)
    return Client(node, far_server, chosen, url=link.url, stateful=True, keepAliveMs=500)


@pytest.fixture
def sender(far_server: Server, node: NodeDriver, protocol: str) -> Client:
    """A client of the same server whose network is fine, and which speaks the other format."""
    other = {"json": "messagepack", "messagepack": "json"}[protocol]
    return Client(node, far_server, Combination("WebSockets", other), keepAliveMs=500)


def only_asked_for_crashes(running: Server) -> None:
    """Whatever the tests did, the log has no other crash than the one of ``Crash``, and nobody's token."""
    whole, _, _ = running.log_text.rpartition("\n")
    lines = [json.loads(line) for line in whole.splitlines()]
    crashes = [line for line in lines if line["level"] == "error" and line.get("method") != "Crash"]
    assert crashes == []
    assert not any(token in running.log_text for token in running.tokens.values())
