"""The Python client over Socket.IO when its link dies, is closed, or is told too much."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Struct

from clients.hub_client import HubClient, HubOptions, ReconnectPolicy
from clients.hub_errors import HubCallError, HubRefused, LinkLost
from clients.hub_link import LinkEnd
from protocol.contract.sessions import ConsentAnswer, ConsentAsked
from signaling.pushes import ask
from tests.eventually import eventually
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rehearsal import Rehearsal
from tests.signaling.socketio.by_hand import PATIENCE_S

AT_ONCE = ReconnectPolicy(base_s=0.0)


@pytest.fixture
async def stage(open_house: OpenHouse) -> House:
    return await open_house(hubs=[Rehearsal()])


def rehearsal(house: House) -> Rehearsal:
    hub = house.parts.hubs[1].hub
    assert isinstance(hub, Rehearsal)
    return hub


@pytest.fixture
async def client(stage: House) -> AsyncIterator[HubClient]:
    token = stage.token("ann")
    async with HubClient(
        f"{stage.url}/rehearsal", token=token, transport="socketio", reconnect=AT_ONCE, options=HubOptions()
    ) as hub:
        yield hub


async def test_a_call_whose_link_dies_is_lost_and_the_client_comes_back(stage: House, client: HubClient) -> None:
    back = asyncio.Event()
    client.on_reconnected(back.set)
    first = client.connection_id
    waiting = asyncio.ensure_future(client.invoke("Wait", 1, result=Any))
    await eventually(lambda: "wait 1" in rehearsal(stage).notes)
    stage.session(first).transport.abort()
    with pytest.raises(LinkLost):
        await waiting
    await asyncio.wait_for(back.wait(), PATIENCE_S)
    assert client.connection_id not in ("", first)
    with pytest.raises(HubCallError) as failed:
        await client.invoke("Nope", result=Any)
    assert failed.value.code == "unknown_method"
    rehearsal(stage).gate.set()


async def test_a_goodbye_with_leave_to_come_back_and_one_without(stage: House, client: HubClient) -> None:
    back = asyncio.Event()
    client.on_reconnected(back.set)
    stage.session(client.connection_id).close("app_shutdown", "why", allow_reconnect=True)
    await asyncio.wait_for(back.wait(), PATIENCE_S)
    assert client.end == LinkEnd("closed", may_reconnect=True, error="why")
    closed = asyncio.Event()
    client.on_closed(closed.set)
    await eventually(lambda: client.connection_id)
    stage.session(client.connection_id).abort()
    await asyncio.wait_for(closed.wait(), PATIENCE_S)
    assert client.end == LinkEnd("closed", may_reconnect=False)


async def test_a_question_is_answered_with_a_result_or_an_error(house: House) -> None:
    class Odd(Struct):
        device: str

    async with HubClient(f"{house.url}/hub", token=house.token("pat", "patient"), transport="socketio") as hub:
        answers: list[object] = [ConsentAnswer(accepted=True), RuntimeError("secret detail")]

        def asked(_: Odd) -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        hub.on("ConsentAsked", asked, Odd)
        caller = house.session(hub.connection_id).caller
        question = ConsentAsked(device="d1", session="s", fitter="ann", clinic="c1", scopes=(), expires_in_s=5)
        assert (await ask(caller, question, answer=ConsentAnswer)).accepted
        with pytest.raises(Exception, match="the handler failed") as failed:
            await ask(caller, question, answer=ConsentAnswer)
        assert "secret" not in str(failed.value)


async def test_a_server_that_is_not_there_is_a_refusal() -> None:
    hub = HubClient("http://127.0.0.1:9/hub", token="t", transport="socketio", reconnect=None)
    with pytest.raises(HubRefused):
        await hub.start()


async def test_events_that_nobody_takes_end_the_link(stage: House) -> None:
    options = HubOptions(max_queued_events=1)
    hub = HubClient(
        f"{stage.url}/rehearsal", token=stage.token("ann"), transport="socketio", reconnect=None, options=options
    )
    stuck = asyncio.Event()
    hub.on("heard", lambda _: stuck.wait(), object)
    async with hub:
        session = stage.session(hub.connection_id)
        for n in range(5):
            session.caller.send("heard", n)
        await eventually(lambda: hub.end is not None)
        assert hub.end is not None
        assert hub.end.cause == "overloaded"
        stuck.set()
