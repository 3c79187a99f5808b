"""Microsoft's JavaScript client and three pods behind a balancer that keeps nobody on a pod.

Each connection and each request goes to the next pod: polls, posts, event streams and the sockets of those who resume.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.e2e.client import PROTOCOLS, Client, Combination
from tests.e2e.node_client import NodeDriver
from tests.eventually import eventually
from tests.pods_running import PodsRunning, pods_running, token_of
from tests.signaling.pods_inside import certificates

SETTINGS = {"AURICLE_DATABASE_URL": "memory:", "AURICLE_SWEEP_S": "0.1"}


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PodsRunning]:
    """Pods that nobody kills, and that ask each other over TLS."""
    folder = tmp_path_factory.mktemp("pods")
    tls = {f"AURICLE_{name.upper()}": value for name, value in certificates(folder).items()}
    async with pods_running(folder, "--conformance", environ=SETTINGS | tls) as pods:
        yield pods
        assert not any("task_failed" in pod.log_text or "crashed" in pod.log_text for pod in pods.pods.values())


@pytest.fixture
async def fragile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PodsRunning]:
    """Pods of which a test kills some."""
    async with pods_running(tmp_path_factory.mktemp("pods"), "--conformance", environ=SETTINGS) as pods:
        yield pods


def client_of(pods: PodsRunning, node: NodeDriver, combination: Combination, **options: object) -> Client:
    server = next(iter(pods.pods.values()))
    return Client(node, server, combination, url=pods.balancer.url, keepAliveMs=500, **options)


async def owner_of(connection_id: str, pods: PodsRunning) -> int:
    """The pod that has a connection, by its log."""

    def found() -> list[int]:
        return [number for number, pod in pods.pods.items() if f'"{connection_id}"' in pod.log_text]

    await eventually(found)
    return found()[0]


async def test_calls_streams_pushes_and_questions_over_every_transport(
    shared: PodsRunning, node: NodeDriver, combination: Combination
) -> None:
    client = client_of(shared, node, combination)
    before = await shared.forwarded()
    await client.connect("a", token=token_of("ann"))
    await client.connect("b", token=token_of("ann"))
    await node.on("a", "news")
    await node.on("b", "howLoud", answer=[7, "dB"])
    for number in range(10):
        assert await node.invoke("a", "Echo", {"number": number}) == {"number": number}
    await node.invoke("a", "JoinGroup", "g")
    for number in range(10):
        await node.invoke("b", "ToGroup", "g", "news", number)
    assert [(await node.push("a", "news"))[0] for _ in range(10)] == list(range(10))
    assert await node.invoke("b", "AskMe", "howLoud", "now") == [7, "dB"]
    await node.subscribe("a", "numbers", "Count", 20, 2)
    assert await node.items("a", "numbers", 20) == list(range(20))
    await node.upload("b", "sum", "Sum", *range(20))
    assert await node.end("b", "sum") == sum(range(20))
    # Sockets stay where they are; all others wander.
    wandered = await shared.forwarded() - before
    assert wandered == 0 if combination.transport == "WebSockets" else wandered > 20
    assert all(shared.balancer.went.get(pod.url, 0) for pod in shared.pods.values())


@pytest.mark.parametrize("bus", ["killed", "killed and back"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stateful_connection_comes_back_over_whatever_pod(
    fragile: PodsRunning, node: NodeDriver, protocol: str, bus: str
) -> None:
    client = client_of(fragile, node, Combination("WebSockets", protocol), stateful=True)
    connection_id = await client.connect("a", token=token_of("ann"), reconnect=True)
    await node.on("a", "ran")
    for first in range(0, 60, 10):
        calls = asyncio.gather(*(node.invoke("a", "CallMe", "ran", first + number) for number in range(10)))
        assert await node.push("a", "ran") == [first]
        if first == 20:
            fragile.bus.kill()
        if first == 40 and bus == "killed and back":
            fragile.bus.start()
        fragile.balancer.reset()
        await calls
        assert [(await node.push("a", "ran"))[0] for _ in range(9)] == list(range(first + 1, first + 10))
    assert node.seen("push", "a") == 0
    assert (await node.invoke("a", "Whoami"))["connection_id"] == connection_id
    for event in ("reconnecting", "reconnected", "closed"):
        assert node.seen(event, "a") == 0
    assert await fragile.forwarded() > 0


@pytest.mark.parametrize("transport", ["ServerSentEvents", "LongPolling"])
async def test_a_pod_that_was_killed_is_noticed_at_once_and_the_client_goes_elsewhere(
    fragile: PodsRunning, node: NodeDriver, transport: str
) -> None:
    client = client_of(fragile, node, Combination(transport, "json"))
    connection_id = await client.connect("a", token=token_of("ann"), reconnect=True)
    assert await node.invoke("a", "Echo", 1) == 1
    owner = await owner_of(connection_id, fragile)
    await fragile.kill(owner)
    await node.event("reconnecting", "a")
    await node.event("reconnected", "a")
    assert await node.invoke("a", "Echo", 2) == 2
    assert await node.call("connectionId", connection="a") != connection_id


async def test_a_client_is_told_to_come_back_by_a_pod_that_it_never_speaks_to(
    fragile: PodsRunning, node: NodeDriver
) -> None:
    client = client_of(fragile, node, Combination("LongPolling", "messagepack"))
    connection_id = await client.connect("a", token=token_of("ann"), reconnect=True)
    owner = await owner_of(connection_id, fragile)
    ending = asyncio.ensure_future(fragile.terminate(owner))
    await node.event("reconnecting", "a")
    await node.event("reconnected", "a")
    assert await ending == 0
    for number in range(5):
        assert await node.invoke("a", "Echo", number) == number
