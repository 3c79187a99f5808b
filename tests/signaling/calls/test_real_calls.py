"""Real calls: two ends with aiortc on different pods, sound that is decoded at both, over coturn alone too."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from aiortc import MediaStreamTrack, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack

from clients.call_quality import QualityReporter
from clients.calling import Talk
from clients.hub_client import HubClient
from clients.tone import ToneTrack
from media.aiortc_seam import new_peer
from protocol.contract.calls import (
    AnswerCall,
    CallAnswer,
    CallEnded,
    DeviceCheckAnswer,
    DeviceCheckResult,
    EndDeviceCheck,
    SendSignal,
    Signal,
    StartDeviceCheck,
)
from protocol.contract.sessions import Done
from signaling.calls.device_checks import DeviceChecks
from tests.coturn import coturn, needs_coturn
from tests.databases import lent_postgres
from tests.eventually import eventually, eventually_asked
from tests.media.test_peer import offered
from tests.media.test_sdp import GOOD
from tests.postgres import PostgresServer
from tests.redis_server import redis_server
from tests.signaling.calls.people import Apart, calls_of, flows, met, person
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import two_pods
from tests.signaling.visit import Told, refused


@pytest.fixture
async def apart(postgres: PostgresServer) -> AsyncIterator[Apart]:
    async with lent_postgres(postgres) as url, AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        east, west = await stack.enter_async_context(two_pods(url, bus.url))
        yield await met(stack, east, west)


async def test_two_on_different_pods_hear_each_other_until_one_hangs_up(apart: Apart) -> None:
    hers, his = await apart.talk()
    await eventually(flows(hers, his))
    assert (hers.is_connected(1), his.is_connected(0)) == (True, True)
    await apart.pat.end.hang_up()
    await eventually(lambda: apart.ann.has(CallEnded))
    assert [one.reason for one in apart.ann.news if isinstance(one, CallEnded)] == ["hung_up"]
    # What another pod has ended is over here too.
    for house in (apart.east, apart.west):
        assert await calls_of(house).flow.now("v1") is None


async def test_a_restart_after_a_network_has_changed_goes_on_with_a_new_connection(apart: Apart) -> None:
    hers, his = await apart.talk()
    await eventually(flows(hers, his))
    await his.offer(0, kind="restart")
    before = dict(hers.frames), dict(his.frames)
    await eventually(lambda: hers.frames[1] > before[0][1] + 20 and his.frames[0] > before[1][0] + 20)


async def test_two_who_call_each_other_at_once_are_in_one_call_and_hear_each_other(apart: Apart) -> None:
    hers, his = await apart.ann.end.start(), await apart.pat.end.start()
    assert isinstance(hers, Talk)
    assert isinstance(his, Talk)
    assert hers.call_id == his.call_id
    await hers.offer(1)
    await eventually(flows(hers, his))


async def test_a_candidate_for_whoever_came_back_on_another_pod_waits_for_a_description(apart: Apart) -> None:
    hers, _ = await apart.talk()
    async with AsyncExitStack() as stack:
        await apart.pat.hub.stop()
        told = Told()
        back = HubClient(f"{apart.west.url}/hub", token=apart.west.token("pat", "patient"), reconnect=None)
        told.listen(back)
        await back.start()
        stack.push_async_callback(back.stop)
        request = AnswerCall(visit="v1", call_id=hers.call_id)
        answer = await back.ask("AnswerCall", request, answer=CallAnswer)
        assert isinstance(answer, CallAnswer)
        apart.east.wall.now_s += 2
        says = partial(SendSignal, visit="v1", call_id=hers.call_id, to=1)
        candidate = says(kind="candidate", candidate="")
        assert isinstance(await apart.ann.hub.ask("SendSignal", candidate, answer=Done), Done)
        offer = says(kind="offer", sdp=GOOD)
        assert isinstance(await apart.ann.hub.ask("SendSignal", offer, answer=Done), Done)
        await eventually(lambda: len(told.of(Signal)) == 2)
        assert [one.kind for one in told.of(Signal)] == ["offer", "candidate"]


async def test_each_end_reports_how_good_it_is_for_it_and_that_is_kept(apart: Apart) -> None:
    hers, his = await apart.talk()
    await eventually(flows(hers, his))
    reporters = [
        QualityReporter(person.hub, "v1", talk.call_id, talk.links)
        for person, talk in ((apart.ann, hers), (apart.pat, his))
    ]
    for _ in range(2):
        for house in (apart.east, apart.west):
            house.wall.now_s += 5
        for reporter in reporters:
            await reporter.report()
            assert reporter.refused == []
    await apart.pat.end.hang_up()
    await eventually(lambda: apart.ann.has(CallEnded))
    # The pod of the other one finds out when it looks.
    apart.east.wall.now_s += 6
    await calls_of(apart.east).sweep()
    recorder = calls_of(apart.west).beside.recorder

    async def both() -> bool:
        found = await recorder.of_visit("v1", None, 9)
        return [len(one.quality) for one in found] == [2]

    await eventually_asked(both)
    [record] = await recorder.of_visit("v1", None, 9)
    assert [(one.peer, one.to, one.reports) for one in record.quality] == [(0, 1, 2), (1, 0, 2)]
    assert all(isinstance(one.in_kbps, int) and one.in_kbps > 0 for one in record.quality)


async def test_nothing_of_what_they_say_is_in_a_log(apart: Apart) -> None:
    hers, his = await apart.talk()
    await eventually(flows(hers, his, 1))
    for house in (apart.east, apart.west):
        text = house.log.getvalue()
        assert not any(word in text for word in ("ice-ufrag", "fingerprint", "typ host", "candidate:"))


@needs_coturn
async def test_over_a_turn_server_alone(postgres: PostgresServer, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        turn, url = stack.enter_context(coturn()), await stack.enter_async_context(lent_postgres(postgres))
        bus = stack.enter_context(redis_server())
        plan = tmp_path / "ice.json"
        plan.write_text(json.dumps({"regions": {"here": {"turn": [turn.url]}}, "default": "here"}))
        changes = {"ice_servers": str(plan), "turn_secret": turn.secret}
        east, west = await stack.enter_async_context(two_pods(url, bus.url, **changes))
        scene = await met(stack, east, west, relay_only=True)
        hers, his = await scene.talk()
        await eventually(flows(hers, his))
        for talk in (hers, his):
            assert talk.kinds_of_candidates() == {"relay"}


async def test_a_check_of_camera_and_microphone(house: House) -> None:
    async with AsyncExitStack() as stack:
        pat = await person(stack, house, "pat", "patient")
        eve = await person(stack, house, "eve", "patient")
        link, came = new_peer(()), list[MediaStreamTrack]()
        stack.push_async_callback(link.close)
        link.on("track", came.append)
        sdp = await offered(link, ToneTrack(440), VideoStreamTrack())
        check = await pat.hub.ask("StartDeviceCheck", StartDeviceCheck(sdp=sdp), answer=DeviceCheckAnswer)
        assert isinstance(check, DeviceCheckAnswer), check
        await link.setRemoteDescription(RTCSessionDescription(sdp=check.sdp, type="answer"))
        for track in came:
            await track.recv()
        ending = EndDeviceCheck(check_id=check.check_id)
        assert refused(await eve.hub.ask("EndDeviceCheck", ending, answer=DeviceCheckResult)).code == "no_device_check"
        result = await pat.hub.ask("EndDeviceCheck", ending, answer=DeviceCheckResult)
        assert isinstance(result, DeviceCheckResult)
        assert (result.audio, result.video, result.loss_permille) == (True, True, 0)
        assert refused(await pat.hub.ask("EndDeviceCheck", ending, answer=DeviceCheckResult)).code == "no_device_check"


async def test_checks_are_few_short_and_end_with_their_connection(open_house: OpenHouse) -> None:
    house = await open_house(max_device_checks=1, device_check_s=0.05)
    async with AsyncExitStack() as stack:
        pat, eve = [await person(stack, house, user, "patient") for user in ("pat", "eve")]
        link = new_peer(())
        stack.push_async_callback(link.close)
        request = StartDeviceCheck(sdp=await offered(link, ToneTrack(440)))
        checks = checks_of(house)
        bad = StartDeviceCheck(sdp="v=0")
        assert refused(await pat.hub.ask("StartDeviceCheck", bad, answer=DeviceCheckAnswer)).code == "sdp_refused"
        assert isinstance(await pat.hub.ask("StartDeviceCheck", request, answer=DeviceCheckAnswer), DeviceCheckAnswer)
        await eventually(lambda: house.metric("auricle_bound_reached_total", bound="device_check_s") == 1)
        await eventually(lambda: len(checks) == 0)
        house = await open_house(max_device_checks=1)
        pat, eve = [await person(stack, house, user, "patient") for user in ("pat", "eve")]
        checks = checks_of(house)
        # A second one of the same person ends the first.
        for _ in range(2):
            answer = await pat.hub.ask("StartDeviceCheck", request, answer=DeviceCheckAnswer)
            assert isinstance(answer, DeviceCheckAnswer)
        full = refused(await eve.hub.ask("StartDeviceCheck", request, answer=DeviceCheckAnswer))
        assert (full.code, full.retryable) == ("device_check_busy", True)
        assert house.metric("auricle_bound_reached_total", bound="max_device_checks") == 1
        await pat.hub.stop()
        await eventually(lambda: len(checks) == 0)
        off = await open_house(dev=False, dev_signing_key="x" * 32)
        pat = await person(stack, off, "pat", "patient")
        refusal = refused(await pat.hub.ask("StartDeviceCheck", request, answer=DeviceCheckAnswer))
        assert refusal.code == "device_check_off"


def checks_of(house: House) -> DeviceChecks:
    return calls_of(house).checks
