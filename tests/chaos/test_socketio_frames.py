"""What phones speak is cut between two packets, wherever in the talk that is: a real server, both protocols."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import ClientSession, WSMsgType

from clients.hub_client import HubClient, TransportName
from tests.chaos.patience import RECONNECT
from tests.chaos.proxy import proxy
from tests.eventually import eventually
from tests.running import Server, server

SOCKET = "/socket.io/?EIO=4&transport=websocket"
# Who says each packet of a talk: opened, hello, welcome, a call, its acknowledgement, another call and another one.
TALK = "scscscs"


@pytest.fixture(scope="module")
async def auricle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with server(tmp_path_factory.mktemp("frames"), AURICLE_KEEP_ALIVE_S="600") as running:
        yield running


@pytest.mark.parametrize("count", range(1, len(TALK) + 1))
async def test_a_talk_over_socketio_ends_behind_the_packet_that_was_named(auricle: Server, count: int) -> None:
    token = await auricle.token("ann")
    says = iter([f'40/hub,{{"token":"{token}"}}', '42/hub,0["WhoAmI"]', '42/hub,1["WhoAmI"]'])
    heard: list[str] = []
    async with proxy(auricle.url) as link, ClientSession() as session:
        link.cut_after_frames(count)
        async with session.ws_connect(link.url + SOCKET) as socket:
            while (frame := await socket.receive()).type is WSMsgType.TEXT:
                heard.append(frame.data)
                with suppress(ConnectionError, StopIteration):
                    await socket.send_str(next(says))
        await eventually(lambda: link.cuts == 1)
        assert link.spoken == "socketio"
    begun = ("0{", "40/hub,{", "43/hub,0[", "43/hub,1[")
    assert len(heard) == TALK[:count].count("s")
    assert all(packet.startswith(begins) for packet, begins in zip(heard, begun, strict=False))


@pytest.mark.parametrize("transport", ["signalr", "socketio"])
async def test_a_client_that_is_cut_behind_any_frame_comes_back(auricle: Server, transport: TransportName) -> None:
    token, back = await auricle.token("ann"), asyncio.Event()
    async with proxy(auricle.url) as link:
        hub = HubClient(f"{link.url}/hub", token=token, transport=transport, reconnect=RECONNECT)
        hub.on_reconnected(back.set)
        async with hub:
            for count in range(1, len(TALK) + 1):
                cuts = link.cuts
                link.cut_after_frames(count)
                while link.cuts == cuts:
                    await _ask(hub, back)
            await _ask(hub, back)
        assert link.spoken == transport


async def _ask(hub: HubClient, back: asyncio.Event) -> None:
    """Until there is an answer."""
    while True:
        try:
            await hub.invoke("WhoAmI", result=dict[str, object])
        except ConnectionError:
            await back.wait()
            back.clear()
        else:
            return
