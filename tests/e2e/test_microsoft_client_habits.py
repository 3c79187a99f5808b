"""What people do with Microsoft's client that is not in its first example: it works, or fails in known words."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import COMBINATIONS, HUB, Client, Combination
from tests.e2e.node_client import NodeDriver, NodeError, binary
from tests.eventually import eventually
from tests.running import Server, server

ANY = Combination("any", "json")


@pytest.fixture(scope="module")
async def idle_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Its polls end soon, and so do its idle HTTP connections."""
    settings = {"AURICLE_POLL_TIMEOUT_S": "0.2", "AURICLE_IDLE_TIMEOUT_S": "0.3", "AURICLE_SWEEP_S": "0.05"}
    async with server(tmp_path_factory.mktemp("idle"), "--conformance", **settings) as running:
        yield running


@pytest.mark.parametrize(
    ("blocked", "left"),
    [
        ([], "web_sockets"),
        (["WebSockets"], "server_sent_events"),
        (["WebSockets", "ServerSentEvents"], "long_polling"),
    ],
)
async def test_a_blocked_transport_is_no_obstacle(
    shared_server: Server, node: NodeDriver, blocked: list[str], left: str
) -> None:
    client = Client(node, shared_server, ANY, blocked=blocked)
    await client.connect("a")
    assert await node.invoke("a", "Echo", left) == left
    assert await node.call("stream", connection="a", target="Count", args=[5, 1]) == list(range(5))


async def test_messagepack_falls_back_to_what_carries_it(shared_server: Server, node: NodeDriver) -> None:
    client = Client(node, shared_server, Combination("any", "messagepack"), blocked=["WebSockets"])
    await client.connect("a")
    assert await node.invoke("a", "Echo", binary(b"\x00\xff")) == binary(b"\x00\xff")


async def test_a_connection_object_is_started_again(client: Client, node: NodeDriver) -> None:
    first = await client.connect("a")
    await node.on("a", "news")
    await node.invoke("a", "JoinGroup", "again")
    await node.call("stop", connection="a")
    with pytest.raises(NodeError, match="not in the 'Connected' State"):
        await node.invoke("a", "Echo", 1)
    second = await node.call("start", connection="a")
    assert second != first
    await node.invoke("a", "ToGroup", "again", "news", "to nobody")
    await node.invoke("a", "CallMe", "news", "to me")
    assert await node.push("a", "news") == ["to me"]


async def test_the_address_has_a_slash_and_a_query_and_requests_have_headers(
    shared_server: Server, node: NodeDriver, combination: Combination
) -> None:
    client = Client(node, shared_server, combination, headers={"X-Tenant": "c1", "traceparent": "00-1-2-03"})
    await client.connect("a", url=f"{shared_server.url}{HUB}/?tenant=c1&x=%20y")
    assert await node.invoke("a", "Echo", 1) == 1


async def test_names_of_client_methods_are_matched_without_case(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.on("a", "heyThere", answer=3)
    await node.invoke("a", "CallMe", "HEYTHERE", 1)
    assert await node.push("a", "heyThere") == [1]
    assert await node.invoke("a", "AskMe", "heythere") == 3
    await node.call("off", connection="a", method="heyThere")
    await node.invoke("a", "CallMe", "heyThere", 2)
    with pytest.raises(NodeError, match="Client didn't provide a result"):
        await node.invoke("a", "AskMe", "heyThere")
    assert await node.invoke("a", "Echo", "still here") == "still here"


async def test_nothing_happens_for_longer_than_a_poll_or_an_http_connection_lasts(
    idle_server: Server, node: NodeDriver, combination: Combination
) -> None:
    client = Client(node, idle_server, combination)
    connection_id = await client.connect("a")
    await node.on("a", "news")
    for number in range(3):
        await asyncio.sleep(0.5)  # sleep: doing nothing is what is tested
        assert await node.invoke("a", "Echo", number) == number
    await node.invoke("a", "ToUser", "ann", "news", 1)
    assert await node.push("a", "news") == [1]
    assert (await node.invoke("a", "Whoami"))["connection_id"] == connection_id
    assert node.seen("closed", "a") == 0


async def test_a_server_that_comes_back_is_found_again(node: NodeDriver, tmp_path: Path) -> None:
    waits = {"AURICLE_DRAIN_S": "3", "AURICLE_CLOSE_TIMEOUT_S": "0.3", "AURICLE_SWEEP_S": "0.05"}
    async with server(tmp_path, "--conformance", **waits) as first:
        port = first.url.rpartition(":")[2]
        patient = [200] * 300
        clients = {str(kind): Client(node, first, kind, reconnect=patient) for kind in COMBINATIONS}
        before = {name: await client.connect(name) for name, client in clients.items()}
        for name in clients:
            await node.on(name, "news")
            await node.invoke(name, "JoinGroup", "g")
        assert await first.terminate() == 0
    async with server(tmp_path, "--conformance", "--port", port):
        for name in clients:
            await node.event("reconnected", name)
            me = await node.invoke(name, "Whoami")
            assert (me["user"], me["connection_id"] != before[name]) == ("ann", True)
            # Groups are those of a connection; whoever comes back joins again.
            await node.invoke(name, "ToGroup", "g", "news", name)
            await node.invoke(name, "JoinGroup", name)
            await node.invoke(name, "ToGroup", name, "news", "again")
            assert await node.push(name, "news") == ["again"]


async def test_fifty_connections_start_at_once(client: Client, node: NodeDriver) -> None:
    names = [str(number) for number in range(50)]
    ids = await asyncio.gather(*(client.connect(name) for name in names))
    assert len(set(ids)) == 50
    for name in names:
        await node.on(name, "news")
    await node.invoke("0", "ToUser", "ann", "news", "everybody")
    assert [await node.push(name, "news") for name in names] == [["everybody"]] * 50


async def test_values_that_one_format_lacks_arrive_as_the_nearest_that_it_has(
    shared_server: Server, node: NodeDriver
) -> None:
    for name, protocol in (("json", "json"), ("packed", "messagepack")):
        await Client(node, shared_server, Combination("WebSockets", protocol)).connect(name)
        await node.on(name, "news")
        await node.invoke(name, "JoinGroup", "values")
    date = {"$date": "2026-01-31T09:30:00.250Z"}
    await node.invoke("packed", "ToGroup", "values", "news", binary(b"\x00\xff"), date, None)
    assert await node.push("packed", "news") == [binary(b"\x00\xff"), date, None]
    assert await node.push("json", "news") == ["AP8=", "2026-01-31T09:30:00.250Z", None]


async def test_a_long_upload_in_one_go(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.upload("a", "long", "Sum", *range(300))
    await node.next("a", "long", *range(300, 500))
    assert await node.end("a", "long") == sum(range(500))


async def test_calls_that_are_made_at_once_may_be_far_larger_together_than_one_may_be(
    client: Client, node: NodeDriver
) -> None:
    await client.connect("a")
    # The client joins them into one frame or body of nearly 4 MB.
    texts = [[f"{number}" * 15_000] for number in range(10, 99)]
    assert await node.call("burst", connection="a", target="Echo", list=texts) == [text for (text,) in texts]
    assert await node.invoke("a", "Echo", "still here") == "still here"


async def test_a_call_that_is_too_big_does_not_hurt_those_of_others(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await client.connect("b", "bob")
    with pytest.raises(NodeError):
        await node.invoke("a", "Echo", "z" * 2_000_000)
    await node.event("closed", "a")
    assert await node.invoke("b", "Echo", "still here") == "still here"


async def test_many_calls_of_many_kinds_at_once_have_their_own_answers(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.on("a", "double", answer=2)
    calls: list[Any] = []
    for number in range(30):
        calls += [
            node.invoke("a", "Echo", number),
            node.call("stream", connection="a", target="Count", args=[number % 5, 1]),
            node.invoke("a", "Blob", number * 100),
        ]
    answers = await asyncio.gather(*calls)
    for number in range(30):
        assert answers[3 * number : 3 * number + 3] == [number, list(range(number % 5)), "x" * (number * 100)]
    assert await asyncio.gather(*(node.invoke("a", "AskMe", "double") for _ in range(30))) == [2] * 30
    await eventually(lambda: node.seen("push", "a") == 30)
