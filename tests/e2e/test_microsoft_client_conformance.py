"""Microsoft's JavaScript client against the conformance hub over WebSockets: calls, errors, pushes, results."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node_client import NodeDriver, NodeError, binary
from tests.running import Server, server

PATH = "/hubs/conformance"
Connect = Callable[..., Awaitable[str]]


@pytest.fixture(params=["json", "messagepack"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def connect(shared_server: Server, node: NodeDriver, protocol: str) -> Connect:
    tokens: dict[str, str] = {}

    async def connect(connection: str, user: str = "ann", **options: Any) -> str:
        if user not in tokens:
            tokens[user] = await shared_server.token(user, "clinician")
        settings = {"protocol": protocol, "token": tokens[user]} | options
        url = shared_server.url + PATH
        return str(await node.call("connect", connection=connection, url=url, **settings))

    return connect


async def test_values_pass_through_untouched(connect: Connect, node: NodeDriver, protocol: str) -> None:
    await connect("a")
    values: list[Any] = [None, True, 0, -1, 2**53 - 1, 1.5, "", "ä\u2028😀", [], {}, {"a": [1, {"b": None}]}]
    for value in values:
        assert await node.invoke("a", "Echo", value) == value
    if protocol == "messagepack":
        assert await node.invoke("a", "Echo", binary(b"\x00\xff\x1e")) == binary(b"\x00\xff\x1e")
        date = {"$date": "2026-01-31T09:30:00.250Z"}
        assert await node.invoke("a", "Echo", date) == date


async def test_names_are_matched_without_case_and_arguments_are_counted(connect: Connect, node: NodeDriver) -> None:
    await connect("a")
    assert await node.invoke("a", "aDD", 2, 40) == 42
    for wrong in ([1], [1, 2, 3], [1, "2"], [1, None], [True, 1]):
        with pytest.raises(NodeError, match=r"^Failed to invoke 'Add' due to an error on the server.$"):
            await node.invoke("a", "Add", *wrong)


async def test_errors_carry_microsofts_texts_and_nothing_else(connect: Connect, node: NodeDriver) -> None:
    await connect("a")
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


async def test_a_plain_method_called_as_a_stream_says_so(connect: Connect, node: NodeDriver) -> None:
    await connect("a")
    with pytest.raises(NodeError, match=r"non-streaming 'Echo' method with a streaming invocation"):
        await node.call("stream", connection="a", target="Echo", args=[1])


async def test_groups_users_and_all(connect: Connect, node: NodeDriver) -> None:
    for name, user in (("a", "ann"), ("b", "bob"), ("b2", "bob")):
        await connect(name, user)
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
        assert node.seen(name, "news") == 0


async def test_a_json_and_a_messagepack_client_share_a_group(connect: Connect, node: NodeDriver, protocol: str) -> None:
    await connect("a")
    await connect("other", "bob", protocol="messagepack" if protocol == "json" else "json")
    for name in ("a", "other"):
        await node.on(name, "news")
        await node.invoke(name, "JoinGroup", "mixed")
    value = {"text": "ä", "list": [1, 2.5, None, True], "nested": {"big": 2**53 - 1}}
    await node.invoke("a", "ToGroup", "mixed", "news", value)
    assert await node.push("a", "news") == await node.push("other", "news") == [value]


async def test_client_results_do_not_block_other_calls(connect: Connect, node: NodeDriver) -> None:
    await connect("a")
    await node.on("a", "howLoud", answer=7)
    await node.on("a", "broken", answer={"$throw": "no idea"})
    assert await node.invoke("a", "AskMe", "howLoud", "now") == 7
    assert await node.push("a", "howLoud") == ["now"]
    with pytest.raises(NodeError, match=r"HubException: Error: no idea$"):
        await node.invoke("a", "AskMe", "broken")
    with pytest.raises(NodeError, match=r"HubException: Client didn't provide a result.$"):
        await node.invoke("a", "AskMe", "nobodyListens")
    answers = await asyncio.gather(
        node.invoke("a", "AskMe", "howLoud"), node.invoke("a", "Echo", 1), node.invoke("a", "AskMe", "howLoud")
    )
    assert list(answers) == [7, 1, 7]


async def test_call_me_pushes_to_the_caller(connect: Connect, node: NodeDriver) -> None:
    await connect("a")
    await node.on("a", "hey")
    assert await node.invoke("a", "CallMe", "hey", 1, "two", [3]) is None
    assert await node.push("a", "hey") == [1, "two", [3]]


async def test_whoami_tells_the_public_id_and_the_roles(connect: Connect, node: NodeDriver) -> None:
    connection_id = await connect("a")
    me = await node.invoke("a", "Whoami")
    assert me == {"user": "ann", "connection_id": connection_id, "roles": ["clinician"]}


async def test_a_connection_without_negotiation_works(connect: Connect, node: NodeDriver) -> None:
    await connect("a", skipNegotiation=True)
    assert await node.invoke("a", "Echo", "hi") == "hi"


async def test_big_answers_come_whole_and_big_calls_end_the_connection(connect: Connect, node: NodeDriver) -> None:
    await connect("a")
    assert await node.invoke("a", "Blob", 1_000_000) == "x" * 1_000_000
    assert await node.invoke("a", "Echo", "y" * 32_000) == "y" * 32_000
    # A thousand calls in one frame are fine: the limit is per message.
    assert await asyncio.gather(*(node.invoke("a", "Echo", i) for i in range(1_000))) == list(range(1_000))
    with pytest.raises(NodeError, match=r"Connection closed with an error"):
        await node.invoke("a", "Echo", "z" * 40_000)


async def test_abort_closes_without_an_error(connect: Connect, node: NodeDriver) -> None:
    await connect("a", reconnect=True)
    await node.call("send", connection="a", target="Abort", args=[])
    assert (await node.event("closed", "a"))["error"] is None


async def test_a_stopping_server_asks_clients_to_come_back(node: NodeDriver, protocol: str, tmp_path: Path) -> None:
    async with server(tmp_path, "--conformance") as own:
        settings = {"url": own.url + PATH, "token": await own.token("ann"), "protocol": protocol}
        await node.call("connect", connection="a", reconnect=True, **settings)
        await node.call("connect", connection="b", **settings)
        assert await own.terminate() == 0
        await node.event("reconnecting", "a")
        assert "shutting down" in (await node.event("closed", "b"))["error"]
        assert '"stopped"' in own.log_text


@pytest.mark.parametrize("bad", ["", "garbage", "expired", "altered"])
async def test_bad_tokens_are_refused(shared_server: Server, node: NodeDriver, protocol: str, bad: str) -> None:
    good = await shared_server.token("ann")
    token = {
        "": "",
        "garbage": "garbage",
        "expired": await shared_server.token("ann", expires_in_s=-1),
        "altered": good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
    }[bad]
    for skip in (False, True):
        with pytest.raises(NodeError, match=r"401|Status code|connect"):
            await node.call(
                "connect",
                connection="x",
                url=shared_server.url + PATH,
                token=token,
                protocol=protocol,
                skipNegotiation=skip,
            )
