"""A client that has gone without a word while an upload of it is full: its end is the client time-out, not TCP's.

What it sends is read on up to a bound, so that its pings are heard; behind the bound only progress counts as life.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from protocol.signalr.codec import ProtocolName
from signaling.connection import HubSession
from tests.eventually import eventually
from tests.signaling.by_hand import Client, call, done, event_reader, items, poller, socket
from tests.signaling.conftest import House, OpenHouse, signalr_core
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.returning import client_of

PING = b'{"type":6}\x1e'
OVER = {"type": 7, "error": "Connection closed with an error.", "allowReconnect": True}
spoken = pytest.mark.parametrize("kind", [socket, event_reader])


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> House:
    return await open_house(hub=hub, max_waiting_bytes=2_000)


async def stuck(kind: Callable[..., Any], house: House, streams: AsyncExitStack) -> Client:
    """A client that has pinged and filled an upload which its method does not read."""
    connection = kind(house, hub=Rehearsal.path)
    client = await (streams.enter_async_context(connection) if kind is event_reader else connection)
    assert isinstance(client, Client)
    await client.send(PING, call("Gather", id_="a", streams=("s",)), items("s", *range(20)))
    bound = {"bound": "upload_buffer_items"}
    await eventually(lambda: house.metric("auricle_bound_reached_total", **bound) == 1)
    return client


def pass_by(house: House, seconds: float) -> None:
    house.monotonic.now_s += seconds
    house.sweep()


def given_up(session: HubSession) -> bool:
    return session.is_ending


async def pinged(client: Client) -> None:
    """Send a ping and wait until it has been heard."""
    core, now_s = signalr_core(client.session), client.house.monotonic.now_s
    await client.send(PING)
    await eventually(lambda: core._heard_at == now_s)


@spoken
async def test_a_client_that_pings_while_its_upload_is_full_lives(
    stage: House, hub: Rehearsal, kind: Callable[..., Any]
) -> None:
    async with AsyncExitStack() as streams:
        client = await stuck(kind, stage, streams)
        for _ in range(6):
            pass_by(stage, 20)
            await pinged(client)
        await client.send(done("s"))
        hub.gate.set()
        found = [message for message in await client.until("a") if message["type"] != 6]
        assert found == [{"type": 3, "invocationId": "a", "result": list(range(20))}]


@spoken
async def test_a_client_that_falls_silent_while_its_upload_is_full_is_given_up(
    stage: House, hub: Rehearsal, kind: Callable[..., Any]
) -> None:
    async with AsyncExitStack() as streams:
        client = await stuck(kind, stage, streams)
        session = client.session
        pass_by(stage, 29)
        assert not given_up(session)
        pass_by(stage, 1.1)
        assert given_up(session)
        found = [message for message in await client.messages(2) if message["type"] != 6]
        assert found == [OVER]
        # Nobody answers the close either.
        pass_by(stage, 0.1)
        pass_by(stage, 5)
        await eventually(lambda: stage.app_sessions() == 0)
        hub.gate.set()
        await eventually(lambda: hub.notes[-1] == "disconnected")
        assert "gathered" not in " ".join(hub.notes)
        assert session.streams == {}
    assert stage.metric("auricle_bound_reached_total", bound="client_timeout_s") == 1


async def test_behind_the_bound_of_what_is_kept_it_is_given_up_too(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    await client.send(PING, call("Gather", id_="a", streams=("s",)), items("s", *range(20)))
    session = client.session
    # The bytes that are kept are above the bound, so that nothing more is read, the pings neither.
    await client.send(items("s", *range(40)))
    await client.send(items("s", *range(40)), PING)
    await eventually(lambda: session._parked is not None and session._parked.size_bytes > 2_000)
    assert stage.metric("auricle_bound_reached_total", bound="max_waiting_bytes") > 0
    pass_by(stage, 29)
    assert not given_up(session)
    pass_by(stage, 1.1)
    assert given_up(session)


async def test_a_method_that_takes_its_time_keeps_its_client_alive(stage: House) -> None:
    client = await socket(stage, hub=Rehearsal.path)
    await client.send(PING, call("Slowly", id_="a", streams=("s",)), items("s", *range(20)))
    await client.send(items("s", *range(20, 60)))
    await client.send(items("s", *range(60, 100)), done("s"), PING)
    session, hub = client.session, stage.parts.hubs[0].hub
    assert isinstance(hub, Rehearsal)
    await eventually(lambda: session._parked is not None and session._parked.size_bytes > 2_000)
    for step in range(1, 6):
        hub.steps.release()
        await eventually(lambda number=step: hub.produced == number)  # type: ignore[misc]  # bound for this turn
        pass_by(stage, 20)
        assert not given_up(session)
    for _ in range(100):
        hub.steps.release()
    found = [message for message in await client.until("a") if message["type"] != 6]
    assert found == [{"type": 3, "invocationId": "a", "result": list(range(100))}]


async def test_one_who_polls_shows_that_it_lives_by_polling(stage: House, hub: Rehearsal) -> None:
    async with AsyncExitStack() as streams:
        client = await stuck(poller, stage, streams)
        session = client.session
        stage.sweep()
        pass_by(stage, 14.9)
        assert stage.app_sessions() == 1
        pass_by(stage, 0.2)
        assert stage.app_sessions() == 0
        assert given_up(session)
        hub.gate.set()


@pytest.mark.parametrize("protocol", ["json", "messagepack"])
async def test_one_that_may_come_back_is_given_up_when_it_falls_silent(
    stage: House, hub: Rehearsal, protocol: ProtocolName
) -> None:
    client = await client_of(stage, protocol=protocol)
    client.acknowledge()
    session = stage.session(client.ticket.connection_id)
    client.now_s += 15
    client.acknowledge()
    await eventually(lambda: signalr_core(session)._pinged)
    await client.call("Gather", id_="a", streams=("s",))
    await client.upload("s", *range(20))
    bound = {"bound": "upload_buffer_items"}
    await eventually(lambda: stage.metric("auricle_bound_reached_total", **bound) == 1)
    pass_by(stage, 30.1)
    assert given_up(session)
    hub.gate.set()
