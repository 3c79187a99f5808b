"""The server's own peer of a relayed call with real connections: candidates that come later, media that come later."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack

from clients.tone import ToneTrack
from media.aiortc_seam import new_peer
from media.candidate import HostPolicy
from media.relay import RelayLeg, Room, World
from media.sdp import check_description
from tests.eventually import eventually
from tests.media.test_peer import offered


async def bound(protocol: Callable[[], asyncio.DatagramProtocol], address: str, port: int) -> object:
    _, made = await asyncio.get_running_loop().create_datagram_endpoint(protocol, local_addr=(address, port))
    return made


def room(tasks: list[asyncio.Task[None]], **options: Any) -> Room:
    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.get_running_loop().create_task(work))
        return tasks[-1]

    def late() -> None:
        """A machine with much to do is late."""

    loop = asyncio.get_running_loop()
    world = World(now_s=loop.time, sleep=asyncio.sleep, spawn=spawn, late=late, bind=bound, **options)
    return Room(world)


async def answered(client: RTCPeerConnection, leg: RelayLeg, sdp: str) -> str:
    answer = await leg.answer(sdp)
    # What it says passes its own checks.
    check_description(answer, HostPolicy.ANY)
    await client.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    return answer


async def test_candidates_and_pictures_may_come_later() -> None:
    tasks: list[asyncio.Task[None]] = []
    client, relayed = new_peer(()), room(tasks)
    leg = relayed.legs[0] = RelayLeg(relayed, 0, may_talk=True)
    try:
        lines = (await offered(client, ToneTrack(440))).splitlines()
        candidates = [line[2:] for line in lines if line.startswith("a=candidate:")]
        bare = "".join(f"{line}\r\n" for line in lines if not line.startswith(("a=candidate", "a=end-of")))
        assert "b=TIAS:128000" in await answered(client, leg, bare)
        await leg.add_candidate("candidate:nonsense", "0", 0)
        for candidate in candidates:
            await leg.add_candidate(candidate, None, 0)
        await eventually(lambda: leg.frames["audio"] > 5)
        assert leg.is_connected
        assert await leg.received_bytes() > 0
        # The same connection, one medium more.
        client.addTrack(VideoStreamTrack())
        await client.setLocalDescription(await client.createOffer())
        sdp = check_description(client.localDescription.sdp, HostPolicy.ANY).sdp
        assert leg.goes_on_with(sdp)
        await answered(client, leg, sdp)
        await eventually(lambda: leg.frames["video"] > 2)
        assert leg.picture is not None
    finally:
        await client.close()
        await relayed.close()
        await asyncio.wait(tasks)
    assert leg.picture is None


async def test_the_end_of_a_connection_is_told_once_and_not_when_it_was_let_go() -> None:
    tasks: list[asyncio.Task[None]] = []
    client, relayed = new_peer(()), room(tasks, ports=(47501, 47502))
    leg = relayed.legs[0] = RelayLeg(relayed, 0, may_talk=True)
    ended: list[int] = []
    leg.on_end = lambda: ended.append(1)
    try:
        answer = await answered(client, leg, await offered(client, ToneTrack(440)))
        ports = {line.split(" ")[5] for line in answer.splitlines() if line.startswith("a=candidate:")}
        assert ports <= {"47501", "47502"}
        assert ports
        await eventually(lambda: leg.frames["audio"] > 0)
        await client.close()
        await eventually(lambda: ended)
        await leg.close()
        assert ended == [1]
    finally:
        await client.close()
        await relayed.close()
        await asyncio.wait(tasks)


async def test_nothing_is_left_of_who_has_never_come() -> None:
    tasks: list[asyncio.Task[None]] = []
    client, relayed = new_peer(()), room(tasks)
    leg = relayed.legs[0] = RelayLeg(relayed, 0, may_talk=True)
    try:
        await leg.answer(await offered(client, ToneTrack(440)))
    finally:
        await client.close()
        await relayed.close()
    await asyncio.wait(tasks)
