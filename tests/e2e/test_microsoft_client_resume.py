"""Microsoft's JavaScript client with stateful reconnect, through a proxy that breaks its sockets.

Each test asks the same: everything arrives, once and in order, on a connection that keeps its id and tells nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.proxy import Proxy
from tests.e2e.client import Client
from tests.e2e.node_client import NodeDriver
from tests.eventually import eventually

Cut = Callable[[], Awaitable[None]]
CUTS: dict[str, Callable[[Proxy], None]] = {
    "reset": Proxy.reset,
    "finish": Proxy.finish,
    # The new socket comes while the old one still looks alive to the server.
    "half-open": Proxy.half_open,
}


@pytest.fixture(params=CUTS)
def cut(request: pytest.FixtureRequest, link: Proxy) -> Cut:
    """One way to break the network; returns when the client has called again."""
    break_it = CUTS[request.param]

    async def cut() -> None:
        came = link.accepted
        break_it(link)
        await eventually(lambda: link.accepted > came)

    return cut


async def unnoticed(client: Client, connection: str, connection_id: str) -> None:
    """The connection is the one that it was, and its owner has heard of no trouble."""
    node = client.node
    assert (await node.invoke(connection, "Whoami"))["connection_id"] == connection_id
    assert await node.call("connectionId", connection=connection) == connection_id
    for event in ("reconnecting", "reconnected", "closed"):
        assert node.seen(event, connection) == 0


async def test_calls_run_once_and_in_order(resuming: Client, node: NodeDriver, link: Proxy, cut: Cut) -> None:
    connection_id = await resuming.connect("a", reconnect=True)
    await node.on("a", "ran")
    link.delay_s = 0.002
    for first in range(0, 100, 20):
        calls = [node.invoke("a", "CallMe", "ran", first + number) for number in range(20)]
        running = asyncio.gather(*calls)
        assert await node.push("a", "ran") == [first]
        await cut()
        await running
        assert [(await node.push("a", "ran"))[0] for _ in range(19)] == list(range(first + 1, first + 20))
    assert node.seen("push", "a") == 0
    await unnoticed(resuming, "a", connection_id)


async def test_a_stream_goes_on_where_it_was(resuming: Client, node: NodeDriver, cut: Cut) -> None:
    connection_id = await resuming.connect("a", reconnect=True)
    await node.subscribe("a", "numbers", "Count", 100, 2)
    assert await node.items("a", "numbers", 5) == [0, 1, 2, 3, 4]
    await cut()
    assert await node.items("a", "numbers", 95) == list(range(5, 100))
    assert await node.completed("a", "numbers") is None
    assert node.seen("item", "a") == 0
    await unnoticed(resuming, "a", connection_id)


async def test_an_upload_goes_on_where_it_was(resuming: Client, node: NodeDriver, cut: Cut) -> None:
    connection_id = await resuming.connect("a", reconnect=True)
    await node.upload("a", "numbers", "Sum", *range(50))
    await cut()
    await node.next("a", "numbers", *range(50, 100))
    assert await node.end("a", "numbers") == sum(range(100))
    await unnoticed(resuming, "a", connection_id)


async def test_a_question_is_answered_over_the_next_socket(resuming: Client, node: NodeDriver, cut: Cut) -> None:
    connection_id = await resuming.connect("a", reconnect=True)
    await node.on("a", "howLoud", answer=[7, "dB"], hold=True)
    pending = asyncio.ensure_future(node.invoke("a", "AskMe", "howLoud", "now"))
    assert await node.push("a", "howLoud") == ["now"]
    await cut()
    await node.call("release", connection="a", method="howLoud")
    assert await pending == [7, "dB"]
    assert node.seen("push", "a") == 0
    await unnoticed(resuming, "a", connection_id)


async def test_what_a_group_is_told_meanwhile_arrives_once_and_in_order(
    resuming: Client, sender: Client, node: NodeDriver, link: Proxy, cut: Cut
) -> None:
    connection_id = await resuming.connect("a", reconnect=True)
    await sender.connect("b", "bob")
    await node.on("a", "news")
    await node.invoke("a", "JoinGroup", "g")
    for number in range(20):
        if number == 5:
            link.hold()
            await cut()
        if number == 15:
            link.let_pass()
        await node.invoke("b", "ToGroup", "g", "news", {"number": number, "text": "ä"})
    assert [await node.push("a", "news") for _ in range(20)] == [[{"number": n, "text": "ä"}] for n in range(20)]
    await unnoticed(resuming, "a", connection_id)
    await node.invoke("b", "ToUser", "ann", "news", "to the person")
    assert await node.push("a", "news") == ["to the person"]
    assert node.seen("push", "a") == 0


async def test_more_than_the_buffer_for_resending_waits_for_acknowledgements(
    resuming: Client, sender: Client, node: NodeDriver, link: Proxy
) -> None:
    """Both ends keep 100,000 bytes; the rest waits at its sender, which no call notices."""
    connection_id = await resuming.connect("a", reconnect=True)
    await sender.connect("b", "bob")
    await node.on("a", "news")
    await node.invoke("a", "JoinGroup", "g")
    link.hold()
    link.reset()
    text = "x" * 30_000
    for number in range(5):
        await node.invoke("b", "ToGroup", "g", "news", number, text)
    calls = asyncio.gather(*(node.invoke("a", "ToGroup", "nobody", "news", number, text) for number in range(5)))
    link.let_pass()
    assert await calls == [None] * 5
    assert [await node.push("a", "news") for _ in range(5)] == [[number, text] for number in range(5)]
    await unnoticed(resuming, "a", connection_id)
