"""What each role of a visit may say in its call: a trainee sees and hears, an interpreter and a relative talk."""

from contextlib import AsyncExitStack

import pytest

from clients.hub_client import HubClient
from media.visit import Participant
from protocol.contract.calls import AnsweredElsewhere, CallAnswer, CallChanged, CallEnded, Signal
from protocol.contract.sessions import Done
from tests.eventually import eventually
from tests.media.test_sdp import GOOD, HEAD, RECEIVES, VIDEO
from tests.signaling.calls.test_calls_hub import say, start, started, taken
from tests.signaling.care import Connect
from tests.signaling.conftest import House
from tests.signaling.rest.desk import ask
from tests.signaling.visit import Told, refused
from tests.signaling.visiting import KIM, MIA, admitted, guest_of, join, live

TESS = Participant("p5", "trainee", name="Tess")


async def come(stack: AsyncExitStack, house: House, ann: HubClient, name: str, told: Told) -> HubClient:
    guest = await guest_of(house, name, told)
    stack.push_async_callback(guest.stop)
    await join(guest)
    await admitted(ann, name)
    return guest


async def test_a_trainee_sees_and_hears_only(house: House, connect: Connect) -> None:
    scene = await live(house, connect, TESS)
    async with AsyncExitStack() as stack:
        told = Told()
        tess = await come(stack, house, scene.ann, "p5", told)
        assert refused(await start(tess)).code == "may_not_start"
        call = await started(scene.ann)
        joined = await taken(tess, call.call_id)
        assert isinstance(joined, CallAnswer)
        for sdp in (GOOD, HEAD + RECEIVES + VIDEO):
            for kind in ("offer", "restart"):
                assert refused(await say(tess, call.call_id, 0, kind, sdp=sdp)).code == "may_not_talk"
        assert scene.ann_told.of(Signal) == []
        assert isinstance(await say(tess, call.call_id, 0, "offer", sdp=HEAD + RECEIVES), Done)
        assert (await scene.ann_told.first(Signal)).sdp == HEAD + RECEIVES
        # Everybody else talks to the trainee as to anybody.
        answer = GOOD.replace("sendrecv", "sendonly")
        assert isinstance(await say(scene.ann, call.call_id, joined.peer, "answer", sdp=answer), Done)
        assert isinstance(await say(scene.ann, call.call_id, joined.peer, "offer", sdp=GOOD), Done)
        await eventually(lambda: [one.kind for one in told.of(Signal)] == ["answer", "offer"])
        assert refused(await say(tess, call.call_id, 0, "answer", sdp=GOOD)).code == "may_not_talk"
        assert isinstance(await say(tess, call.call_id, 0, "answer", sdp=HEAD + RECEIVES), Done)


async def test_who_is_sent_away_from_the_visit_leaves_its_call(house: House, connect: Connect) -> None:
    scene = await live(house, connect, MIA, KIM)
    async with AsyncExitStack() as stack:
        told = {name: Told() for name in ("p3", "p4")}
        mia = await come(stack, house, scene.ann, "p3", told["p3"])
        await come(stack, house, scene.ann, "p4", told["p4"])
        call = await started(scene.ann)
        for one in (scene.pat, mia):
            assert isinstance(await taken(one, call.call_id), CallAnswer)
        for name in ("p3", "p4"):
            assert (await ask(house, f"DELETE /visits/v1/participants/{name}")).status == 200
            await told[name].first(AnsweredElsewhere if name == "p4" else CallChanged)
        await eventually(lambda: {one.state for one in scene.pat_told.of(CallChanged)[-1].peers[2:]} == {"left"})
        with pytest.raises(Exception, match="not_found"):
            await taken(mia, call.call_id)
        assert scene.pat_told.of(CallEnded) == []


async def test_an_interpreter_and_a_relative_talk(house: House, connect: Connect) -> None:
    scene = await live(house, connect, MIA, KIM)
    async with AsyncExitStack() as stack:
        mia = await come(stack, house, scene.ann, "p3", Told())
        kim = await come(stack, house, scene.ann, "p4", Told())
        call = await started(scene.ann)
        for guest in (mia, kim):
            joined = await taken(guest, call.call_id)
            assert isinstance(joined, CallAnswer)
            offer = await say(guest, call.call_id, 0, "offer", sdp=GOOD)
            assert isinstance(offer, Done)
            assert isinstance(await say(scene.ann, call.call_id, joined.peer, "answer", sdp=GOOD), Done)
            assert isinstance(await say(scene.ann, call.call_id, joined.peer, "offer", sdp=GOOD), Done)
            assert isinstance(await say(guest, call.call_id, 0, "answer", sdp=GOOD), Done)
