"""Streams from a client: items and their end, refusals, back-pressure on the whole connection, and lost connections."""

import asyncio

import pytest

from tests.eventually import eventually
from tests.signaling.by_hand import PATIENCE_S, call, cancel, done, items, negotiate, socket, stream
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import RawSocket
from tests.signaling.rehearsal import Rehearsal

UNEXPECTED = "An unexpected error occurred invoking '{}' on the server."


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> House:
    return await open_house(hub=hub)


async def test_the_conformance_hub_sums(house: House) -> None:
    client = await socket(house)
    for numbers in ([], [1], [1, 2.5, -3]):
        await client.send(call("Sum", id_="a", streams=("s",)), items("s", *numbers), done("s"))
        assert await client.messages(1) == [{"type": 3, "invocationId": "a", "result": sum(numbers)}]
    await client.send(call("sum", id_="a", streams=("s",)))
    for number in range(30):
        await client.send(items("s", number))
    await client.send(done("s"))
    assert (await client.messages(1))[0]["result"] == sum(range(30))
    await client.send(call("Sum", id_="a", streams=("s",)), items("s", 1), done("s", error="changed my mind"))
    error = UNEXPECTED.format("Sum") + " HubException: changed my mind"
    assert await client.messages(1) == [{"type": 3, "invocationId": "a", "error": error}]
    await client.send(call("Sum", streams=("s",)), items("s", 1), done("s"), call("Echo", "quiet", id_="e"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "e", "result": "quiet"}]


async def test_an_item_that_does_not_fit_fails_its_call_and_nothing_else(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    await client.send(
        call("Sum", id_="a", streams=("s",)),
        call("Sum", id_="b", streams=("t",)),
        items("s", 1, "two", 3),
        items("t", 4),
        done("s"),
        done("t"),
    )
    found = {message["invocationId"]: message for message in await client.messages(2)}
    assert found["a"]["error"] == f"{UNEXPECTED.format('Sum')} HubException: Failed to bind Stream message."
    assert found["b"]["result"] == 4


async def test_another_number_of_streams_than_the_method_takes_is_an_error(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    for streams in ((), ("s", "t")):
        await client.send(call("Sum", id_="a", streams=streams), items("s", 1))
        assert await client.messages(1) == [{"type": 3, "invocationId": "a", "error": UNEXPECTED.format("Sum")}]
    assert "call_crashed" not in stage.log.getvalue()
    await client.send(call("Sum", id_="a", streams=("s",)), call("Sum", id_="b", streams=("s",)))
    assert await client.messages(1) == [{"type": 3, "invocationId": "b", "error": UNEXPECTED.format("Sum")}]
    await client.send(items("s", 7), done("s"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "a", "result": 7}]
    await client.send(call("Pair", "both", id_="c", streams=("s", "s")))
    assert await client.messages(1) == [{"type": 3, "invocationId": "c", "error": UNEXPECTED.format("Pair")}]


async def test_streams_and_arguments_come_in_the_order_of_the_parameters(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    await client.send(call("Pair", "and", id_="a", streams=("l", "r")))
    await client.send(items("r", "x"), items("l", 1, 2), done("r"), items("l", 3), done("l"))
    assert (await client.messages(1))[0]["result"] == ["and", [1, 2, 3], ["x"]]
    await client.send(call("Pair", id_="b", streams=("l", "r")), items("l", 1))
    assert (await client.messages(1))[0]["error"] == "Failed to invoke 'Pair' due to an error on the server."


async def test_items_and_ends_of_unknown_streams_are_ignored(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    await client.send(
        items("nobody", 1, "x", None), done("nobody"), done("nobody", error="x"), call("Echo", 1, id_="e")
    )
    assert await client.messages(1) == [{"type": 3, "invocationId": "e", "result": 1}]
    await client.send(items("s", 100), call("Sum", id_="a", streams=("s",)), items("s", 1), done("s"), items("s", 100))
    assert await client.messages(1) == [{"type": 3, "invocationId": "a", "result": 1}]


async def test_a_full_upload_stops_the_reading_of_the_connection_and_then_it_goes_on(
    stage: House, hub: Rehearsal
) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Gather", id_="a", streams=("s",)), items("s", *range(9)), call("Tell", "nine"))
    await eventually(lambda: sorted(hub.notes) == ["gather waits", "nine"])
    await client.send(items("s", 9), call("Tell", "ten"), items("s", *range(10, 1_000)))
    await client.send(done("s"), call("Tell", "end"))
    bound = {"bound": "upload_buffer_items"}
    await eventually(lambda: stage.metric("auricle_bound_reached_total", **bound) == 1)
    assert "ten" not in hub.notes
    hub.gate.set()
    assert (await client.messages(1))[0]["result"] == list(range(1_000))
    assert hub.notes[2:] == ["ten", "end", "gathered 1000"]
    await client.send(call("Echo", 1, id_="e"))
    assert (await client.messages(1))[0]["result"] == 1


async def test_a_client_that_leaves_while_it_is_not_read_is_noticed_by_our_pings(stage: House, hub: Rehearsal) -> None:
    client = RawSocket(stage, await negotiate(stage, hub=hub.path), hub.path)
    await client.open()
    await client.shake()
    await client.send(call("Gather", id_="a", streams=("s",)), items("s", *range(20)))
    bound = {"bound": "upload_buffer_items"}
    await eventually(lambda: stage.metric("auricle_bound_reached_total", **bound) == 1)
    client.wire.drop()
    async with asyncio.timeout(PATIENCE_S):
        while stage.app_sessions():
            stage.monotonic.now_s += 15
            stage.sweep()
            await asyncio.sleep(0.001)  # sleep: the kernel tells of the other end when it has something to send
    hub.gate.set()
    await eventually(lambda: hub.notes[-1] == "disconnected")


@pytest.mark.parametrize("taken", [0, 3, 10])
async def test_a_method_that_ends_early_ignores_the_rest_and_reading_goes_on(
    stage: House, hub: Rehearsal, taken: int
) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("First", taken, id_="a", streams=("s",)), items("s", *range(50)), done("s"))
    assert (await client.messages(1))[0]["result"] == list(range(taken))
    await client.send(items("s", 1), call("Echo", "on", id_="e"))
    assert (await client.messages(1))[0]["result"] == "on"
    await client.send(call("Sum", id_="b", streams=("s",)), items("s", 5), done("s"))
    assert (await client.messages(1))[0]["result"] == 5
    assert not client.session.flow.stopped


async def test_two_full_uploads_of_which_one_goes_on_keep_the_connection_stopped(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(
        call("Gather", id_="a", streams=("s",)),
        call("First", 0, id_="b", streams=("t",)),
        items("s", *range(10)),
        items("t", *range(20)),
        call("Tell", "through"),
    )
    assert (await client.messages(1))[0]["invocationId"] == "b"
    assert "through" not in hub.notes
    hub.gate.set()
    await eventually(lambda: "through" in hub.notes)
    await client.send(done("s"))
    assert (await client.messages(1))[0]["result"] == list(range(10))


async def test_a_stream_may_be_made_of_a_stream(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    await client.send(stream("Double", id_="a", streams=("s",)))
    for number in range(100):
        await client.send(items("s", number))
        assert (await client.messages(1))[0]["item"] == 2 * number
    await client.send(items("s", "x"))
    broke = "An error occurred on the server while streaming results. HubException: Failed to bind Stream message."
    assert (await client.messages(1))[0]["error"] == broke
    await client.send(stream("Double", id_="b", streams=("s",)), items("s", 1), cancel("b"), items("s", 2), done("s"))
    assert (await client.until("b"))[-1] == {"type": 3, "invocationId": "b"}
    await client.send(stream("Double", id_="c", streams=("s",)), items("s", *range(500)), done("s"))
    assert [message.get("item") for message in await client.until("c")] == [*range(0, 1_000, 2), None]


async def test_a_lost_connection_ends_its_uploads_with_an_error(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Sum", id_="a", streams=("s",)), items("s", 1), call("Tell", "here"))
    await eventually(lambda: "here" in hub.notes)
    session = client.session
    await client.frames.close()
    await eventually(lambda: hub.notes[-1] == "disconnected")
    assert hub.notes[-2] == f"sum: Connection '{client.ticket.connection_id}' disconnected."
    assert len(session.tasks) == 0
    assert session.streams == {}


async def test_an_upload_that_was_complete_is_carried_out_when_its_sender_has_gone(
    stage: House, hub: Rehearsal
) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Gather", id_="a", streams=("s",)), items("s", 1, 2, 3), done("s"))
    await eventually(lambda: hub.notes == ["gather waits"])
    await client.frames.close()
    await eventually(lambda: stage.app_sessions() == 0)
    hub.gate.set()
    await eventually(lambda: hub.notes == ["gather waits", "gathered 3", "disconnected"])


async def test_a_lost_connection_ends_a_full_upload_too(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Gather", id_="a", streams=("s",)), items("s", *range(100)))
    bound = {"bound": "upload_buffer_items"}
    await eventually(lambda: stage.metric("auricle_bound_reached_total", **bound) == 1)
    session = client.session
    session.abort()
    found, code = await client.rest()
    assert (found, code) == ([{"type": 7}], 1000)
    await eventually(lambda: stage.app_sessions() == 0)
    hub.gate.set()
    await eventually(lambda: hub.notes[-1] == "disconnected")
    assert len(session.tasks) == 0
    await asyncio.sleep(0)  # what the end of the flow may have scheduled
