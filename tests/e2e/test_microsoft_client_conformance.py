"""Microsoft's JavaScript client against the conformance hub over every transport: calls, errors, pushes, results."""

import asyncio
from typing import Any

import pytest

from tests.e2e.client import HUB, Client, Combination
from tests.e2e.node_client import NodeDriver, NodeError, binary
from tests.running import Server


async def test_values_pass_through_untouched(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    values: list[Any] = [None, True, 0, -1, 2**53 - 1, 1.5, "", "ä\u2028😀", [], {}, {"a": [1, {"b": None}]}]
    for value in values:
        assert await node.invoke("a", "Echo", value) == value
    assert await node.invoke("a", "Echo", "line\nbreak\r\n\x1e") == "line\nbreak\r\n\x1e"
    if client.combination.protocol == "messagepack":
        assert await node.invoke("a", "Echo", binary(b"\x00\xff\x1e")) == binary(b"\x00\xff\x1e")
        date = {"$date": "2026-01-31T09:30:00.250Z"}
        assert await node.invoke("a", "Echo", date) == date


async def test_names_are_matched_without_case_and_arguments_are_counted(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    assert await node.invoke("a", "aDD", 2, 40) == 42
    for wrong in ([1], [1, 2, 3], [1, "2"], [1, None], [True, 1]):
        with pytest.raises(NodeError, match=r"^Failed to invoke 'Add' due to an error on the server.$"):
            await node.invoke("a", "Add", *wrong)


async def test_errors_carry_microsofts_texts_and_nothing_else(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    with pytest.raises(NodeError) as failed:
        await node.invoke("a", "Fail", "too loud")
    assert str(failed.value) == "An unexpected error occurred invoking 'Fail' on the server. HubException: too loud"
    with pytest.raises(NodeError) as crashed:
        await node.invoke("a", "Crash")
    assert str(crashed.value) == "An unexpected error occurred invoking 'Crash' on the server."
    missing = "Failed to invoke '{}' due to an error on the server. HubException: Method does not exist."
    for name in ("Nope", "__init__", "on_connected", "policy", "_private"):
        with pytest.raises(NodeError) as unknown:
            await node.invoke("a", name)
        assert str(unknown.value) == missing.format(name)
    assert await node.invoke("a", "Echo", "still here") == "still here"


async def test_groups_users_and_all(client: Client, node: NodeDriver) -> None:
    for name, user in (("a", "ann"), ("b", "bob"), ("b2", "bob")):
        await client.connect(name, user)
        await node.on(name, "news")
    for name in ("a", "b"):
        await node.invoke(name, "JoinGroup", "g")
    await node.invoke("a", "JoinGroup", "g")

    await node.invoke("a", "ToGroup", "g", "news", 1, {"x": [2]})
    assert await node.push("a", "news") == [1, {"x": [2]}]
    assert await node.push("b", "news") == [1, {"x": [2]}]
    await node.invoke("a", "ToOthersInGroup", "g", "news", 2)
    assert await node.push("b", "news") == [2]
    await node.invoke("a", "ToUser", "bob", "news", 3)
    assert await node.push("b", "news") == await node.push("b2", "news") == [3]
    await node.invoke("b", "LeaveGroup", "g")
    await node.invoke("a", "ToGroup", "g", "news", 4)
    assert await node.push("a", "news") == [4]
    await node.invoke("a", "ToGroup", "nobody", "news", 5)
    await node.invoke("a", "ToAll", "news", 6)
    for name in ("a", "b", "b2"):
        assert await node.push(name, "news") == [6]
        assert node.seen("push", name) == 0


async def test_clients_of_every_transport_and_format_share_a_group(
    shared_server: Server, node: NodeDriver, combination: Combination
) -> None:
    members = {"a": combination, "json": Combination("WebSockets", "json")}
    members["polling"] = Combination("LongPolling", "messagepack")
    members["events"] = Combination("ServerSentEvents", "json")
    for name, chosen in members.items():
        await Client(node, shared_server, chosen).connect(name, name)
        await node.on(name, "news")
        await node.invoke(name, "JoinGroup", "mixed")
    value = {"text": "ä", "list": [1, 2.5, None, True], "nested": {"big": 2**53 - 1}}
    await node.invoke("a", "ToGroup", "mixed", "news", value)
    for name in members:
        assert await node.push(name, "news") == [value]


async def test_client_results_do_not_block_other_calls(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.on("a", "howLoud", answer=7)
    await node.on("a", "broken", answer={"$throw": "no idea"})
    assert await node.invoke("a", "AskMe", "howLoud", "now") == 7
    assert await node.push("a", "howLoud") == ["now"]
    with pytest.raises(NodeError, match=r"HubException: Error: no idea$"):
        await node.invoke("a", "AskMe", "broken")
    with pytest.raises(NodeError, match=r"HubException: Client didn't provide a result.$"):
        await node.invoke("a", "AskMe", "nobodyListens")
    await node.on("a", "later", answer=["thought", 1], hold=True)
    pending = asyncio.ensure_future(node.invoke("a", "AskMe", "later"))
    await node.push("a", "later")
    assert await node.invoke("a", "Echo", 1) == 1
    assert await node.invoke("a", "AskMe", "howLoud") == 7
    await node.call("release", connection="a", method="later")
    assert await pending == ["thought", 1]


async def test_calls_and_pushes_keep_their_order(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await node.on("a", "hey")
    # A thousand calls in one frame or body, over 32 KiB together, are fine: the limit is per message.
    numbers = list(range(1_000))
    assert await node.call("burst", connection="a", target="Echo", list=[[number] for number in numbers]) == numbers
    calls = [["hey", number, "two", [3]] for number in range(50)]
    assert await node.call("burst", connection="a", target="CallMe", list=calls) == [None] * 50
    for number in range(50):
        assert await node.push("a", "hey") == [number, "two", [3]]


async def test_whoami_tells_the_public_id_and_the_roles(client: Client, node: NodeDriver) -> None:
    connection_id = await client.connect("a")
    me = await node.invoke("a", "Whoami")
    assert me == {"user": "ann", "connection_id": connection_id, "roles": ["clinician"]}


async def test_a_connection_without_negotiation_works(shared_server: Server, node: NodeDriver, protocol: str) -> None:
    client = Client(node, shared_server, Combination("WebSockets", protocol))
    await client.connect("a", skipNegotiation=True)
    assert await node.invoke("a", "Echo", "hi") == "hi"


async def test_a_transport_that_cannot_resume_ignores_the_wish(client: Client, node: NodeDriver) -> None:
    await client.connect("a", stateful=True)
    assert await node.invoke("a", "Echo", "hi") == "hi"


async def test_big_answers_come_whole_and_big_calls_end_the_connection(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    assert await node.invoke("a", "Blob", 1_000_000) == "x" * 1_000_000
    assert await node.invoke("a", "Echo", "y" * 32_000) == "y" * 32_000
    with pytest.raises(NodeError, match=r"Connection closed with an error"):
        await node.invoke("a", "Echo", "z" * 40_000)
    assert "Connection closed with an error" in (await node.event("closed", "a"))["error"]


async def test_abort_closes_without_an_error_and_for_good(client: Client, node: NodeDriver) -> None:
    await client.connect("a", reconnect=True)
    await node.call("send", connection="a", target="Abort", args=[])
    assert (await node.event("closed", "a"))["error"] is None
    assert node.seen("reconnecting", "a") == 0


async def test_a_client_that_stops_is_gone_at_once(client: Client, node: NodeDriver) -> None:
    await client.connect("a")
    await client.connect("b", "bob")
    await node.invoke("a", "JoinGroup", "leaving")
    await node.call("stop", connection="a")
    assert (await node.event("closed", "a"))["error"] is None
    await client.ended("a")
    assert await node.invoke("b", "ToGroup", "leaving", "news") is None


@pytest.mark.parametrize("bad", ["", "garbage", "expired", "altered"])
async def test_bad_tokens_are_refused(shared_server: Server, node: NodeDriver, bad: str) -> None:
    good = await shared_server.token("ann")
    token = {
        "": "",
        "garbage": "garbage",
        "expired": await shared_server.token("ann", expires_in_s=-1),
        "altered": good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
    }[bad]
    settings = {"url": shared_server.url + HUB, "token": token, "protocol": "json"}
    for skip in (False, True):
        with pytest.raises(NodeError, match=r"401|Status code|connect"):
            await node.call("connect", connection="x", skipNegotiation=skip, **settings)
