"""A client that wants no result any more: which calls it can stop, what it is told, and what goes on behind them."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.eventually import eventually
from tests.signaling.by_hand import Client, call, cancel, done, event_reader, items, poller, socket
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rehearsal import Rehearsal

UNEXPECTED = "An unexpected error occurred invoking '{}' on the server."


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> House:
    return await open_house(hub=hub)


def stopped(id_: str, target: str = "Heed") -> dict[str, Any]:
    return {"type": 3, "invocationId": id_, "error": UNEXPECTED.format(target)}


def nothing_is_left(house: House) -> bool:
    return all(session.lanes.stoppable == {} for session in house.parts.hubs[0].sessions.values())


@pytest.mark.parametrize("kind", [socket, event_reader, poller])
async def test_a_stopped_call_fails_and_the_next_one_runs(
    stage: House, hub: Rehearsal, kind: Callable[..., Any]
) -> None:
    async with AsyncExitStack() as streams:
        opened = kind(stage, hub=hub.path)
        client: Client = await (streams.enter_async_context(opened) if kind is event_reader else opened)
        await client.send(call("Heed", "x", id_="a"), call("Echo", "behind", id_="b"))
        await eventually(lambda: hub.notes == ["x began"])
        await client.send(cancel("a"), cancel("a"))
        assert await client.messages(2) == [stopped("a"), {"type": 3, "invocationId": "b", "result": "behind"}]
        assert hub.notes == ["x began", "x ended"]
    assert nothing_is_left(stage)
    labels = {"hub": "rehearsal", "method": "Heed"}
    assert stage.metric("auricle_hub_invocations_total", **labels, outcome="error") == 1
    assert stage.metric("auricle_hub_invocations_total", **labels, outcome="crash") == 0
    assert "crashed" not in stage.log.getvalue()


async def test_a_call_that_does_not_heed_it_answers_as_if_nothing_had_been(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Heed", "obstinate", id_="a"), call("Heed", "next", id_="b"))
    await eventually(lambda: hub.notes == ["obstinate began"])
    await client.send(cancel("a"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "a", "result": "obstinate"}]
    # The one behind it runs in the same task, and is not cancelled with it.
    await eventually(lambda: hub.notes[-1] == "next began")
    hub.gate.set()
    assert await client.messages(1) == [{"type": 3, "invocationId": "b", "result": "next"}]


async def test_a_method_that_is_not_made_for_it_runs_to_its_end(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Wait", 1, id_="a"), call("Gather", id_="b", streams=("s",)), items("s", 1), done("s"))
    await eventually(lambda: len(hub.notes) == 2)
    await client.send(cancel("a"), cancel("b"), call("Tell", "read"))
    hub.gate.set()
    found = {message["invocationId"]: message["result"] for message in await client.messages(2)}
    assert found == {"a": 1, "b": [1]}


async def test_a_call_that_is_stopped_while_it_waits_for_its_turn_never_begins(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Wait", 1, id_="a"), call("Heed", "late", id_="b"), cancel("b"), cancel("never"))
    await eventually(lambda: hub.notes == ["wait 1"])
    hub.gate.set()
    assert await client.messages(2) == [{"type": 3, "invocationId": "a", "result": 1}, stopped("b")]
    # In one frame with the call, too.
    await client.send(call("Heed", "at once", id_="c"), cancel("c"), call("Echo", 2, id_="d"))
    assert await client.messages(2) == [stopped("c"), {"type": 3, "invocationId": "d", "result": 2}]
    assert hub.notes == ["wait 1"]
    assert nothing_is_left(stage)


async def test_a_call_that_asks_its_client_can_be_stopped_while_others_run(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Heed", "asks", id_="a"))
    question = (await client.messages(1))[0]
    await client.send(call("Wait", 2, id_="b"))
    await eventually(lambda: hub.notes[-1] == "wait 2")
    await client.send(cancel("a"))
    assert await client.messages(1) == [stopped("a")]
    # An answer to a question that nobody waits for any more is ignored.
    await client.send(done(question["invocationId"], result="late"))
    hub.gate.set()
    assert (await client.messages(1))[0]["result"] == 2


async def test_a_stopped_upload_fails_and_what_still_comes_of_it_is_ignored(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Linger", "x", id_="a", streams=("s",)), items("s", *range(5)))
    await eventually(lambda: hub.notes == ["x began"])
    await client.send(cancel("a"), items("s", *range(50)), done("s"), call("Echo", 1, id_="e"))
    found = {message["invocationId"]: message for message in await client.messages(2)}
    assert found["a"] == stopped("a", "Linger")
    assert found["e"]["result"] == 1
    assert hub.notes == ["x began", "x ended"]
    assert client.session.streams == {}
    # In one frame with the call it never begins.
    await client.send(call("Linger", "y", id_="b", streams=("t",)), cancel("b"))
    assert await client.messages(1) == [stopped("b", "Linger")]
    assert len(hub.notes) == 2


async def test_of_two_calls_with_one_id_the_first_is_stopped(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Heed", "asks", id_="a"))
    await client.messages(1)
    await client.send(call("Heed", "second", id_="a"))
    await eventually(lambda: hub.notes[-1] == "second began")
    await client.send(cancel("a"))
    assert await client.messages(1) == [stopped("a")]
    await client.send(cancel("a"))
    hub.gate.set()
    assert (await client.messages(1))[0]["result"] == "second"
    assert nothing_is_left(stage)


async def test_a_call_whose_connection_ends_is_stopped_once_and_forgotten(
    open_house: OpenHouse, hub: Rehearsal
) -> None:
    house = await open_house(hub=hub, call_grace_s=0.05)
    client = await socket(house, hub=hub.path)
    await client.send(call("Heed", "x", id_="a"), call("Heed", "never", id_="b"))
    await eventually(lambda: hub.notes == ["x began"])
    await client.frames.close()
    await eventually(lambda: hub.notes == ["x began", "x ended", "disconnected"])
    assert nothing_is_left(house)


async def test_the_same_id_of_another_connection_is_another_call(stage: House, hub: Rehearsal) -> None:
    one, other = await socket(stage, hub=hub.path), await socket(stage, hub=hub.path)
    for client, name in ((one, "one"), (other, "other")):
        await client.send(call("Heed", name, id_="a"))
    await eventually(lambda: sorted(hub.notes) == ["one began", "other began"])
    await one.send(cancel("a"))
    assert await one.messages(1) == [stopped("a")]
    hub.gate.set()
    assert (await other.messages(1))[0]["result"] == "other"


async def test_the_conformance_hub_lets_questions_and_sums_be_stopped(house: House) -> None:
    client = await socket(house)
    await client.send(call("AskMe", "how", id_="a"), call("Sum", id_="b", streams=("s",)))
    await client.messages(1)
    await client.send(cancel("a"), cancel("b"))
    assert sorted(await client.messages(2), key=str) == [stopped("a", "AskMe"), stopped("b", "Sum")]
