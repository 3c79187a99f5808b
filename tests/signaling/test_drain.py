"""A shutdown over every transport: who listens hears the last words, and who does not holds nobody up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from signaling.server import drain
from tests.eventually import eventually
from tests.signaling.by_hand import (
    HELLO,
    PATIENCE_S,
    Client,
    EventReader,
    Poller,
    Socket,
    call,
    event_reader,
    negotiate,
    poller,
    request,
    socket,
    stream,
)
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.raw_websocket import RawSocket, dial
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.returning import client_of, detached

GOODBYE = {"type": 7, "error": "The server is shutting down.", "allowReconnect": True}
# Whoever waits for it has lost: it is far above the patience of a test.
WINDOW_S = 3_600.0


@pytest.fixture
async def stage(open_house: OpenHouse) -> House:
    return await open_house(hub=Rehearsal(), drain_s=WINDOW_S)


@asynccontextmanager
async def draining(house: House) -> AsyncIterator["asyncio.Task[None]"]:
    """The server drains meanwhile, and has done so within the patience of a test."""
    task = asyncio.create_task(drain(house.parts, house.parts.hubs[0].config))
    try:
        await eventually(lambda: house.parts.readiness.draining)
        yield task
        await asyncio.wait_for(task, PATIENCE_S)
    finally:
        task.cancel()


async def pass_by(house: House, seconds: float) -> None:
    """Time goes on, and the sweep looks at its beginning and its end."""
    house.sweep()
    house.monotonic.now_s += seconds
    house.sweep()


@pytest.mark.parametrize("kind", [socket, event_reader, poller])
async def test_who_listens_hears_what_is_due_and_the_last_words(stage: House, kind: Callable[..., Any]) -> None:
    async with AsyncExitStack() as streams:
        opened = kind(stage, hub=Rehearsal.path)
        client: Client = await (streams.enter_async_context(opened) if kind is event_reader else opened)
        await client.send(stream("Endless", "x", id_="a"), call("Wait", 1, id_="w"), call("Echo", 2, id_="e"))
        assert (await client.messages(1))[0]["item"] == "x"
        await client.send(call("Tell", "due"))
        async with draining(stage):
            assert await client.messages(1) == [GOODBYE]
            if isinstance(client, Poller):
                assert (await client.poll()).status == 204
            elif isinstance(client, Socket):
                await client.frames.close()
            await eventually(lambda: stage.app_sessions() == 0)
            hub = stage.parts.hubs[0].hub
            assert isinstance(hub, Rehearsal)
            hub.gate.set()
        assert hub.notes[-1] == "disconnected"


async def test_new_connections_are_refused_on_every_way_in(stage: House) -> None:
    ticket, posted = await negotiate(stage, hub=Rehearsal.path), await negotiate(stage, hub=Rehearsal.path)
    async with draining(stage):
        events = stage.bearer() | {"Accept": "text/event-stream"}
        path = f"{Rehearsal.path}?id={ticket.token}"
        for answer in (
            await request(stage, "POST", f"{Rehearsal.path}/negotiate"),
            await request(stage, "GET", path),
            await request(stage, "GET", path, headers=events),
            await request(stage, "POST", f"{Rehearsal.path}?id={posted.token}", data=HELLO),
        ):
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_a_client_without_a_poll_is_waited_for_as_long_as_a_closing_socket(stage: House) -> None:
    client = await poller(stage, hub=Rehearsal.path)
    async with draining(stage) as task:
        await eventually(lambda: client.session.is_ending)
        await pass_by(stage, 4.9)
        assert stage.app_sessions() == 1
        assert not task.done()
        await pass_by(stage, 0.2)
        assert stage.app_sessions() == 0
    assert stage.metric("auricle_bound_reached_total", bound="close_timeout_s") == 1
    assert (await client.poll()).status == 404


async def test_a_client_between_two_polls_hears_the_last_words(stage: House) -> None:
    client = await poller(stage, hub=Rehearsal.path)
    # It has been away for longer than it will be waited for from now on.
    await pass_by(stage, 6)
    async with draining(stage):
        await eventually(lambda: client.session.is_ending)
        await pass_by(stage, 3)
        assert await client.messages(1) == [GOODBYE]
        assert (await client.poll()).status == 204


async def test_a_socket_that_does_not_answer_and_one_that_is_away_hold_nobody_up(stage: House) -> None:
    client = RawSocket(stage, await negotiate(stage, hub=Rehearsal.path), Rehearsal.path)
    await client.open()
    await client.shake()
    away = await client_of(stage)
    await detached(away)
    async with draining(stage):
        await eventually(lambda: stage.app_sessions() == 1 and client.session.is_ending)
        await pass_by(stage, 5.1)
    assert stage.app_sessions() == 0
    assert stage.metric("auricle_bound_reached_total", bound="close_timeout_s") == 1


async def test_an_event_stream_that_nobody_reads_holds_nobody_up(stage: House) -> None:
    client = EventReader(stage, await negotiate(stage, hub=Rehearsal.path), Rehearsal.path)
    wire = await dial(stage, narrow=True)
    wire.send(
        f"GET {client.path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"Authorization: {client.headers['Authorization']}\r\n\r\n".encode()
    )
    await wire.reader.readuntil(b":\r\n\r\n")
    await client.send(HELLO)
    # More than the kernel takes for somebody who reads nothing.
    for number in range(20):
        await client.send(stream("Chunks", 20, 20_000, id_=str(number)))
    transport = client.session.transport
    await eventually(lambda: transport.waiting_bytes > 0)
    async with draining(stage):
        await eventually(lambda: client.session.is_ending)
        await pass_by(stage, 5.1)
        await eventually(lambda: stage.app_sessions() == 0)
    assert stage.metric("auricle_bound_reached_total", bound="close_timeout_s") == 1
