"""What connections leave behind: nothing, whatever carried them and however they ended."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from signaling.backplane import MemoryBackplane
from signaling.client_results import ClientResults
from signaling.connection import HubSession
from signaling.outbox import Outbox
from signaling.streams import RunningStream, Upload
from signaling.transport import NOWHERE
from signaling.transports.event_stream import EventStreamTransport
from signaling.transports.long_polling import LongPollingTransport
from signaling.transports.routes import HubRoutes
from signaling.transports.websocket import WebSocketTransport
from signaling.turns import TurnQueue
from tests.eventually import eventually
from tests.memory import resident_bytes
from tests.protocol.websocket.client import TEXT, frame
from tests.signaling.by_hand import (
    HELLO,
    Client,
    EventReader,
    Poller,
    Socket,
    call,
    event_reader,
    items,
    poller,
    socket,
    stream,
)
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import dial, open_wire, upgrade
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.returning import returning

OF_CONNECTIONS = (
    HubSession,
    Outbox,
    ClientResults,
    TurnQueue,
    RunningStream,
    Upload,
    WebSocketTransport,
    EventStreamTransport,
    LongPollingTransport,
)


def alive() -> Counter[str]:
    """How many of the objects that belong to connections there are in this process."""
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, OF_CONNECTIONS))


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> AsyncIterator[House]:
    before, tasks = alive(), len(asyncio.all_tasks())
    # There is no door here that lets in as few as leave: they leave as fast as they can.
    house = await open_house(hub=hub, call_grace_s=0.05, max_connections=2_000, max_accepts=1_000)
    yield house
    await leaves_nothing(house)
    await house.http.close()
    await eventually(lambda: house.http_connections() == 0)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    # What others have left behind may have gone meanwhile; the loop may hold something until its next turn.
    await eventually(lambda: not alive() - before)


async def leaves_nothing(house: House) -> None:
    """No session, no group, no token, no subscription."""
    (server,) = house.parts.hubs
    await eventually(lambda: not server.sessions and len(house.parts.closing) == 0)
    lifetime = server.lifetime
    assert (lifetime._links, lifetime._members, lifetime._groups_of) == ({}, {}, {})
    assert isinstance(lifetime._backplane, MemoryBackplane)
    assert lifetime._backplane._handlers == {}
    for kind in ("web_sockets", "server_sent_events", "long_polling"):
        assert house.metric("signalr_server_active_connections", signalr_transport=kind) == 0
    (routes,) = (routes for routes in house.parts.routes if isinstance(routes, HubRoutes))
    house.wall.now_s += 15.1
    routes.sweep()
    assert len(routes._spent) == 0


async def busy(client: Client) -> None:
    """A stream and an upload run, a call waits, a question is open, and it is in groups."""
    await client.send(
        *(call("Join", f"g{number}") for number in range(5)),
        stream("Endless", "x", id_="a"),
        call("Gather", id_="b", streams=("s",)),
        items("s", *range(5)),
        call("Ask", "never answered", id_="c"),
        call("Wait", 1, id_="w"),
        call("Wait", 2, id_="v"),
    )
    await client.messages(1)


async def dropped_by_the_client(client: Client) -> None:
    if isinstance(client, Socket):
        client.frames._response.connection.transport.abort()  # type: ignore[union-attr]  # it is open
    elif isinstance(client, EventReader):
        client.response.close()


async def ended_by_the_client(client: Client) -> None:
    if isinstance(client, Socket):
        await client.frames.close()
    elif isinstance(client, EventReader):
        client.response.close()
    elif isinstance(client, Poller):
        assert (await client.ask("DELETE")).status == 202


async def aborted(client: Client) -> None:
    client.session.abort()
    if isinstance(client, Socket):
        await client.frames.close()
    while isinstance(client, Poller) and (await client.poll()).status == 200:
        pass


ENDS = (dropped_by_the_client, ended_by_the_client, aborted)


async def cleared(house: House) -> None:
    """The server has seen the ends of all; those who say nothing any more have been waited for."""
    house.sweep()
    house.monotonic.now_s += 31

    def is_empty() -> bool:
        house.sweep()
        return not house.app_sessions()

    await eventually(is_empty)
    house.sockets.clear()


@pytest.mark.parametrize("kind", [socket, poller, event_reader])
async def test_a_hundred_connections_of_each_transport_leave_nothing(
    stage: House, hub: Rehearsal, kind: Callable[..., Any]
) -> None:
    for number in range(10):
        async with AsyncExitStack() as streams:
            clients: list[Client] = []
            for _ in range(10):
                opened = kind(stage, hub=hub.path)
                clients.append(await (streams.enter_async_context(opened) if kind is event_reader else opened))
            if number % 2:
                for client in clients:
                    await busy(client)
            for client, ends in zip(clients, ENDS * 4, strict=False):
                await ends(client)
            await cleared(stage)


async def test_connections_that_could_come_back_and_do_not_leave_nothing(stage: House, hub: Rehearsal) -> None:
    for _ in range(5):
        clients = [await returning(stage, hub=hub.path) for _ in range(10)]
        for client in clients:
            await client.call("Join", "g")
            await client.stream("Endless", "x", id_="a")
            await client.item()
            client.lose()
        for client in clients[:5]:
            await client.resume()
            client.lose()
        await eventually(lambda: all(s.transport is NOWHERE for s in stage.parts.hubs[0].sessions.values()))
        stage.monotonic.now_s += 15.1
        stage.sweep()
        assert stage.app_sessions() == 0
        stage.drops.clear()


async def no_request(house: House, hub: Rehearsal) -> None:
    """A connection, and nothing more."""
    (await dial(house)).drop()


async def half_a_request(house: House, hub: Rehearsal) -> None:
    wire = await dial(house)
    wire.send(upgrade(house, hub.path)[:-9])
    wire.drop()


async def no_patience(house: House, hub: Rehearsal) -> None:
    """Gone before the answer."""
    wire = await dial(house)
    wire.send(upgrade(house, hub.path) + frame(TEXT, HELLO))
    await wire.writer.drain()
    wire.drop()


async def no_handshake(house: House, hub: Rehearsal) -> None:
    (await open_wire(house, hub.path)).drop()


async def no_goodbye(house: House, hub: Rehearsal) -> None:
    wire = await open_wire(house, hub.path)
    wire.send(frame(TEXT, HELLO + call("Wait", 1, id_="w")))
    await wire.frame()
    wire.drop()


async def test_a_thousand_quick_connects_and_aborts_leave_nothing_and_cost_a_bounded_amount(
    stage: House, hub: Rehearsal
) -> None:
    hub.gate.set()
    ways = (no_request, half_a_request, no_patience, no_handshake, no_goodbye)

    async def hurry(rounds: int) -> int:
        most = 0
        for _ in range(rounds):
            await asyncio.gather(*(way(stage, hub) for way in ways * 4))
            most = max(most, stage.app_sessions())
            stage.drops.clear()
        await eventually(lambda: stage.app_sessions() == 0)
        hub.notes.clear()
        gc.collect()
        return most

    await hurry(10)
    before = resident_bytes()
    most = await hurry(50)
    grown = resident_bytes() - before
    print(f"1,000 quick connects: at most {most} open at a time, resident memory {grown / 2**20:+.1f} MiB")
    assert most <= 60
    assert grown < 5 * 2**20


async def test_calls_that_never_end_end_with_their_connection_and_so_do_those_behind_them(
    stage: House, hub: Rehearsal
) -> None:
    client = await socket(stage, hub=hub.path)
    await client.send(*(call("Wait", number) for number in range(5)), call("Tell", "not reached"))
    await eventually(lambda: hub.notes == ["wait 0"])
    await client.frames.close()
    await eventually(lambda: "disconnected" in hub.notes)
    await eventually(lambda: len(stage.parts.closing) == 0)
    assert hub.notes == ["wait 0", "disconnected"]
