"""Stateful reconnect over real sockets: what survives a lost one, who may come back, until when, which bounds hold."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest

from protocol.signalr.codec import ProtocolName
from protocol.signalr.events import PeerClosed
from protocol.signalr.messages import Close, Completion
from signaling.server import drain
from tests.eventually import eventually
from tests.protocol.websocket.client import TEXT, close, frame
from tests.signaling.by_hand import HELLO, HUB, PATIENCE_S, call, event_reader, negotiate, poller, socket
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import Wire, dial, open_wire, upgrade
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.returning import Returning, answer_to, client_of, detached

PROTOCOLS: tuple[ProtocolName, ...] = ("json", "messagepack")
both = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> House:
    return await open_house(hub=hub)


@both
async def test_calls_and_their_results_survive_a_lost_socket(
    stage: House, hub: Rehearsal, protocol: ProtocolName
) -> None:
    client = await client_of(stage, protocol=protocol)
    await client.call("Echo", "before", id_="1")
    assert await client.result("1") == "before"
    await client.call("Wait", 2, id_="2")
    await eventually(lambda: hub.notes == ["wait 2"])
    await detached(client)
    hub.gate.set()
    await client.call("Echo", "into the void", id_="3")
    await client.resume()
    assert await client.result("2") == 2
    assert await client.result("3") == "into the void"
    await client.call("Echo", "after", id_="4")
    assert await client.result("4") == "after"
    assert stage.app_sessions() == 1


@both
async def test_a_new_socket_takes_over_while_the_old_one_looks_alive(stage: House, protocol: ProtocolName) -> None:
    client = await client_of(stage, protocol=protocol)
    old = client.wire
    await client.call("Echo", "unread", id_="1")
    await client.resume()
    with contextlib.suppress(ConnectionResetError):
        await old.ended()
    assert await client.result("1") == "unread"
    await client.call("Echo", "on the new one", id_="2")
    assert await client.result("2") == "on the new one"
    assert stage.app_sessions() == 1


async def test_of_two_that_come_back_the_newest_wins(stage: House) -> None:
    client = await client_of(stage)
    await detached(client)
    loser = await open_wire(stage, client.path)
    await client.resume()
    with contextlib.suppress(ConnectionResetError):
        await loser.ended()
    await client.call("Echo", 1, id_="1")
    assert await client.result("1") == 1


async def test_a_plain_connection_is_409_while_it_lives_and_404_afterwards(house: House) -> None:
    plain = await socket(house)
    agreed = await negotiate(house, stateful=True)
    wire = await open_wire(house, f"{HUB}?id={agreed.token}")
    # Agreed on, but the handshake of version 1 switches it off.
    wire.send(frame(TEXT, HELLO))
    assert await wire.frame() == (TEXT, b"{}\x1e")
    probe = await client_of(house)
    for path in (plain.path, f"{HUB}?id={agreed.token}"):
        probe.path = path
        assert await answer_to(probe) == 409
    wire.drop()
    await plain.frames.close()
    await eventually(lambda: house.app_sessions() == 1)
    for path in (plain.path, f"{HUB}?id={agreed.token}"):
        probe.path = path
        assert await answer_to(probe) == 404


async def test_stateful_reconnect_is_not_agreed_unless_asked_for_and_allowed(open_house: OpenHouse) -> None:
    house = await open_house(stateful_reconnect=False)
    for query in ("negotiateVersion=1&useStatefulReconnect=true", "useStatefulReconnect=true"):
        async with house.http.post(f"{house.url}{HUB}/negotiate?{query}", headers=house.bearer()) as answer:
            assert "useStatefulReconnect" not in await answer.json()


async def test_who_does_not_come_back_in_time_is_gone(stage: House, hub: Rehearsal) -> None:
    client = await client_of(stage)
    await client.stream("Endless", "x", id_="a")
    await client.item()
    await detached(client)
    stage.monotonic.now_s += 14.9
    stage.sweep()
    assert stage.app_sessions() == 1
    assert hub.notes == ["x began"]
    stage.monotonic.now_s += 0.2
    stage.sweep()
    assert stage.app_sessions() == 0
    assert await answer_to(client) == 404
    await eventually(lambda: hub.notes == ["x began", "x ended", "disconnected"])
    assert '"cause": "resume_timeout"' in stage.log.getvalue()


async def test_who_comes_back_without_a_sequence_is_gone_too(stage: House) -> None:
    client = await client_of(stage)
    await detached(client)
    wire = await open_wire(stage, client.path)
    stage.monotonic.now_s += 15.1
    stage.sweep()
    assert await wire.close_code() == 1000
    wire.drop()
    await eventually(lambda: stage.app_sessions() == 0)


async def says_close(client: Returning) -> None:
    await client.send(Close())


async def sends_a_close_frame(client: Returning) -> None:
    client.wire.send(close(1000))


async def breaks_a_frame(client: Returning) -> None:
    client.wire.send(b"\x81\x01x")


async def is_aborted(client: Returning) -> None:
    await client.call("Abort")


async def jumps_ahead(client: Returning) -> None:
    await client.resume(between=None)
    client.wire.send(frame(TEXT, b'{"type":9,"sequenceId":99}\x1e'))


@pytest.mark.parametrize("goodbye", [says_close, sends_a_close_frame, breaks_a_frame, is_aborted, jumps_ahead])
async def test_after_a_goodbye_nobody_comes_back(stage: House, goodbye: Callable[[Returning], Awaitable[None]]) -> None:
    client = await client_of(stage)
    await goodbye(client)
    await client.wire.close_code()
    assert await answer_to(client) == 404
    client.wire.drop()
    await eventually(lambda: stage.app_sessions() == 0)
    assert await answer_to(client) == 404


async def test_nobody_comes_back_as_somebody_else(stage: House) -> None:
    client = await client_of(stage, "ann")
    for state in ("alive", "detached"):
        assert await answer_to(client, "bob") == 404, state
        if state == "alive":
            await client.call("Echo", state, id_=state)
            assert await client.result(state) == state
            await detached(client)
    stage.wall.now_s += 3_601
    late = stage.token(expires_in_s=-1)
    async with stage.http.get(f"{stage.url}{client.path}&access_token={late}") as answer:
        assert answer.status == 401
    assert stage.app_sessions() == 1


async def test_the_roles_of_the_returning_token_count_from_then_on(stage: House) -> None:
    client = await client_of(stage, "ann", "clinician")
    await client.stream("ForPatients", id_="1")
    assert "unauthorized" in await client.error()
    await detached(client)
    await client.resume("ann", "patient")
    await client.stream("ForPatients", id_="2")
    assert await client.item() == 1
    assert isinstance(await client.next(), Completion)
    await client.resume("ann", "clinician")
    await client.stream("ForPatients", id_="3")
    assert "unauthorized" in await client.error()


async def test_the_end_of_the_returning_token_counts_too(stage: House) -> None:
    client = await client_of(stage)
    await detached(client)
    stage.wall.now_s += 3_000
    await client.resume()
    stage.wall.now_s += 3_000
    stage.sweep()
    await client.call("Echo", "still here", id_="1")
    assert await client.result("1") == "still here"
    await detached(client)
    stage.wall.now_s += 600
    stage.sweep()
    assert stage.app_sessions() == 0
    assert await answer_to(client) == 404


@both
async def test_groups_and_broadcasts_survive_in_order_and_once(stage: House, protocol: ProtocolName) -> None:
    client = await client_of(stage, protocol=protocol)
    await client.call("Join", "g", id_="1")
    await client.result("1")
    senders = [await socket(stage, "bob", hub=Rehearsal.path), await poller(stage, "cem", hub=Rehearsal.path)]
    luck, heard, told = random.Random(7), list[object](), 0
    for turn in range(12):
        for sender in senders:
            for _ in range(3):
                await sender.send(call("Shout", "g", f"word {told}", 1, id_=str(told)))
                await sender.messages(1)
                told += 1
        if turn % 4 == 1:
            await detached(client)
        elif turn % 4 == 2:
            await client.resume()
        elif turn % 4 == 3 and luck.random() < 0.5:
            # Read a part, then leave without the server knowing.
            heard += [(await client.heard())[0] for _ in range(2)]
            await client.resume()
            client.acknowledge()
    while len(heard) < told:
        heard += await client.heard()
    assert heard == [f"word {number}" for number in range(told)]
    await client.call("Echo", "end", id_="e")
    assert await client.result("e") == "end"


async def test_a_drain_ends_those_who_are_away_at_once(stage: House) -> None:
    gone, here = await client_of(stage), await client_of(stage, "bob")
    await detached(gone)
    draining = asyncio.create_task(drain(stage.parts, stage.parts.hubs[0].config))
    event = await here.next()
    assert event == PeerClosed("The server is shutting down.", allow_reconnect=True)
    assert await here.wire.close_code() == 1000
    here.wire.send(close(1000))
    await asyncio.wait_for(draining, PATIENCE_S)
    for client in (gone, here):
        assert await answer_to(client) == 404


async def test_event_streams_and_polls_of_a_stateful_negotiation_are_plain(house: House) -> None:
    async with event_reader(house) as events:
        await events.send(call("Echo", 1, id_="1"))
        assert (await events.messages(1))[0]["result"] == 1
    ticket = await negotiate(house, stateful=True)
    path = f"{house.url}{HUB}?id={ticket.token}"
    async with house.http.get(path, headers=house.bearer()) as poll:
        assert poll.status == 200
    async with house.http.post(path, headers=house.bearer(), data=HELLO.replace(b"1}", b"2}")) as post:
        assert post.status == 200
    assert not house.session(ticket.connection_id).resumable
    wire: Wire = await dial(house)
    wire.send(upgrade(house, f"{HUB}?id={ticket.token}"))
    assert (await wire.reader.readline()).startswith(b"HTTP/1.1 400 ")
    wire.drop()
