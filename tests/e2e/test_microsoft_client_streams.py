"""Microsoft's JavaScript client streams from and to the conformance hub over every transport."""

import asyncio

import pytest

from tests.e2e.client import Client
from tests.e2e.node_client import NodeDriver, NodeError

MANY = 1_000_000


async def test_a_stream_brings_its_items_in_order(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    assert await node.call("stream", connection="a", target="Count", args=[0, 0]) == []
    assert await node.call("stream", connection="a", target="cOUNT", args=[2_000, 0]) == list(range(2_000))
    # Each item is on its way before the next one is made.
    await node.subscribe("a", "slow", "Count", 5, 5)
    assert await node.items("a", "slow", 5) == [0, 1, 2, 3, 4]
    assert await node.completed("a", "slow") is None


async def test_a_stream_that_fails_says_why(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    with pytest.raises(NodeError) as failed:
        await node.call("stream", connection="a", target="Count", args=[-1, 0])
    text = "An error occurred on the server while streaming results. HubException: n must not be negative"
    assert str(failed.value) == text
    with pytest.raises(NodeError, match=r"^Failed to invoke 'Count' due to an error on the server.$"):
        await node.call("stream", connection="a", target="Count", args=["three", 0])
    with pytest.raises(NodeError, match=r"HubException: Method does not exist.$"):
        await node.call("stream", connection="a", target="Nope", args=[])
    assert await node.invoke("a", "Echo", "still here") == "still here"


async def test_streams_and_calls_are_not_mixed_up(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    with pytest.raises(NodeError) as called:
        await node.call("stream", connection="a", target="Echo", args=[1])
    text = "The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation."
    assert str(called.value) == text
    with pytest.raises(NodeError) as streamed:
        await node.invoke("a", "Count", 1, 0)
    text = "The client attempted to invoke the streaming 'Count' method with a non-streaming invocation."
    assert str(streamed.value) == text


async def test_a_disposed_stream_stops_at_the_server(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.subscribe("a", "endless", "Count", MANY, 1)
    assert await node.items("a", "endless", 3) == [0, 1, 2]
    await node.call("dispose", connection="a", call="endless")
    # The answer to a later call shows that the cancel was read; from then on not one item may come.
    await node.invoke("a", "Echo", 0)
    arrived = await node.call("arrived", connection="a")
    assert await node.call("stream", connection="a", target="Count", args=[20, 5]) == list(range(20))
    assert await node.call("arrived", connection="a") == arrived + 20
    assert node.seen("completed", "a", call="endless") == 0


async def test_a_stream_ends_with_its_connection(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.subscribe("a", "endless", "Count", MANY, 1)
    await node.items("a", "endless", 1)
    await node.call("stop", connection="a")
    await client.ended("a")
    assert "connection being closed" in str(await node.completed("a", "endless"))


async def test_an_upload_is_summed(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.upload("a", "some", "Sum", 1, 2, 3.5)
    await node.next("a", "some", 10)
    assert await node.end("a", "some") == 16.5
    await node.upload("a", "none", "Sum")
    assert await node.end("a", "none") == 0
    # Far more than the server keeps for a method that has not read them yet.
    await node.upload("a", "many", "sUM", *range(200))
    assert await node.end("a", "many") == sum(range(200))


async def test_an_upload_that_fails_fails_its_call_alone(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.upload("a", "gave-up", "Sum", 1)
    with pytest.raises(NodeError) as failed:
        await node.end("a", "gave-up", error="lost my notes")
    text = "An unexpected error occurred invoking 'Sum' on the server. HubException: lost my notes"
    assert str(failed.value) == text
    await node.upload("a", "nonsense", "Sum", 1, "two", 3)
    with pytest.raises(NodeError, match=r"HubException: Failed to bind Stream message\.$"):
        await node.end("a", "nonsense")
    with pytest.raises(NodeError, match=r"^An unexpected error occurred invoking 'Sum' on the server.$"):
        await node.invoke("a", "Sum")
    await node.upload("a", "to-nobody", "Nope", 1)
    with pytest.raises(NodeError, match=r"HubException: Method does not exist.$"):
        await node.end("a", "to-nobody")
    assert await node.invoke("a", "Echo", "still here") == "still here"


async def test_streams_both_ways_run_beside_plain_calls(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    for name in ("first", "second"):
        await node.subscribe("a", name, "Count", 40, 2)
        await node.upload("a", f"up-{name}", "Sum", 1)
    for number in range(20):
        assert await node.invoke("a", "Echo", number) == number
        await asyncio.gather(*(node.next("a", f"up-{name}", number) for name in ("first", "second")))
    for name in ("first", "second"):
        assert await node.end("a", f"up-{name}") == 1 + sum(range(20))
        assert await node.items("a", name, 40) == list(range(40))
        assert await node.completed("a", name) is None
