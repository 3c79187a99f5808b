"""What runs on a connection goes on over the loss of its socket, and full buffers hold it back without an end."""

import asyncio
import json

import pytest

from protocol.signalr.codec import ProtocolName
from protocol.signalr.messages import CancelInvocation, Completion, Invocation
from tests.eventually import eventually
from tests.protocol.websocket.client import TEXT, frame
from tests.signaling.by_hand import call, socket
from tests.signaling.conftest import House, OpenHouse, signalr_core
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.returning import answer_to, client_of, detached

PROTOCOLS: tuple[ProtocolName, ...] = ("json", "messagepack")
both = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> House:
    return await open_house(hub=hub)


async def test_running_streams_go_on_where_they_were(stage: House) -> None:
    client = await client_of(stage)
    await client.stream("Chunks", 60, 4_000, id_="a")
    found = 0
    for lost_after in (5, 20, 40):
        while found < lost_after:
            await client.item()
            found += 1
        client.acknowledge()
        await detached(client)
        await client.resume()
    while found < 60:
        await client.item()
        client.acknowledge()
        found += 1
    assert isinstance(await client.next(), Completion)


async def test_a_stream_can_be_cancelled_by_a_client_that_was_away(stage: House, hub: Rehearsal) -> None:
    client = await client_of(stage)
    await client.stream("Endless", "x", id_="a")
    await client.item()
    await detached(client)
    await client.send(CancelInvocation("a"))
    assert hub.notes == ["x began"]
    await client.resume()
    assert isinstance(await client.next(), Completion)
    assert hub.notes == ["x began", "x ended"]


async def test_uploads_go_on_where_they_were(stage: House) -> None:
    client = await client_of(stage)
    await client.call("Sum", id_="a", streams=("s",))
    await client.upload("s", 1, 2)
    await detached(client)
    await client.upload("s", 4)
    await client.resume()
    await client.upload("s", 8)
    # Taken over unseen: what was on its way is sent again, and counted once.
    await client.resume()
    await client.upload("s", 16)
    await client.send(Completion("s"))
    assert await client.result("a") == 31


async def test_a_full_upload_stays_full_over_the_loss_and_nothing_is_lost(stage: House, hub: Rehearsal) -> None:
    client = await client_of(stage)
    await client.call("Gather", id_="a", streams=("s",))
    await client.upload("s", *range(15))
    bound = {"bound": "upload_buffer_items"}
    await eventually(lambda: stage.metric("auricle_bound_reached_total", **bound) == 1)
    await client.upload("s", *range(15, 30))
    await client.resume()
    await client.upload("s", *range(30, 40))
    await client.send(Completion("s"))
    core = signalr_core(client.house.session(client.ticket.connection_id))
    assert core._resume is not None
    await eventually(lambda: core._resume.awaits_sequence is False)  # type: ignore[union-attr]  # it has one
    for _ in range(3):
        stage.monotonic.now_s += 14
        stage.sweep()
    hub.gate.set()
    assert await client.result("a") == list(range(40))


async def test_nothing_is_acknowledged_while_an_upload_is_full(stage: House, hub: Rehearsal) -> None:
    client = await client_of(stage)
    await client.call("Gather", id_="a", streams=("s",))
    await client.upload("s", *range(15))
    bound = {"bound": "upload_buffer_items"}
    await eventually(lambda: stage.metric("auricle_bound_reached_total", **bound) == 1)
    for _ in range(3):
        stage.monotonic.now_s += 1.1
        stage.sweep()
    await client.send(Completion("s"))
    hub.gate.set()
    # An Ack, had there been one, would have come first.
    assert await client.wire.frame() == (TEXT, b'{"type":3,"invocationId":"a","result":%s}\x1e' % b_list(15))
    stage.monotonic.now_s += 1.1
    stage.sweep()
    assert await client.wire.frame() == (TEXT, b'{"type":8,"sequenceId":17}\x1e')


def b_list(n: int) -> bytes:
    return json.dumps(list(range(n)), separators=(",", ":")).encode()


async def test_a_question_is_answered_after_the_socket_was_lost(stage: House) -> None:
    client = await client_of(stage)
    await client.call("Ask", "how loud", id_="1")
    question = await client.next()
    assert isinstance(question, Invocation)
    assert question.invocation_id is not None
    await detached(client)
    await client.send(Completion(question.invocation_id, "quiet"))
    await client.resume()
    assert await client.result("1") == "quiet"
    await client.call("Ask", "and now", id_="2")
    await client.resume()
    again = await client.next()
    assert isinstance(again, Invocation)
    assert again.invocation_id not in (None, question.invocation_id)
    await client.send(Completion(again.invocation_id or "", "loud"))
    assert await client.result("2") == "loud"


async def test_unacknowledged_bytes_hold_streams_back_until_an_ack(stage: House, hub: Rehearsal) -> None:
    client = await client_of(stage)
    size = 10_000
    await client.stream("Chunks", 50, size, id_="a")
    for _ in range(10):
        await client.item()
    await eventually(lambda: client.house.session(client.ticket.connection_id)._outbox.congested)
    # The queue in front of the buffer for resending is a quarter of its bound.
    assert hub.produced <= 1_048_576 // 4 // size + 2
    for _ in range(40):
        client.acknowledge()
        await client.item()
    assert isinstance(await client.next(), Completion)


async def test_a_stream_made_of_a_stream_moves_on_over_full_buffers(stage: House) -> None:
    client = await client_of(stage)
    await client.stream("Swell", id_="a", streams=("s",))
    size, n = 6_000, 60

    async def tick() -> None:
        while True:
            stage.monotonic.now_s += 1.1
            stage.sweep()
            client.acknowledge()
            await asyncio.sleep(0.01)  # sleep: the clocks of both ends move, as they would

    for _ in range(n):
        await client.upload("s", size)
    await client.send(Completion("s"))
    ticking = asyncio.create_task(tick())
    try:
        assert [await client.item() for _ in range(n)] == ["x" * size] * n
    finally:
        ticking.cancel()


@pytest.mark.parametrize("away", [True, False])
async def test_what_is_sent_to_one_who_is_away_or_never_acknowledges_is_bounded(
    open_house: OpenHouse, hub: Rehearsal, away: bool
) -> None:
    house = await open_house(hub=hub, max_send_queue_bytes=50_000)
    client = await client_of(house)
    await client.call("Join", "g", id_="1")
    await client.result("1")
    session = house.session(client.ticket.connection_id)
    if away:
        await detached(client)
    loud = await socket(house, hub=hub.path)
    told = 0
    while not house.metric("auricle_bound_reached_total", bound="max_send_queue_bytes"):
        await loud.send(call("Shout", "g", "x" * 5_000, 1, id_="1"))
        await loud.messages(1)
        told += 1
        assert told < 100
    # What waits for an Ack, what waits behind that, and the message that was too much.
    assert 150_000 <= told * 5_000 <= 170_000
    assert session.is_ending
    assert await answer_to(client) == 404
    await eventually(lambda: house.app_sessions() == 1)
    assert '"cause": "slow_consumer"' in house.log.getvalue()


async def test_a_client_that_sends_on_without_acks_is_read_up_to_a_bound(open_house: OpenHouse, hub: Rehearsal) -> None:
    house = await open_house(hub=hub, max_waiting_bytes=20_000)
    client = await client_of(house)
    await client.call("Gather", id_="a", streams=("s",))
    item = b'{"type":2,"invocationId":"s","item":1,"headers":{"x":"' + b"y" * 10_000 + b'"}}\x1e'
    session = house.session(client.ticket.connection_id)
    sent, is_held_up = 0, False
    while not is_held_up:
        assert sent < 2_000
        client.wire.send(frame(TEXT, item))
        sent += 1
        try:
            async with asyncio.timeout(0.2):
                await client.wire.writer.drain()
        except TimeoutError:
            # Or was it the machine?
            is_held_up = session._parked is not None and session._parked.size_bytes > 20_000
    assert session._parked is not None
    # What asyncio reads at a time comes on top.
    assert 20_000 < session._parked.size_bytes <= 20_000 + 2**18 + len(item)
    hub.gate.set()
    client.wire.send(frame(TEXT, b'{"type":3,"invocationId":"s"}\x1e'))
    assert await client.result("a") == [1] * sent
