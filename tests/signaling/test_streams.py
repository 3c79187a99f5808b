"""Streams to a client: items, cancels, errors, order, back-pressure, bounds, and what a lost connection ends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.eventually import eventually
from tests.signaling.by_hand import Messages, Poller, call, cancel, negotiate, poller, request, socket, stream
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import RawSocket
from tests.signaling.rehearsal import Rehearsal

BROKE = "An error occurred on the server while streaming results."


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> House:
    return await open_house(hub=hub)


async def raw_socket(house: House) -> RawSocket:
    """A client that reads only when it is told to."""
    client = RawSocket(house, await negotiate(house, hub=Rehearsal.path), Rehearsal.path)
    await client.open(narrow=True)
    await client.shake()
    return client


def sent(found: Messages, id_: str) -> list[object]:
    """The items of one stream."""
    return [message["item"] for message in found if message["type"] == 2 and message["invocationId"] == id_]


async def test_items_come_in_order_and_then_a_completion_without_a_result(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    for n in (0, 1, 200):
        await client.send(stream("count", n, id_="a"))
        found = await client.until("a")
        assert sent(found, "a") == list(range(n))
        assert found[-1] == {"type": 3, "invocationId": "a"}


async def test_a_cancel_in_the_same_frame_as_the_call_ends_it_before_it_began(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(stream("Endless", "x", id_="a"), cancel("a"), call("Echo", 1, id_="b"))
    assert sorted(message["invocationId"] for message in await client.messages(2)) == ["a", "b"]
    assert hub.notes == []
    assert client.session.streams == {}


async def test_a_cancelled_stream_cleans_up_and_still_completes(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(stream("Endless", "x", id_="a"))
    assert (await client.messages(1))[0]["item"] == "x"
    await client.send(cancel("a"), cancel("a"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "a"}]
    assert hub.notes == ["x began", "x ended"]
    await client.send(cancel("a"), stream("Count", 1, id_="a"))
    assert sent(await client.until("a"), "a") == [0]


async def test_cancels_of_what_does_not_run_are_ignored(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(cancel("never"), call("Wait", 5, id_="w"), cancel("w"), cancel("\0"))
    await eventually(lambda: hub.notes == ["wait 5"])
    hub.gate.set()
    assert await client.messages(1) == [{"type": 3, "invocationId": "w", "result": 5}]


async def test_an_id_in_use_is_refused_and_what_runs_goes_on(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(stream("Endless", "first", id_="a"), stream("Endless", "second", id_="a"))
    found = await client.messages(2)
    assert {"type": 3, "invocationId": "a", "error": "Invocation ID 'a' is already in use."} in found
    assert sent(found, "a") == ["first"]
    await client.send(cancel("a"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "a"}]
    assert hub.notes == ["first began", "first ended"]


async def test_streams_run_beside_each_other_and_beside_calls_that_wait(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(call("Wait", 1, id_="w"), stream("Endless", "x", id_="a"), stream("Count", 3, id_="b"))
    found = await client.until("b")
    assert (sent(found, "a"), sent(found, "b")) == (["x"], [0, 1, 2])
    await client.send(call("Echo", "behind", id_="e"))
    hub.gate.set()
    assert [message["result"] for message in await client.messages(2)] == [1, "behind"]


async def test_errors_before_and_behind_the_first_item_have_microsofts_words(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    for n in (0, 2):
        for target, detail in (("Fails", " HubException: too loud"), ("Crashes", "")):
            await client.send(stream(target, n, *(["too loud"] if target == "Fails" else []), id_="a"))
            found = await client.until("a")
            assert sent(found, "a") == list(range(n))
            assert found[-1] == {"type": 3, "invocationId": "a", "error": BROKE + detail}
    assert "secret-crash-detail" not in stage.log.getvalue()
    crashed = {"hub": "rehearsal", "method": "Crashes", "outcome": "crash"}
    assert stage.metric("auricle_hub_invocations_total", **crashed) == 2


async def test_calls_of_the_wrong_kind_or_with_wrong_arguments_are_refused(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, hub=hub.path)
    wrong = "Failed to invoke 'Count' due to an error on the server."
    for frame, error in (
        (call("Count", 1, id_="a"), "The client attempted to invoke the streaming 'Count' method with a"
         " non-streaming invocation."),
        (stream("Echo", 1, id_="a"), "The client attempted to invoke the non-streaming 'Echo' method with a streaming"
         " invocation."),
        (stream("Nope", id_="a"), "Failed to invoke 'Nope' due to an error on the server. HubException: Method does"
         " not exist."),
        (stream("Count", id_="a"), wrong),
        (stream("Count", 1, 2, id_="a"), wrong),
        (stream("Count", "1", id_="a"), wrong),
        (stream("Count", 1, id_="a", streams=("s",)), "An unexpected error occurred invoking 'Count' on the server."),
    ):  # fmt: skip
        await client.send(frame)
        assert await client.messages(1) == [{"type": 3, "invocationId": "a", "error": error}]
    assert hub.produced == 0
    assert client.session.streams == {}


async def test_a_method_in_which_something_was_cancelled_still_answers(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    unexpected = "An unexpected error occurred invoking '{}' on the server."
    await client.send(call("GivesUp", id_="a"), call("Echo", 1, id_="e"))
    found = await client.messages(2)
    assert found[0] == {"type": 3, "invocationId": "a", "error": unexpected.format("GivesUp")}
    assert found[1]["result"] == 1
    await client.send(call("GivesUpUpload", id_="a", streams=("s",)))
    assert (await client.messages(1))[0]["error"] == unexpected.format("GivesUpUpload")
    await client.send(stream("GivesUpItems", id_="a"))
    assert (await client.until("a"))[-1] == {"type": 3, "invocationId": "a", "error": BROKE}


async def test_the_policy_stands_before_streams_too(stage: House, hub: Rehearsal) -> None:
    client = await socket(stage, "ann", "clinician", hub=hub.path)
    await client.send(stream("ForPatients", id_="a"))
    assert (await client.messages(1))[0]["error"] == "Failed to invoke 'ForPatients' because user is unauthorized"
    unknown = "An unexpected error occurred invoking 'Mine' on the server. HubException: [not_found] no such owner"
    for owner in ("bob", "nobody", ""):
        await client.send(stream("Mine", {"owner": owner}, id_="a"))
        assert (await client.messages(1))[0]["error"] == unknown
    assert hub.notes == []
    await client.send(stream("Mine", {"owner": "ann"}, id_="a"))
    assert sent(await client.until("a"), "a") == ["ann"]
    patient = await socket(stage, "pat", "patient", hub=hub.path)
    await patient.send(stream("ForPatients", id_="a"))
    assert sent(await patient.until("a"), "a") == [1]
    await patient.send(call("MinePlus", {"owner": "pat"}, id_="b", streams=("s",)))
    assert (await patient.messages(1))[0]["error"] == "Failed to invoke 'MinePlus' because user is unauthorized"
    assert hub.notes == ["mine ann", "for patients"]


async def test_no_more_streams_than_configured(open_house: OpenHouse, hub: Rehearsal) -> None:
    house = await open_house(hub=hub, max_streams=2)
    client = await socket(house, hub=hub.path)
    await client.send(stream("Endless", "x", id_="a"), call("Sum", id_="b", streams=("s",)))
    await client.messages(1)
    error = "HubException: [overloaded] a connection may run at most 2 streams"
    for frame in (stream("Count", 1, id_="c"), call("Sum", id_="c", streams=("t",))):
        await client.send(frame)
        assert (await client.messages(1))[0]["error"].endswith(error)
    assert house.metric("auricle_bound_reached_total", bound="max_streams") == 2
    await client.send(cancel("a"))
    await client.until("a")
    await client.send(stream("Count", 1, id_="c"))
    assert sent(await client.until("c"), "c") == [0]


async def drop(client: RawSocket) -> None:
    client.wire.drop()


async def abort(client: RawSocket) -> None:
    client.session.abort()


async def drain_token(client: RawSocket) -> None:
    client.house.wall.now_s += 3_600
    client.house.sweep()


@pytest.mark.parametrize("ends", [drop, abort, drain_token])
async def test_a_connection_that_ends_ends_its_streams(
    stage: House, hub: Rehearsal, ends: Callable[[RawSocket], Awaitable[None]]
) -> None:
    client = await raw_socket(stage)
    await client.send(stream("Endless", "x", id_="a"), stream("Endless", "y", id_="b"), call("Wait", 1, id_="w"))
    await client.messages(2)
    session = client.session
    await ends(client)
    await eventually(lambda: {"x ended", "y ended"} <= set(hub.notes))
    assert session.streams == {}
    hub.gate.set()
    client.wire.drop()
    await eventually(lambda: stage.app_sessions() == 0)
    # What was asked for before the end is carried out; only then the hub hears of it.
    await eventually(lambda: hub.notes[-1] == "disconnected")
    assert len(session.tasks) == 0


@pytest.mark.parametrize("limit_bytes", [1_048_576, 100_000, 8_000])
async def test_a_client_that_does_not_read_holds_its_streams_back_and_then_gets_all(
    open_house: OpenHouse, hub: Rehearsal, limit_bytes: int
) -> None:
    house = await open_house(hub=hub, max_send_queue_bytes=limit_bytes)
    client = await raw_socket(house)
    n, size = 1_000, 5_000
    await client.send(stream("Chunks", n, size, id_="a"), stream("Chunks", n, size, id_="b"))
    session = client.session
    await eventually(lambda: session._outbox.congested)
    before = -1
    while before != hub.produced:
        before = hub.produced
        await asyncio.sleep(0.02)  # a generator that is not held back would produce hundreds meanwhile
    assert session.transport.waiting_bytes <= limit_bytes + 2 * size
    assert hub.produced < n
    ended, items = set[str](), 0
    while len(ended) < 2:
        for message in await client.messages(1):
            items += message["type"] == 2
            if message["type"] == 3:
                assert "error" not in message
                ended.add(message["invocationId"])
    assert items == 2 * n
    assert house.app_sessions() == 1


async def test_a_stream_that_is_held_back_can_be_cancelled_and_cleans_up_first(stage: House, hub: Rehearsal) -> None:
    client = await raw_socket(stage)
    await client.send(stream("Chunks", 1_000, 10_000, id_="a"))
    session = client.session
    await eventually(lambda: session._outbox.congested)
    await client.send(cancel("a"))
    await eventually(lambda: session.streams == {})
    assert hub.notes == ["chunks ended"]
    assert (await client.until("a"))[-1] == {"type": 3, "invocationId": "a"}


async def test_a_question_to_a_client_that_leaves_is_an_error_at_once(stage: House, hub: Rehearsal) -> None:
    client = await raw_socket(stage)
    await client.send(call("Ask", "how loud", id_="a"))
    await client.messages(1)
    await client.send(call("AskLater", "how loud", id_="b"))
    client.wire.drop()
    gone = f"ask: Connection '{client.ticket.connection_id}' disconnected."
    await eventually(lambda: hub.notes == [gone])
    hub.gate.set()
    await eventually(lambda: hub.notes == [gone, gone, "disconnected"])


async def test_a_client_that_does_not_poll_holds_its_streams_back_too(stage: House, hub: Rehearsal) -> None:
    client = await poller(stage, hub=hub.path)
    await client.send(stream("Chunks", 500, 10_000, id_="a"))
    await eventually(lambda: client.session._outbox.congested)
    await request(stage, "POST", f"{hub.path}/negotiate")
    assert hub.produced * 10_000 < 1_048_576
    assert isinstance(client, Poller)
    assert len(sent(await client.until("a"), "a")) == 500


async def test_a_generator_that_never_waits_leaves_the_others_their_turn(stage: House, hub: Rehearsal) -> None:
    greedy, other = await socket(stage, hub=hub.path), await socket(stage, "bob", hub=hub.path)
    await greedy.send(stream("Count", 100_000, id_="a"))
    await eventually(lambda: hub.produced)
    await other.send(call("Echo", 1, id_="e"))
    await other.messages(1)
    assert hub.produced < 100_000
    await greedy.send(cancel("a"))
    await greedy.until("a")


async def test_the_conformance_hub_counts(house: House) -> None:
    client = await socket(house)
    await client.send(stream("Count", 3, 0.5, id_="a"))
    assert sent(await client.until("a"), "a") == [0, 1, 2]
    await client.send(stream("Count", -1, 0, id_="b"))
    assert "negative" in (await client.messages(1))[0]["error"]
    await client.send(stream("Count", 10**9, 10**6, id_="c"))
    assert (await client.messages(1))[0]["item"] == 0
    await client.send(cancel("c"))
    assert await client.messages(1) == [{"type": 3, "invocationId": "c"}]
