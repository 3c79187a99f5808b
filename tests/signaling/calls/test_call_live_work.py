"""What a call means for live work on the aids: each end and each freeze brought about by its cause, over the real hub.

Nobody calls a function of the mode here, and the fitter's heartbeat says nothing of a call: what the server knows of it
is enough.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.calls import (
    RELAY_PEER,
    AnswerCall,
    CallAnswer,
    CallChanged,
    CallEnded,
    DeclineCall,
    EndCall,
    QualityChanged,
    ReportQuality,
    SetCallMedia,
    StartCall,
)
from protocol.contract.sessions import Done, Heartbeat, ModeChanged, RevertNow
from protocol.contract.visits import AdmitToVisit, Invited, JoinVisit, JoinVisitAnswer
from tests.eventually import eventually
from tests.signaling.calls.people import calls_of
from tests.signaling.calls.test_calls_hub import sweep
from tests.signaling.care import Connect, change, louder, submit
from tests.signaling.conftest import House
from tests.signaling.test_fall_backs import ended, in_flight, pass_s, state_of
from tests.signaling.visit import Told, Visit, refused, visit
from tests.signaling.visiting import MIA, flow_of, guest_of, scheduled

GOOD = {"loss_permille": 0, "jitter_ms": 3, "rtt_ms": 40}
BAD = {"loss_permille": 0, "jitter_ms": 3, "rtt_ms": 1_200}


@dataclass
class Talking:
    """Live work of ann on pat's aids, and a call in which both take part; ann is peer 0, pat peer 1."""

    here: Visit
    house: House
    call_id: str

    async def report(self, who: HubClient, to: int, **numbers: Any) -> Done | Failure:
        self.house.wall.now_s += 1
        request = ReportQuality(visit="v1", call_id=self.call_id, to=to, **numbers)
        return await who.ask("ReportQuality", request, answer=Done)

    async def hang_up(self, who: HubClient, *, for_all: bool = False) -> None:
        request = EndCall(visit="v1", call_id=self.call_id, for_all=for_all)
        assert isinstance(await who.ask("EndCall", request, answer=Done), Done)

    async def judged(self, state: str) -> None:
        await self.house.sweep_care()
        assert state_of(self.house) == state


async def rung(connect: Connect, house: House, *others: Any, media: Any = "audio") -> Talking:
    """Live work, and a call that rings at pat's."""
    here = await visit(connect)
    await scheduled(house, *others)
    for one in (here.ann, here.pat):
        assert isinstance(await one.ask("JoinVisit", JoinVisit(visit="v1"), answer=JoinVisitAnswer), JoinVisitAnswer)
    admit = AdmitToVisit(visit="v1", participant="p2")
    assert isinstance(await here.ann.ask("AdmitToVisit", admit, answer=Invited), Invited)
    begin = StartCall(visit="v1", media=media, invite=("pat",))
    call = await here.ann.ask("StartCall", begin, answer=CallAnswer)
    assert isinstance(call, CallAnswer), call
    return Talking(here, house, call.call_id)


async def talking(connect: Connect, house: House, *others: Any, media: Any = "audio") -> Talking:
    found = await rung(connect, house, *others, media=media)
    take = AnswerCall(visit="v1", call_id=found.call_id)
    assert isinstance(await found.here.pat.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
    await found.here.fitter.first(CallChanged)
    return found


async def fitter_hangs_up(call: Talking) -> None:
    await call.hang_up(call.here.ann)


async def wearer_hangs_up(call: Talking) -> None:
    await call.hang_up(call.here.pat)


async def fitter_ends_it_for_all(call: Talking) -> None:
    await call.hang_up(call.here.ann, for_all=True)


@pytest.mark.parametrize("hang_up", [fitter_hangs_up, wearer_hangs_up, fitter_ends_it_for_all])
async def test_a_hang_up_restores_the_base_and_then_ends_live_work(
    connect: Connect, house: House, hang_up: Callable[[Talking], Awaitable[None]]
) -> None:
    call = await talking(connect, house)
    heard, _, _ = await in_flight(call.here)
    await hang_up(call)
    at_phone, at_fitter = await ended(call.here.phone), await ended(call.here.fitter)
    assert (at_phone.reason, at_fitter.reason, at_fitter.draft) == ("call_ended", "call_ended", heard.revision_id)
    revert = await call.here.phone.first(RevertNow)
    assert (revert.cause, revert.fence) == ("session_ended", call.here.leased.fence)
    order = call.here.phone.order
    assert order.index("RevertNow") < len(order) - 1 - order[::-1].index("ModeChanged")
    assert state_of(house) == "none"


async def test_a_call_that_nobody_took_ends_nothing(connect: Connect, house: House) -> None:
    call = await rung(connect, house)
    decline = DeclineCall(visit="v1", call_id=call.call_id)
    assert isinstance(await call.here.pat.ask("DeclineCall", decline, answer=Done), Done)
    await call.here.fitter.first(CallEnded)
    await call.judged("live")
    assert call.here.phone.of(RevertNow) == []


async def test_who_is_lost_in_the_call_freezes_and_who_does_not_come_back_ends(connect: Connect, house: House) -> None:
    call = await talking(connect, house)
    tablet_told = Told()
    tablet = await connect("pat", "patient", heard=tablet_told)
    take = AnswerCall(visit="v1", call_id=call.call_id)
    assert isinstance(await tablet.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
    await tablet.stop()
    await eventually(lambda: call.here.fitter.of(CallChanged)[-1].peers[1].state == "lost")
    await call.judged("frozen")
    assert refused(await submit(call.here.ann, change(call.here.leased))).code == "frozen"
    lower = change(call.here.leased, *louder(-10), key="k9")
    assert not isinstance(await submit(call.here.ann, lower), Failure)
    assert isinstance(await call.here.pat.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
    await call.judged("live")
    assert call.here.phone.of(RevertNow) == []
    back = await connect("pat", "patient")
    assert isinstance(await back.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
    await back.stop()
    await eventually(lambda: call.here.fitter.of(CallChanged)[-1].peers[1].state == "lost")
    house.wall.now_s += 21
    await sweep(house)
    assert (await ended(call.here.fitter)).reason == "call_ended"
    assert (await ended(call.here.phone)).reason == "call_ended"


async def test_a_call_too_bad_to_be_understood_freezes_and_then_leaves_advanced_mode(
    connect: Connect, house: House
) -> None:
    call = await talking(connect, house)
    await call.here.apply(change(call.here.leased))
    assert isinstance(await call.report(call.here.ann, 1, **BAD), Done)
    await call.judged("live")
    assert isinstance(await call.report(call.here.ann, 1, **BAD), Done)
    for told in (call.here.fitter, call.here.phone):
        news = await told.first(QualityChanged)
        assert (news.peer, news.to, news.grade, news.advice) == (0, 1, "bad", ("no_live_tuning",))
    await call.judged("frozen")
    await pass_s(call.here, house, 5, beat={})
    assert state_of(house) == "frozen"
    await pass_s(call.here, house, 5, beat={})
    for told in (call.here.fitter, call.here.phone):
        assert (await ended(told)).reason == "link_slow"
    assert (await call.here.phone.first(RevertNow)).cause == "session_ended"


async def test_a_call_that_gets_better_thaws_once_both_ways_are(connect: Connect, house: House) -> None:
    call = await talking(connect, house)
    for _ in range(2):
        await call.report(call.here.ann, 1, **BAD)
        await call.report(call.here.pat, 0, **BAD)
    await call.judged("frozen")
    for _ in range(3):
        await call.report(call.here.ann, 1, **GOOD)
    await call.judged("frozen")
    for _ in range(3):
        await call.report(call.here.pat, 0, **GOOD)
    await call.judged("live")
    await eventually(lambda: [one.reason for one in call.here.fitter.of(ModeChanged)][-2:] == ["freeze", "thaw"])
    assert call.here.phone.of(RevertNow) == []


async def test_lost_pictures_only_freeze(connect: Connect, house: House) -> None:
    call = await talking(connect, house, media="video")
    on = SetCallMedia(visit="v1", call_id=call.call_id, camera=True)
    for _ in range(3):
        await call.report(call.here.ann, 1, **GOOD, frames_per_s=0)
    await call.judged("live")
    assert isinstance(await call.here.pat.ask("SetCallMedia", on, answer=Done), Done)
    for _ in range(2):
        await call.report(call.here.ann, 1, **GOOD, frames_per_s=0)
    await call.judged("frozen")
    await pass_s(call.here, house, 60, beat={})
    assert state_of(house) == "frozen"
    await call.report(call.here.ann, 1, **GOOD, frames_per_s=20)
    await call.judged("live")
    # That the fitter is not seen freezes nothing.
    assert isinstance(await call.here.ann.ask("SetCallMedia", on, answer=Done), Done)
    for _ in range(3):
        await call.report(call.here.pat, 0, **GOOD, frames_per_s=0)
    await call.judged("live")


async def test_a_fitter_who_tells_that_the_picture_is_missing_freezes_it_himself(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    for call, state in (("on", "live"), ("unseen", "frozen"), ("on", "live")):
        await here.call("Heartbeat", Heartbeat(device="d1", call=call), Done)  # type: ignore[arg-type]  # a test's own words
        await house.sweep_care()
        assert state_of(house) == state
    await here.call("Heartbeat", Heartbeat(device="d1", call="unseen"), Done)
    await here.call("Heartbeat", Heartbeat(device="d1", call="ended"), Done)
    assert (await ended(here.phone)).reason == "call_ended"


async def test_who_is_neither_fitter_nor_wearer_changes_nothing(connect: Connect, house: House) -> None:
    call = await talking(connect, house, MIA)
    mia = await guest_of(house, "p3")
    try:
        assert isinstance(await mia.ask("JoinVisit", JoinVisit(visit="v1"), answer=JoinVisitAnswer), JoinVisitAnswer)
        admit = AdmitToVisit(visit="v1", participant="p3")
        assert isinstance(await call.here.ann.ask("AdmitToVisit", admit, answer=Invited), Invited)
        joined = await mia.ask("StartCall", StartCall(visit="v1", media="audio"), answer=CallAnswer)
        assert isinstance(joined, CallAnswer)
        for _ in range(3):
            assert isinstance(await call.report(mia, 1, **BAD), Done)
        await call.judged("live")
        await call.hang_up(mia)
        await call.judged("live")
        assert call.here.phone.of(RevertNow) == []
    finally:
        await mia.stop()


async def test_who_else_comes_and_goes_makes_nothing_better(connect: Connect, house: House) -> None:
    call = await talking(connect, house, MIA, media="video")
    on = SetCallMedia(visit="v1", call_id=call.call_id, camera=True)
    assert isinstance(await call.here.pat.ask("SetCallMedia", on, answer=Done), Done)
    for _ in range(2):
        await call.report(call.here.ann, 1, **GOOD, frames_per_s=0)
    await call.judged("frozen")
    mia = await guest_of(house, "p3")
    try:
        assert isinstance(await mia.ask("JoinVisit", JoinVisit(visit="v1"), answer=JoinVisitAnswer), JoinVisitAnswer)
        admit = AdmitToVisit(visit="v1", participant="p3")
        assert isinstance(await call.here.ann.ask("AdmitToVisit", admit, answer=Invited), Invited)
        assert isinstance(
            await mia.ask("StartCall", StartCall(visit="v1", media="video"), answer=CallAnswer), CallAnswer
        )
        await call.judged("frozen")
    finally:
        await mia.stop()
    # Over another connection the fitter has missed nothing yet.
    desk = await connect("ann", "clinician")
    take = AnswerCall(visit="v1", call_id=call.call_id)
    assert isinstance(await desk.ask("AnswerCall", take, answer=CallAnswer), CallAnswer)
    await call.judged("live")


async def test_through_the_server_the_way_from_it_counts(connect: Connect, house: House) -> None:
    flow = calls_of(house).flow
    flow.parts = replace(flow.parts, relay_refusal=lambda: None)
    call = await talking(connect, house, media="video")
    ann, pat = call.here.ann, call.here.pat
    for _ in range(2):
        await call.report(ann, 1, **BAD)
    await call.judged("frozen")
    wish = StartCall(visit="v1", media="video", backend="relay")
    for one in (ann, pat):
        assert isinstance(await one.ask("StartCall", wish, answer=CallAnswer), CallAnswer)
    # Nobody has reported anything of that way yet.
    await call.judged("live")
    for one in (ann, pat):
        for numbers, state in ((BAD, "frozen"), (GOOD, "live")):
            for _ in range(3):
                assert isinstance(await call.report(one, RELAY_PEER, **numbers), Done)
            await call.judged(state)
    on = SetCallMedia(visit="v1", call_id=call.call_id, camera=True)
    # That the fitter is not seen freezes nothing; that his camera is on makes nobody else's picture missing.
    assert isinstance(await ann.ask("SetCallMedia", on, answer=Done), Done)
    for one in (ann, pat):
        for _ in range(3):
            assert isinstance(await call.report(one, RELAY_PEER, **GOOD, frames_per_s=0), Done)
        await call.judged("live")
    assert isinstance(await pat.ask("SetCallMedia", on, answer=Done), Done)
    for frames_per_s, state in ((0, "frozen"), (20, "live")):
        for _ in range(2):
            await call.report(ann, RELAY_PEER, **GOOD, frames_per_s=frames_per_s)
        await call.judged(state)


async def test_the_end_of_the_visit_ends_live_work_as_before(connect: Connect, house: House) -> None:
    call = await talking(connect, house)
    await flow_of(house).end("v1", by="ann", reason="done")
    assert (await ended(call.here.fitter)).reason == "left"
    assert (await call.here.fitter.first(CallEnded)).reason == "visit_ended"


async def test_live_work_that_began_after_the_call_goes_on(connect: Connect, house: House) -> None:
    call = await talking(connect, house)
    await call.hang_up(call.here.pat)
    await ended(call.here.fitter)
    await call.here.go_live()
    await sweep(house)
    house.wall.now_s += 6
    await sweep(house)
    await call.judged("live")
