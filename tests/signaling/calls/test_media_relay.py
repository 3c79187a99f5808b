"""Calls whose media go through the server: over two pods, decoded at both ends, bounded, and over when its pod is."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiortc import MediaStreamTrack, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack

from clients.calling import Talk
from clients.tone import ToneTrack
from media.aiortc_seam import new_peer
from media.relay_sound import BLOCK_BYTES
from media.visit import Participant
from protocol.contract.calls import RELAY_PEER, AnswerCall, CallAnswer, CallChanged, SendSignal
from protocol.contract.sessions import Done
from protocol.contract.visits import Invited
from tests.databases import lent_postgres
from tests.eventually import eventually, eventually_asked
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.signaling.calls.people import Apart, Person, calls_of, flows, guest, met
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import two_pods
from tests.signaling.visit import refused
from tests.signaling.visiting import MIA, admitted, join

OVER_SERVER = {"her_peer": RELAY_PEER, "his_peer": RELAY_PEER}


def sound_and_picture() -> list[MediaStreamTrack]:
    return [ToneTrack(440), VideoStreamTrack()]


@pytest.fixture
async def apart(postgres: PostgresServer) -> AsyncIterator[Apart]:
    async with lent_postgres(postgres) as url, AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        changes: dict[str, Any] = {"table_answer_s": 1, "media_relay": True, "relay_ports": "47300-47399"}
        east, west = await stack.enter_async_context(two_pods(url, bus.url, **changes))
        yield await met(stack, east, west)


def hosted(house: House) -> int:
    host = calls_of(house).relayed.host
    assert host is not None
    return len(host)


async def sweep(house: House) -> None:
    calls = calls_of(house)
    assert calls.relayed.host is not None
    await calls.flow.sweep()
    await calls.relayed.host.sweep()


async def test_two_on_different_pods_hear_each_other_through_the_starters_pod(apart: Apart) -> None:
    hers, his = await apart.talk(backend="relay")
    assert (hers.backend, his.backend) == ("relay", "relay")
    await eventually(flows(hers, his, **OVER_SERVER))
    assert (hosted(apart.east), hosted(apart.west)) == (1, 0)
    host = calls_of(apart.east).relayed.host
    assert host is not None
    room = host.hosted(hers.call_id)
    assert room is not None
    # As after a stall: what is too old to be heard is left out.
    room.people[0].leg.sound.add(bytes(BLOCK_BYTES * 20))
    assert apart.east.metric("auricle_bound_reached_total", bound="max_relay_lag_s") >= 1
    # They have nothing to do with each other any more.
    assert set(hers.frames) | set(his.frames) == {RELAY_PEER}
    await his.offer(0)
    assert his.refused == ["relayed"]
    await apart.pat.end.hang_up()
    assert await apart.ann.over() == "hung_up"
    await eventually(lambda: hosted(apart.east) == 0)


async def test_pictures_come_and_a_restart_goes_on_with_a_new_connection(apart: Apart) -> None:
    apart.ann.end._tracks = sound_and_picture
    apart.pat.end._tracks = sound_and_picture
    hers, his = await apart.talk(backend="relay")
    host = calls_of(apart.east).relayed.host
    assert host is not None
    room = host.hosted(hers.call_id)
    assert room is not None
    await eventually(lambda: len(room.people) == 2)
    await eventually(lambda: all(one.leg.frames["video"] > 5 for one in room.people.values()))
    await eventually(flows(hers, his, **OVER_SERVER))
    first = room.people[1].leg
    # His network has changed: new credentials, new ports.
    await his.offer(RELAY_PEER, kind="restart")
    before = dict(hers.frames), dict(his.frames)
    await eventually(lambda: room.people[1].leg is not first and room.people[1].leg.is_connected)
    await eventually(lambda: room.people[1].leg.frames["audio"] > 20)
    await eventually(
        lambda: (
            hers.frames[RELAY_PEER] > before[0][RELAY_PEER] + 20 and his.frames[RELAY_PEER] > before[1][RELAY_PEER] + 20
        )
    )


async def test_the_call_ends_with_a_reason_when_the_pod_that_passes_media_on_is_gone(apart: Apart) -> None:
    hers, his = await apart.talk(backend="relay")
    await eventually(flows(hers, his, **OVER_SERVER))
    flow = calls_of(apart.west).flow
    gone = calls_of(apart.east).flow.parts.pod
    flow.parts = replace(flow.parts, is_alive=lambda pod: pod != gone)
    await flow.sweep()
    assert await apart.pat.over() == "relay_gone"


async def test_a_call_moves_to_the_server_once_everybody_wishes_it(apart: Apart) -> None:
    hers, his = await apart.talk()
    await eventually(flows(hers, his))
    wished = await apart.pat.end.wish_for_relay()
    assert isinstance(wished, CallAnswer)
    assert wished.backend == "webrtc"
    await eventually(lambda: any(one.peers[1].wants_relay for one in apart.ann.news if isinstance(one, CallChanged)))
    assert isinstance(await apart.ann.end.wish_for_relay(), CallAnswer)
    await eventually(flows(hers, his, **OVER_SERVER))
    assert (hers.backend, his.backend) == ("relay", "relay")


async def house_with(stack: AsyncExitStack, open_house: OpenHouse, **changes: Any) -> Apart:
    house = await open_house(media_relay=True, **changes)
    return await met(stack, house, house)


async def test_only_so_many_calls_and_ports(open_house: OpenHouse) -> None:
    async with AsyncExitStack() as stack:
        port = free_port()
        scene = await house_with(stack, open_house, max_relayed_calls=1, relay_ports=f"{port}-{port}")
        host = calls_of(scene.east).relayed.host
        assert host is not None
        host._hosted["another"] = None  # type: ignore[assignment]  # it only has to be there
        refusal = refused(await scene.ann.end.start(backend="relay"))
        assert (refusal.code, refusal.retryable, refusal.retry_after_ms) == ("relay_busy", True, 10_000)
        assert scene.east.metric("auricle_bound_reached_total", bound="max_relayed_calls") == 1
        del host._hosted["another"]
        await scene.talk(backend="relay")
        await eventually(lambda: hosted(scene.east) == 1)
        # The first has the port, and there is no other one.
        await eventually_asked(lambda: _ports(scene, {port}))


async def _ports(scene: Apart, wanted: set[int]) -> bool:
    host = calls_of(scene.east).relayed.host
    assert host is not None
    lines = [
        line.split(" ")
        for room in host._hosted.values()
        for person in room.people.values()
        for line in person.leg._peer.localDescription.sdp.splitlines()
        if line.startswith("a=candidate:")
    ]
    return {int(words[5]) for words in lines} == wanted


async def test_whoever_sends_too_much_is_out_of_the_call(open_house: OpenHouse) -> None:
    async with AsyncExitStack() as stack:
        scene = await house_with(stack, open_house, max_relay_bps=100)
        hers, his = await scene.talk(backend="relay")
        await eventually(flows(hers, his, **OVER_SERVER))
        host = calls_of(scene.east).relayed.host
        assert host is not None
        room = host.hosted(hers.call_id)
        assert room is not None

        async def is_out() -> bool:
            had = {number: person.leg.frames["audio"] for number, person in room.people.items()}
            await eventually(
                lambda: all(one.leg.frames["audio"] > had.get(number, 0) + 10 for number, one in room.people.items())
            )
            # As if two seconds had passed with what has come meanwhile.
            room.weighed_s = max(room.weighed_s - 2.0, 1e-3) if room.weighed_s else 0.0
            await sweep(scene.east)
            return hosted(scene.east) == 0

        await eventually_asked(is_out)
        assert await scene.pat.over() == "over_limit"
        assert scene.east.metric("auricle_bound_reached_total", bound="max_relay_bps") >= 1


async def only_looking(stack: AsyncExitStack, one: Person, call_id: str) -> MediaStreamTrack:
    """Take part and send nothing: what is heard."""
    answer = await one.hub.ask("AnswerCall", AnswerCall(visit="v1", call_id=call_id), answer=CallAnswer)
    assert isinstance(answer, CallAnswer), answer
    assert answer.offer_to == (RELAY_PEER,)
    link, came = new_peer(()), list[MediaStreamTrack]()
    stack.push_async_callback(link.close)
    link.on("track", came.append)
    link.addTransceiver("audio", direction="recvonly")
    await link.setLocalDescription(await link.createOffer())
    offer = SendSignal(visit="v1", call_id=call_id, to=RELAY_PEER, kind="offer", sdp=link.localDescription.sdp)
    assert isinstance(await one.hub.ask("SendSignal", offer, answer=Done), Done)
    # Nothing of his own takes it.
    await eventually(lambda: one.end._early)
    await link.setRemoteDescription(RTCSessionDescription(sdp=str(one.end._early[0].sdp), type="answer"))
    return came[0]


async def test_three_hear_each_other_and_who_only_looks_on_is_heard_by_nobody(open_house: OpenHouse) -> None:
    async with AsyncExitStack() as stack:
        house = await open_house(media_relay=True)
        scene = await met(stack, house, house, MIA, Participant("p4", "trainee", name="Tim"))
        mia, tim = await guest(stack, house, "p3"), await guest(stack, house, "p4")
        for one, name in ((mia, "p3"), (tim, "p4")):
            await join(one.hub)
            assert isinstance(await admitted(scene.ann.hub, name), Invited)
        hers, his = await scene.talk(backend="relay")
        talks = [hers, his]
        talk = await mia.end.answer(await mia.rung())
        assert isinstance(talk, Talk), talk
        talks.append(talk)
        looking_on = await only_looking(stack, tim, hers.call_id)
        await eventually(lambda: min(talk.frames.get(RELAY_PEER, 0) for talk in talks) > 50)
        for _ in range(10):
            await looking_on.recv()
        host = calls_of(house).relayed.host
        assert host is not None
        hosted = host.hosted(hers.call_id)
        assert hosted is not None
        spoke: set[tuple[int, ...]] = set()
        hosted.room.on_blocks = lambda _, blocks: spoke.add(tuple(sorted(blocks)))
        await eventually(lambda: (0, 1, 2) in spoke)
        assert not any(3 in peers for peers in spoke)
        # He was asked not to send at all.
        sdps = {number: one.leg._peer.localDescription.sdp for number, one in hosted.people.items()}
        assert [number for number, sdp in sdps.items() if "a=sendonly" in sdp] == [3]


async def test_it_is_off_unless_it_was_asked_for(house: House) -> None:
    async with AsyncExitStack() as stack:
        scene = await met(stack, house, house)
        refusal = refused(await scene.ann.end.start(backend="relay"))
        assert (refusal.code, refusal.retryable) == ("relay_off", False)
        assert calls_of(house).relayed.host is None


async def test_what_is_said_to_a_pod_that_does_not_answer(apart: Apart) -> None:
    hers, his = await apart.talk(backend="relay")
    await eventually(flows(hers, his, **OVER_SERVER))
    line = calls_of(apart.west).relay._line
    line._timeout_s = 0.01
    calls_of(apart.east).relay._line._backplane.unsubscribe(f"relay:{calls_of(apart.east).flow.parts.pod}")
    await eventually_asked(lambda: _is_away(his))
    assert apart.west.metric("auricle_bound_reached_total", bound="relay_answer_s") >= 1


async def _is_away(his: Talk) -> bool:
    await his.offer(RELAY_PEER, kind="restart")
    return "relay_away" in his.refused
