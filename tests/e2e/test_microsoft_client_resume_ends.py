"""When a lost connection does not come back: too late, too slow, as somebody else, or after a goodbye."""

import asyncio

import pytest

from tests.chaos.proxy import Proxy, proxy
from tests.e2e.client import Client, Combination, token_until
from tests.e2e.node_client import NodeDriver, NodeError
from tests.running import Server


@pytest.fixture
def far_server(brisk_server: Server) -> Server:
    return brisk_server


async def test_a_client_that_comes_too_late_starts_anew(
    resuming: Client, sender: Client, node: NodeDriver, link: Proxy
) -> None:
    old_id = await resuming.connect("a", reconnect=True)
    await sender.connect("b", "bob")
    await node.on("a", "news")
    await node.on("a", "howLoud", answer=7, hold=True)
    await node.invoke("a", "JoinGroup", "g")
    await node.subscribe("a", "endless", "Count", 1_000_000, 5)
    await node.items("a", "endless", 1)
    pending = asyncio.ensure_future(node.invoke("a", "AskMe", "howLoud"))
    await node.push("a", "howLoud")
    link.hold()
    link.reset()
    assert await resuming.ended("a") == "resume_timeout"
    link.let_pass()
    with pytest.raises(NodeError, match=r"WebSocket closed"):
        await pending
    await node.event("reconnecting", "a")
    await node.event("reconnected", "a")
    assert "WebSocket closed" in str(await node.completed("a", "endless"))
    new_id = (await node.invoke("a", "Whoami"))["connection_id"]
    assert new_id == await node.call("connectionId", connection="a") != old_id
    await node.invoke("b", "ToGroup", "g", "news", "to the group")
    await node.invoke("b", "ToUser", "ann", "news", "to the person")
    assert await node.push("a", "news") == ["to the person"]


async def test_a_connection_that_cannot_resume_starts_anew(
    far_server: Server, node: NodeDriver, combination: Combination, link: Proxy
) -> None:
    client = Client(node, far_server, combination, url=link.url)
    old_id = await client.connect("a", reconnect=True, keepAliveMs=500)
    link.reset()
    await node.event("reconnecting", "a")
    await node.event("reconnected", "a")
    assert (await node.invoke("a", "Whoami"))["connection_id"] != old_id
    assert await client.ended("a") == "gone"


async def test_a_lost_client_that_is_sent_too_much_is_given_up(
    resuming: Client, sender: Client, node: NodeDriver, link: Proxy
) -> None:
    """The server keeps what it may resend, and its send queue; then the connection ends and its sender goes on."""
    old_id = await resuming.connect("a", reconnect=True)
    await sender.connect("b", "bob")
    await node.on("a", "news")
    await node.invoke("a", "JoinGroup", "g")
    link.hold()
    link.reset()
    news = [["g", "news", number, "x" * 30_000] for number in range(12)]
    await node.call("burst", connection="b", target="ToGroup", list=news)
    assert await resuming.ended("a") == "slow_consumer"
    link.let_pass()
    await node.event("reconnected", "a")
    assert await node.call("connectionId", connection="a") != old_id
    assert node.seen("push", "a") == 0
    assert await node.invoke("b", "Echo", "still here") == "still here"


@pytest.mark.parametrize("whose", ["somebody-else", "expired", "garbage"])
async def test_another_token_does_not_resume_a_connection(
    resuming: Client, brisk_server: Server, node: NodeDriver, link: Proxy, whose: str
) -> None:
    await resuming.connect("a")
    token = {
        "somebody-else": await brisk_server.token("bob", "clinician"),
        "expired": token_until(brisk_server, "ann", -1),
        "garbage": "garbage",
    }[whose]
    await node.call("token", connection="a", token=token)
    link.reset()
    assert "WebSocket closed" in (await node.event("closed", "a"))["error"]


async def test_a_newer_token_of_the_same_person_resumes_a_connection(
    resuming: Client, brisk_server: Server, node: NodeDriver, link: Proxy
) -> None:
    connection_id = await resuming.connect("a")
    await node.call("token", connection="a", token=token_until(brisk_server, "ann", 600, "admin"))
    link.reset()
    me = await node.invoke("a", "Whoami")
    assert me == {"user": "ann", "connection_id": connection_id, "roles": ["admin"]}


async def test_a_goodbye_is_final(resuming: Client, node: NodeDriver) -> None:
    await resuming.connect("a", reconnect=True)
    await node.call("stop", connection="a")
    assert await resuming.ended("a") == "client_closed"
    await resuming.connect("b", reconnect=True)
    await node.call("send", connection="b", target="Abort", args=[])
    assert (await node.event("closed", "b"))["error"] is None
    assert await resuming.ended("b") == "aborted"


async def test_both_ends_notice_a_black_hole(brisk_server: Server, node: NodeDriver) -> None:
    """Nobody closes anything: silence alone tells. Both formats at once, since it takes its time."""
    async with proxy(brisk_server.url) as link:
        clients = {
            name: Client(node, brisk_server, Combination("WebSockets", name), url=link.url, stateful=True)
            for name in ("json", "messagepack")
        }
        for name, client in clients.items():
            await client.connect(name, reconnect=True, keepAliveMs=500, serverTimeoutMs=2_500)
        link.black_hole()
        for client in clients.values():
            assert await client.ended(client.combination.protocol) == "client_timeout"
        # The client's HTTP connections are in the hole too, and it would ask them for ever.
        link.reset()
        link.let_pass()
        for name in clients:
            assert "Server timeout" in (await node.event("reconnecting", name))["error"]
            await node.event("reconnected", name)
            assert await node.invoke(name, "Echo", "back") == "back"
