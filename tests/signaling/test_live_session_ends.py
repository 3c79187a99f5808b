"""Live work over real sockets: what keeps it alive, what freezes it, and every way in which it ends."""

from typing import Any

import msgspec
import pytest

from protocol.contract.base import Answer
from protocol.contract.devices import (
    AcquireLease,
    AttachAnswer,
    DeviceAnswer,
    DeviceQuery,
    InAidChanged,
    LeaseAnswer,
    Offer,
)
from protocol.contract.fitting import Patch, SubmitAnswer
from protocol.contract.sessions import (
    AnswerConsent,
    DeviceHeld,
    Done,
    Heartbeat,
    Hold,
    LeaseLost,
    LeaseRenewed,
    ModeAnswer,
    ModeChanged,
    ReadBackNow,
    Relayed,
    ReleaseLease,
    Revert,
    RevertNow,
    SessionAlive,
    StealLease,
)
from tests.eventually import eventually
from tests.signaling.care import CLAIM, CONTENT, Connect, change, louder, submit
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, images_of, refused, visit

LOUDER = Patch(slot=1, ops=louder(20))


def hold(here: Visit) -> Hold:
    return Hold(device="d1", session="s1", fence=here.leased.fence)


async def sweep(house: House, seconds: float = 0.0) -> None:
    """Time passes for the server: both its clocks."""
    house.wall.now_s += seconds
    house.monotonic.now_s += seconds
    await house.sweep_care()


async def base_of(here: Visit) -> LeaseAnswer:
    return await here.call("AcquireLease", AcquireLease(device="d1", session="s1"), LeaseAnswer)


# What keeps it alive, and what freezes it


async def test_while_it_lives_the_phone_is_told_so_and_not_a_moment_longer(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for _ in range(4):
        await sweep(house, 5)
        await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
        await here.call("RenewLease", hold(here), LeaseRenewed)
    await eventually(lambda: len(here.phone.of(SessionAlive)) >= 4)
    before = len(here.phone.of(SessionAlive))
    await sweep(house, 15)
    await eventually(lambda: here.phone.of(ModeChanged)[-1].state == "none")
    await sweep(house, 5)
    assert here.phone.of(RevertNow) == []
    assert len(here.phone.of(SessionAlive)) == before


@pytest.mark.parametrize("silent", ["phone", "fitter"])
async def test_when_one_end_falls_silent_nothing_may_rise_but_it_may_fall(
    connect: Connect, house: House, silent: str
) -> None:
    here = await visit(connect)
    await sweep(house, 6)
    if silent == "fitter":
        await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    else:
        await here.call("RenewLease", hold(here), LeaseRenewed)
    await sweep(house, 5)
    frozen = await here.fitter.first(ModeChanged, 1)
    assert (frozen.mode, frozen.state) == ("advanced", "frozen")
    assert refused(await submit(here.ann, change(here.leased))).code == "frozen"
    quieter = change(here.leased, *louder(-20), key="k2")
    await here.call("Submit", quieter, SubmitAnswer)
    await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    assert (await here.call("RenewLease", hold(here), LeaseRenewed)).state == "frozen"
    await sweep(house)
    assert (await here.fitter.first(ModeChanged, 2)).state == "live"


async def keep(here: Visit, house: House, seconds: float, **more: Any) -> None:
    """Both ends stay there for so long, the phone saying that of its aids."""
    for _ in range(int(seconds / 5)):
        await here.call("Heartbeat", Heartbeat(device="d1", **more), Done, by=here.pat)
        await here.call("RenewLease", hold(here), LeaseRenewed)
        await sweep(house, 5)


async def test_while_an_aid_is_out_of_reach_nothing_may_rise(connect: Connect, house: House) -> None:
    here = await visit(connect)
    await keep(here, house, 5, away=("right",))
    # A phone that says nothing of its aids moves nothing.
    await keep(here, house, 5)
    assert (await here.fitter.first(ModeChanged, 1)).state == "frozen"
    assert refused(await submit(here.ann, change(here.leased))).code == "frozen"
    await keep(here, house, 5, away=())
    assert (await here.fitter.first(ModeChanged, 2)).state == "live"
    await here.apply(change(here.leased, key="k2"))


# How it ends

ENDS: list[tuple[str, str]] = [
    ("lease_lost", "lease_lost"),
    ("battery", "battery"),
    ("background", "background"),
    ("aids_away", "session_ended"),
    ("stop", "stop"),
    ("consent_withdrawn", "consent_withdrawn"),
    ("released", "session_ended"),
    ("left", "session_ended"),
    ("stolen", "lease_lost"),
]


async def bring_about(here: Visit, house: House, connect: Connect, cause: str) -> None:
    fence = here.leased.fence
    if cause == "lease_lost":
        await sweep(house, 15)
    elif cause == "battery":
        await here.call("Heartbeat", Heartbeat(device="d1", battery=19), Done, by=here.pat)
        await sweep(house)
    elif cause == "background":
        for seconds in (0, 10, 10, 10):
            await sweep(house, seconds)
            await here.call("Heartbeat", Heartbeat(device="d1", foreground=False), Done, by=here.pat)
            await here.call("RenewLease", hold(here), LeaseRenewed)
        await sweep(house)
    elif cause == "aids_away":
        await keep(here, house, 115, away=("right",))
        assert here.phone.of(RevertNow) == []
        await keep(here, house, 5, away=("right",))
    elif cause == "stop":
        await here.call("Stop", Revert(device="d1", fence=fence), Relayed)
    elif cause == "consent_withdrawn":
        await here.call("AnswerConsent", AnswerConsent(device="d1", accepted=False), Done, by=here.pat)
    elif cause == "released":
        request = ReleaseLease(device="d1", session="s1", fence=fence, discard=True)
        await here.call("ReleaseLease", request, Done)
    elif cause == "left":
        assert isinstance(await here.set_mode("standard", discard=True), ModeAnswer)
    else:
        abe = await connect("abe", "clinician")
        request_steal = StealLease(device="d1", session="s2", reason="ann is away", idempotency_key="x")
        await here.call("StealLease", request_steal, LeaseAnswer, by=abe)


@pytest.mark.parametrize(("cause", "restore"), ENDS)
async def test_whatever_ends_it_the_base_is_restored_and_both_ends_are_told_why(
    connect: Connect, house: House, cause: str, restore: str
) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    await bring_about(here, house, connect, cause)
    revert = here.phone.of(RevertNow)[-1] if here.phone.of(RevertNow) else await here.phone.first(RevertNow)
    assert (revert.device, revert.cause, revert.fence) == ("d1", restore, here.leased.fence)
    for told in (here.phone, here.fitter):
        await eventually(lambda told=told: told.of(ModeChanged)[-1].state == "none")  # type: ignore[misc]  # bound at once
        assert told.of(ModeChanged)[-1].reason == cause
    late = refused(await submit(here.ann, change(here.leased, key="late")))
    assert late.code in {"not_live", "lease_lost", "fence_stale"}
    if cause in {"lease_lost", "stolen"}:
        assert [lost.reason for lost in here.fitter.of(LeaseLost)] == ["expired" if cause == "lease_lost" else "stolen"]


async def test_a_theft_whose_frame_comes_twice_takes_nothing_again(connect: Connect) -> None:
    here = await visit(connect)
    abe = await connect("abe", "clinician")
    theft = StealLease(device="d1", session="s2", reason="ann is away", idempotency_key="x")
    first = await here.call("StealLease", theft, LeaseAnswer, by=abe)
    back = StealLease(device="d1", session="s1", reason="I am back", idempotency_key="y")
    here.leased = await here.call("StealLease", back, LeaseAnswer)
    await here.go_live()
    late = await here.call("StealLease", theft, LeaseAnswer, by=abe)
    assert (late.fence, late.lease_for_ms, late.mode) == (first.fence, 0, "standard")
    assert (await here.call("RenewLease", hold(here), LeaseRenewed)).state == "live"
    other = msgspec.structs.replace(theft, reason="another")
    assert refused(await abe.ask("StealLease", other, answer=LeaseAnswer)).code == "idempotency_conflict"


async def test_after_a_restore_nothing_begins_before_the_aids_were_read(connect: Connect, house: House) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    await sweep(house, 15)
    here.leased = await base_of(here)
    await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    answer = refused(await here.set_mode())
    assert (answer.code, answer.retryable) == ("not_read_back", True)
    await here.tell("lease_lost", CONTENT, CONTENT)
    await here.go_live()


async def test_no_session_lasts_longer_than_it_may(connect: Connect, house: House) -> None:
    here = await visit(connect)
    for _ in range(361):
        await sweep(house, 10)
        await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
        await here.call("RenewLease", hold(here), LeaseRenewed)
    await eventually(lambda: here.fitter.of(ModeChanged)[-1].reason == "time_up")


async def test_a_phone_that_stays_silent_ends_it_when_its_own_dead_man_has_struck(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    for _ in range(6):
        await sweep(house, 5)
        await here.call("RenewLease", hold(here), LeaseRenewed)
    await eventually(lambda: here.fitter.of(ModeChanged)[-1].reason == "phone_lost")


async def test_what_was_tried_is_not_left_without_a_word(connect: Connect) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    assert refused(await here.set_mode("standard")).code == "unsaved"
    release = ReleaseLease(device="d1", session="s1", fence=here.leased.fence)
    assert refused(await here.ann.ask("ReleaseLease", release, answer=Done)).code == "unsaved"
    assert refused(await here.set_mode("standard", fence=99)).code == "fence_stale"


async def test_a_session_that_the_phone_still_has_and_the_server_not_is_undone_when_it_attaches(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    tried = here.phone.of(Offer)[0].body.right
    await here.pat.stop()
    await sweep(house, 15)
    told = type(here.phone)()
    pat = await connect("pat", "patient", "device", heard=told)
    content = msgspec.structs.replace(
        CONTENT, programs=(msgspec.structs.replace(CONTENT.programs[0], right=tried[0].program),)
    )
    claim = msgspec.structs.replace(CLAIM, right=images_of(content, CONTENT), trial=True, epoch=here.epoch)
    await pat.ask("AttachDevice", claim, answer=AttachAnswer)
    assert (await told.first(RevertNow)).cause == "session_ended"


# The safety lane


@pytest.mark.parametrize(
    ("method", "cause"),
    [("Revert", "revert"), ("Undo", "undo"), ("Stop", "stop")],
)
async def test_back_to_the_base_is_relayed_at_once_also_without_a_session(
    connect: Connect, method: str, cause: str
) -> None:
    here = await visit(connect, live=False)
    assert (await here.call(method, Revert(device="d1"), Relayed)).relayed
    assert (await here.phone.first(RevertNow)).cause == cause


async def test_a_patient_may_undo_and_stop_and_what_came_of_it_is_told(connect: Connect) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    await here.call("Undo", Revert(device="d1"), Relayed, by=here.pat)
    await here.tell("undo", CONTENT, CONTENT)
    # Over another connection than the one that has told it.
    await eventually(lambda: here.fitter.of(InAidChanged)[-1].cause == "undo")
    news = here.fitter.of(InAidChanged)[-1]
    assert news.ram == news.nvm
    device = await here.call("GetDevice", DeviceQuery(device="d1"), DeviceAnswer)
    assert device.head
    assert device.head.content == CONTENT


async def test_both_aids_are_read_when_the_fitter_asks(connect: Connect) -> None:
    here = await visit(connect, live=False)
    assert (await here.call("ReadBack", DeviceHeld(device="d1"), Relayed)).relayed
    await here.phone.first(ReadBackNow)


async def test_a_consent_that_is_given_again_changes_nothing(connect: Connect) -> None:
    here = await visit(connect)
    await here.call("AnswerConsent", AnswerConsent(device="d1", accepted=True), Answer, by=here.pat)
    assert here.phone.of(RevertNow) == []
