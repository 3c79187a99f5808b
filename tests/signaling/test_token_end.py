"""A connection ends with its token over every transport, is told before, and lives on when a newer one is shown."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.eventually import eventually
from tests.signaling.by_hand import HELLO, Client, Poller, Socket, call, event_reader, negotiate, poller, socket
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rehearsal import Rehearsal

OVER = {"type": 7, "error": "The token has expired.", "allowReconnect": True}
kinds = pytest.mark.parametrize("kind", [socket, poller, event_reader])


@pytest.fixture
def hub() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def stage(open_house: OpenHouse, hub: Rehearsal) -> House:
    return await open_house(hub=hub)


async def opened(kind: Callable[..., Any], house: House, streams: AsyncExitStack) -> Client:
    connection = kind(house, hub=Rehearsal.path)
    client = await (streams.enter_async_context(connection) if kind is event_reader else connection)
    assert isinstance(client, Client)
    return client


async def learns_of_the_end(client: Client) -> None:
    if isinstance(client, Poller):
        # The old token opens nothing any more, not even the last words.
        assert (await client.poll()).status == 401
        client.headers = client.house.bearer()
    assert await client.messages(1) == [OVER]


@kinds
async def test_a_client_is_told_once_and_then_its_connection_ends(
    stage: House, hub: Rehearsal, kind: Callable[..., Any]
) -> None:
    async with AsyncExitStack() as streams:
        client = await opened(kind, stage, streams)
        for passed_s, notes in ((3_539, []), (1, ["60 s left"]), (30, ["60 s left"]), (29, ["60 s left"])):
            stage.wall.now_s += passed_s
            stage.sweep()
            assert hub.notes == notes
        await client.send(call("Echo", 1, id_="1"))
        assert (await client.messages(1))[0]["result"] == 1
        stage.wall.now_s += 1
        stage.sweep()
        await learns_of_the_end(client)


@kinds
async def test_a_connection_lives_as_long_as_the_token_that_was_shown_last(
    stage: House, hub: Rehearsal, kind: Callable[..., Any]
) -> None:
    async with AsyncExitStack() as streams:
        client = await opened(kind, stage, streams)
        stage.wall.now_s += 3_550
        stage.sweep()
        refresh = f"{stage.url}{hub.path}/refresh?id={client.ticket.token}"
        client.headers = stage.bearer()
        async with stage.http.post(refresh, headers=client.headers) as answer:
            assert answer.status == 200
        stage.wall.now_s += 3_550
        stage.sweep()
        assert hub.notes == ["50 s left", "50 s left"]
        await client.send(call("Echo", 1, id_="1"))
        assert (await client.messages(1))[0]["result"] == 1
        stage.wall.now_s += 50
        stage.sweep()
        await learns_of_the_end(client)


async def test_a_poll_with_a_newer_token_is_enough(stage: House, hub: Rehearsal) -> None:
    client = await poller(stage, hub=hub.path)
    stage.wall.now_s += 3_000
    client.headers = stage.bearer()
    await client.send(call("Echo", 1, id_="1"))
    assert (await client.messages(1))[0]["result"] == 1
    stage.wall.now_s += 3_000
    stage.sweep()
    await client.send(call("Echo", 2, id_="2"))
    assert (await client.messages(1))[0]["result"] == 2


async def test_who_is_told_before_the_handshake_is_told_again_behind_it(stage: House, hub: Rehearsal) -> None:
    client = Socket(stage, await negotiate(stage, hub=hub.path), hub.path)
    client.headers = stage.bearer(expires_in_s=30)
    client.frames = await stage.socket(stage.url + client.path, headers=client.headers)
    stage.sweep()
    assert hub.notes == []
    await client.send(HELLO)
    assert await client.messages(1) == [{}]
    stage.sweep()
    assert hub.notes == ["30 s left"]


async def test_a_token_that_ends_before_the_handshake_ends_the_connection(stage: House, hub: Rehearsal) -> None:
    client = Poller(stage, await negotiate(stage, hub=hub.path), hub.path)
    await client.poll()
    stage.wall.now_s += 3_600
    stage.sweep()
    client.headers = stage.bearer()
    assert (await client.messages(1)) == [{"error": "Handshake was canceled."}]
    await eventually(lambda: stage.app_sessions() == 1)
    assert (await client.poll()).status == 204
