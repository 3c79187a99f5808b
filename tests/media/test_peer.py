"""The server's own peer: what is sent to it comes back, and the way there is measured."""

import asyncio
from dataclasses import replace

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack, VideoStreamTrack

from clients.tone import ToneTrack
from media.aiortc_seam import new_peer
from media.candidate import HostPolicy, Malformed
from media.peer import EchoPeer
from media.quality import LinkNumbers, judge
from media.sdp import check_description


async def offered(peer: RTCPeerConnection, *tracks: MediaStreamTrack) -> str:
    for track in tracks:
        peer.addTrack(track)
    await peer.setLocalDescription(await peer.createOffer())
    # As it comes over the hub.
    return check_description(peer.localDescription.sdp, HostPolicy.ANY).sdp


async def test_sound_and_pictures_come_back_decoded_and_the_way_is_measured() -> None:
    caller, echo = new_peer(()), EchoPeer()
    came: list[MediaStreamTrack] = []
    caller.on("track", came.append)
    try:
        answer = await echo.answer(await offered(caller, ToneTrack(440), VideoStreamTrack()))
        await caller.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        check_description(answer, HostPolicy.ANY)
        async with asyncio.timeout(20):
            frames = await asyncio.gather(*(track.recv() for track in came))
            assert len(frames) == 2
            measured = await echo.measured()
            while measured.rtt_ms is None or not measured.has_video:
                # Packets on the way are the clock: each frame is 20 ms.
                await came[0].recv()
                measured = await echo.measured()
        assert (measured.has_audio, measured.has_video, measured.loss_permille) == (True, True, 0)
        assert judge(measured)[0] in ("good", "fair")
    finally:
        await caller.close()
        await echo.close()


async def test_what_cannot_be_answered_is_malformed() -> None:
    sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    echo = EchoPeer()
    try:
        with pytest.raises(Malformed):
            await echo.answer(sdp)
    finally:
        await echo.close()


GOOD = LinkNumbers(rtt_ms=40, loss_permille=0, jitter_ms=3, has_audio=True, has_video=True)


@pytest.mark.parametrize(
    ("changes", "grade", "advice"),
    [
        ({}, "good", ()),
        ({"rtt_ms": None}, "good", ()),
        ({"has_audio": False}, "bad", ("check_microphone",)),
        ({"loss_permille": 31}, "fair", ("lower_video",)),
        ({"loss_permille": 31, "has_video": False}, "fair", ("better_network",)),
        ({"loss_permille": 101}, "bad", ("audio_only",)),
        ({"loss_permille": 101, "has_video": False}, "bad", ("better_network", "no_live_tuning")),
        ({"rtt_ms": 301}, "fair", ()),
        ({"rtt_ms": 801}, "bad", ("no_live_tuning",)),
        ({"jitter_ms": 51}, "fair", ("better_network",)),
        ({"jitter_ms": 51, "loss_permille": 31, "has_video": False}, "fair", ("better_network",)),
    ],
)
def test_advice(changes: dict[str, object], grade: str, advice: tuple[str, ...]) -> None:
    assert judge(replace(GOOD, **changes)) == (grade, advice)  # type: ignore[arg-type]  # a test's own words
