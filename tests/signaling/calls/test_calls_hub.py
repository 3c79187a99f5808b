"""Calls over the hub: who rings, who has the call, what is relayed and what is refused."""

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from clients.hub_client import HubClient
from media.call import Call
from protocol.contract.base import Failure
from protocol.contract.calls import (
    AnswerCall,
    AnsweredElsewhere,
    CallAnswer,
    CallChanged,
    CallEnded,
    DeclineCall,
    EndCall,
    IncomingCall,
    SendSignal,
    SetCallMedia,
    Signal,
    StartCall,
)
from protocol.contract.sessions import Done
from signaling.calls.flow import CallFlow
from signaling.calls.registry import CallRegistry
from signaling.hubs.care_hub import CareHub
from tests.eventually import eventually
from tests.media.test_sdp import FP, GOOD
from tests.signaling.care import Connect
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.visit import Told, refused
from tests.signaling.visiting import KIM, MIA, Scene, admitted, flow_of, guest_of, join, live

OTHER_FP = ":".join(["CD"] * 32)


@pytest.fixture
async def scene(house: House, connect: Connect) -> Scene:
    return await live(house, connect)


async def start(who: HubClient, **options: Any) -> CallAnswer | Failure:
    return await who.ask("StartCall", StartCall(visit="v1", media="audio", **options), answer=CallAnswer)


async def started(who: HubClient, **options: Any) -> CallAnswer:
    answer = await start(who, **options)
    assert isinstance(answer, CallAnswer), answer
    return answer


async def taken(who: HubClient, call_id: str) -> CallAnswer | Failure:
    return await who.ask("AnswerCall", AnswerCall(visit="v1", call_id=call_id), answer=CallAnswer)


async def say(who: HubClient, call_id: str, to: int, kind: Any, **what: Any) -> Done | Failure:
    request = SendSignal(visit="v1", call_id=call_id, to=to, kind=kind, **what)
    return await who.ask("SendSignal", request, answer=Done)


def flow_of_calls(house: House) -> CallFlow:
    hub = house.parts.hubs[0].hub
    assert isinstance(hub, CareHub)
    return hub._calls.flow


async def sweep(house: House) -> None:
    await flow_of_calls(house).sweep()


async def in_call(scene: Scene) -> str:
    """Ann and Pat talk; Ann is peer 0, Pat 1."""
    call = await started(scene.ann)
    answer = await taken(scene.pat, call.call_id)
    assert isinstance(answer, CallAnswer)
    assert (answer.peer, answer.offer_to, answer.state) == (1, (0,), "active")
    await scene.ann_told.first(CallChanged)
    return call.call_id


async def test_it_rings_on_all_devices_and_the_first_that_answers_has_it(
    house: House, scene: Scene, connect: Connect
) -> None:
    tablet_told = Told()
    tablet = await connect("pat", "patient", heard=tablet_told)
    call = await started(scene.ann)
    assert (call.state, call.peer, call.offer_to, call.ice_servers) == ("ringing", 0, (), ())
    for told in (scene.pat_told, tablet_told):
        ringing = await told.first(IncomingCall)
        assert (ringing.call_id, ringing.caller, ringing.media) == (call.call_id, "ann", "audio")
        assert 0 < ringing.ring_for_ms <= 45_000
    answer = await taken(tablet, call.call_id)
    assert isinstance(answer, CallAnswer)
    assert (await scene.pat_told.first(AnsweredElsewhere)).call_id == call.call_id
    changed = await scene.ann_told.first(CallChanged)
    assert [(one.user, one.state) for one in changed.peers] == [("ann", "joined"), ("pat", "joined")]
    assert tablet_told.of(AnsweredElsewhere) == []


async def test_each_end_and_why(scene: Scene) -> None:
    for leave, reason in (("DeclineCall", "declined"), ("EndCall", "cancelled")):
        call = await started(scene.ann)
        kind, who = (DeclineCall, scene.pat) if leave == "DeclineCall" else (EndCall, scene.ann)
        assert isinstance(await who.ask(leave, kind(visit="v1", call_id=call.call_id), answer=Done), Done)
        for told in (scene.ann_told, scene.pat_told):
            await eventually(
                lambda told=told, call=call, reason=reason: (
                    (call.call_id, reason)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
                    in [(one.call_id, one.reason) for one in told.of(CallEnded)]
                )
            )
        assert refused(await taken(scene.pat, call.call_id)).code == "no_call"


async def test_nobody_answers(house: House, scene: Scene) -> None:
    await started(scene.ann)
    house.wall.now_s += 46
    await sweep(house)
    assert (await scene.pat_told.first(CallEnded)).reason == "no_answer"
    assert (await scene.ann_told.first(CallEnded)).reason == "no_answer"


async def test_two_who_call_each_other_are_in_one_call(scene: Scene) -> None:
    hers, his = await started(scene.ann), await started(scene.pat)
    assert (his.call_id, his.state, his.peer, his.offer_to) == (hers.call_id, "active", 1, (0,))


async def test_whoever_is_lost_comes_back_over_another_connection(house: House, scene: Scene, connect: Connect) -> None:
    call_id = await in_call(scene)
    await scene.pat.stop()
    await eventually(lambda: any(one.peers[1].state == "lost" for one in scene.ann_told.of(CallChanged)))
    back_told = Told()
    back = await connect("pat", "patient", heard=back_told)
    answer = await taken(back, call_id)
    assert isinstance(answer, CallAnswer)
    assert (answer.peer, answer.offer_to) == (1, (0,))
    assert isinstance(await say(back, call_id, 0, "offer", sdp=GOOD), Done)
    assert (await scene.ann_told.first(Signal)).peer == 1
    await back.stop()
    await eventually(lambda: scene.ann_told.of(CallChanged)[-1].peers[1].state == "lost")
    house.wall.now_s += 21
    await sweep(house)
    assert (await scene.ann_told.first(CallEnded)).reason == "gone"


async def test_what_is_said_arrives_in_order_and_candidates_behind_their_description(scene: Scene) -> None:
    call_id = await in_call(scene)
    for number in range(3):
        text = f"candidate:1 1 udp {number} 198.35.26.96 5000 typ host"
        assert isinstance(await say(scene.pat, call_id, 0, "candidate", candidate=text, sdp_mid="0"), Done)
    assert isinstance(await say(scene.pat, call_id, 0, "offer", sdp=GOOD), Done)
    assert isinstance(await say(scene.pat, call_id, 0, "candidate", candidate=""), Done)
    await eventually(lambda: len(scene.ann_told.of(Signal)) == 5)
    heard = scene.ann_told.of(Signal)
    assert [one.kind for one in heard] == ["offer", "candidate", "candidate", "candidate", "candidate"]
    assert (heard[0].sdp, heard[1].sdp_mid, heard[4].candidate) == (GOOD, "0", "")
    assert [str(one.candidate).split(" ")[3] for one in heard[1:4]] == ["0", "1", "2"]
    assert isinstance(await say(scene.ann, call_id, 1, "answer", sdp=GOOD.replace(FP, OTHER_FP)), Done)
    assert (await scene.pat_told.first(Signal)).kind == "answer"


async def test_offers_that_cross_and_restarts(scene: Scene) -> None:
    call_id = await in_call(scene)
    assert isinstance(await say(scene.pat, call_id, 0, "offer", sdp=GOOD), Done)
    assert isinstance(await say(scene.ann, call_id, 1, "offer", sdp=GOOD), Done)
    assert refused(await say(scene.pat, call_id, 0, "offer", sdp=GOOD)).code == "glare"
    assert isinstance(await say(scene.pat, call_id, 0, "answer", sdp=GOOD), Done)
    assert refused(await say(scene.pat, call_id, 0, "answer", sdp=GOOD)).code == "no_offer"
    assert isinstance(await say(scene.ann, call_id, 1, "offer", sdp=GOOD), Done)
    other = GOOD.replace(FP, OTHER_FP)
    assert refused(await say(scene.pat, call_id, 0, "answer", sdp=other)).code == "fingerprint_changed"
    assert isinstance(await say(scene.ann, call_id, 1, "restart", sdp=GOOD), Done)
    assert isinstance(await say(scene.pat, call_id, 0, "answer", sdp=other), Done)


async def test_what_is_not_relayed(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    for kind, what, code in (
        ("offer", {}, "no_signal"),
        ("candidate", {"sdp": GOOD}, "no_signal"),
        ("offer", {"sdp": GOOD.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP")}, "sdp_refused"),
        ("candidate", {"candidate": "candidate:1 1 udp 1 169.254.169.254 80 typ host"}, "candidate_refused"),
    ):
        assert refused(await say(scene.pat, call_id, 0, kind, **what)).code == code
    assert refused(await say(scene.pat, "another", 0, "offer", sdp=GOOD)).code == "no_call"
    assert refused(await say(scene.pat, "another", 0, "candidate", candidate="")).code == "no_call"
    assert refused(await say(scene.pat, call_id, 7, "offer", sdp=GOOD)).code == "no_such_peer"
    assert refused(await say(scene.pat, call_id, 7, "candidate", candidate="")).code == "no_such_peer"
    assert scene.ann_told.of(Signal) == []
    assert "169.254" not in house.log.getvalue()
    assert "SAVPF" not in house.log.getvalue()


async def test_signals_have_their_bounds(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    assert isinstance(await say(scene.pat, call_id, 0, "offer", sdp=GOOD), Done)
    codes = {
        refused(outcome).code
        for outcome in [await say(scene.pat, call_id, 0, "candidate", candidate="") for _ in range(66)]
        if isinstance(outcome, Failure)
    }
    assert codes == {"too_many_candidates"}
    outcomes = [await say(scene.pat, call_id, 0, "candidate", candidate="") for _ in range(40)]
    assert refused(outcomes[-1]).code == "too_many_signals"
    assert refused(outcomes[-1]).retry_after_ms == 1_000
    assert refused(await say(scene.pat, call_id, 0, "offer", sdp=GOOD)).code == "too_many_signals"
    assert house.metric("auricle_bound_reached_total", bound="max_candidates") > 0
    assert house.metric("auricle_bound_reached_total", bound="max_signals") > 0


async def test_only_who_was_let_in_calls_and_is_called(house: House, scene: Scene, connect: Connect) -> None:
    other = await connect("abe", "clinician")
    assert refused(await start(other)).code == "not_admitted"
    assert refused(await start(scene.ann, invite=("eve",))).code == "nobody_there"
    call_id = await in_call(scene)
    assert refused(await taken(other, call_id)).code == "no_call"


async def test_roles_guests_and_how_many(house: House, connect: Connect) -> None:
    scene = await live(house, connect, MIA, KIM)
    kim_told, mia_told = Told(), Told()
    mia, kim = await guest_of(house, "p3", mia_told), await guest_of(house, "p4", kim_told)
    try:
        for guest, name in ((mia, "p3"), (kim, "p4")):
            await join(guest)
            await admitted(scene.ann, name)
        assert refused(await start(kim)).code == "may_not_start"
        call = await started(scene.ann, invite=("pat",))
        await scene.pat_told.first(IncomingCall)
        assert kim_told.of(IncomingCall) == []
        assert isinstance(await taken(scene.pat, call.call_id), CallAnswer)
        # Who was not rung may come all the same.
        joined = await started(mia)
        assert (joined.peer, joined.offer_to, joined.state) == (2, (0, 1), "active")
        for_all = EndCall(visit="v1", call_id=call.call_id, for_all=True)
        assert refused(await mia.ask("EndCall", for_all, answer=Done)).code == "not_leading"
        muted = SetCallMedia(visit="v1", call_id=call.call_id, muted=True)
        assert isinstance(await mia.ask("SetCallMedia", muted, answer=Done), Done)
        await eventually(lambda: scene.pat_told.of(CallChanged)[-1].peers[2].muted)
        assert refused(await kim.ask("SetCallMedia", muted, answer=Done)).code == "no_call"
        assert isinstance(await scene.ann.ask("EndCall", for_all, answer=Done), Done)
        assert (await mia_told.first(CallEnded)).reason == "hung_up"
    finally:
        await mia.stop()
        await kim.stop()


async def test_the_end_of_the_visit_is_the_end_of_its_call(house: House, scene: Scene) -> None:
    await in_call(scene)
    await flow_of(house).end("v1", by="ann", reason="done")
    assert (await scene.pat_told.first(CallEnded)).reason == "visit_ended"
    assert refused(await start(scene.ann)).code == "not_admitted"


async def test_only_so_many_are_in_a_call(open_house: OpenHouse) -> None:
    house = await open_house(max_call_peers=2)
    async with AsyncExitStack() as stack:

        async def connect(user: str, *roles: str, heard: Told | None = None) -> HubClient:
            client = HubClient(f"{house.url}/hub", token=house.token(user, *roles), reconnect=None)
            if heard is not None:
                heard.listen(client)
            await client.start()
            stack.push_async_callback(client.stop)
            return client

        scene = await live(house, connect, MIA)
        mia = await guest_of(house, "p3")
        stack.push_async_callback(mia.stop)
        await join(mia)
        await admitted(scene.ann, "p3")
        assert refused(await start(scene.ann)).code == "call_full"
        assert house.metric("auricle_bound_reached_total", bound="max_call_peers") == 1
        call_id = (await started(scene.ann, invite=("pat",))).call_id
        assert isinstance(await taken(scene.pat, call_id), CallAnswer)
        assert refused(await start(mia, invite=("ann",))).code == "call_full"


class Counted:
    """A registry whose questions are counted."""

    def __init__(self, registry: CallRegistry) -> None:
        self.asked = 0
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def get(self, visit: str) -> Call | None:
        self.asked += 1
        return await self._registry.get(visit)


def counted(house: House) -> Counted:
    flow = flow_of_calls(house)
    registry = Counted(flow._registry)
    flow._registry = registry
    return registry


async def test_who_leaves_and_time_that_passes_ask_for_no_call_that_they_do_not_concern(
    house: House, scene: Scene, connect: Connect
) -> None:
    await in_call(scene)
    registry = counted(house)
    other = await connect("abe", "clinician")
    await other.stop()
    await eventually(lambda: house.app_sessions() == 2)
    for _ in range(5):
        await sweep(house)
    assert registry.asked == 0
    house.wall.now_s += 5
    for _ in range(5):
        await sweep(house)
    assert registry.asked == 1


async def test_whoever_was_on_a_pod_that_is_gone_may_come_back_for_a_while(house: House, scene: Scene) -> None:
    await in_call(scene)
    flow = flow_of_calls(house)
    # Those who were on it are on none that lives, and not on this one.
    flow.parts = replace(flow.parts, is_alive=lambda _: False, pod="another")
    await sweep(house)
    house.wall.now_s += 21
    await sweep(house)
    assert (await scene.ann_told.first(CallEnded)).reason == "gone"
