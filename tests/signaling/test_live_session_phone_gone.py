"""Live work whose phone has gone: the connection that ends is silence like any other."""

from dataclasses import replace

import msgspec
import pytest

from protocol.contract.devices import AttachAnswer
from protocol.contract.sessions import Done, Heartbeat, Hold, LeaseRenewed, ModeChanged, RevertNow
from signaling.hubs.care_hub import CareHub
from tests.eventually import eventually
from tests.signaling.care import CLAIM, CONTENT, Connect, change, submit
from tests.signaling.conftest import House
from tests.signaling.visit import Told, Visit, images_of, refused, visit


async def pass_s(here: Visit, house: House, seconds: float) -> None:
    """Time passes in steps of a sweep while the fitter renews."""
    for _ in range(int(seconds / 5)):
        house.wall.now_s += 5
        house.monotonic.now_s += 5
        await here.ann.ask("RenewLease", Hold(device="d1", session="s1", fence=here.leased.fence), answer=LeaseRenewed)
        await house.sweep_care()


async def leave(here: Visit, house: House) -> None:
    """The phone's connection ends, and the server has noticed."""
    before = house.app_sessions()
    await here.pat.stop()
    await eventually(lambda: house.app_sessions() < before)


async def test_nothing_rises_while_no_phone_is_there_and_it_goes_on_when_one_is_back(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    await pass_s(here, house, 5)
    await here.call("Heartbeat", Heartbeat(device="d1"), Done, by=here.pat)
    await leave(here, house)
    await pass_s(here, house, 10)
    assert (await here.fitter.first(ModeChanged, 1)).state == "frozen"
    assert refused(await submit(here.ann, change(here.leased))).code == "frozen"
    told = Told()
    pat = await connect("pat", "patient", "device", heard=told)
    claim = msgspec.structs.replace(CLAIM, epoch=here.epoch, fence_max=here.leased.fence)
    assert isinstance(await pat.ask("AttachDevice", claim, answer=AttachAnswer), AttachAnswer)
    assert (await told.first(ModeChanged)).state == "frozen"
    await house.sweep_care()
    assert (await told.first(ModeChanged, 1)).state == "live"
    assert (await here.fitter.first(ModeChanged, 2)).state == "live"


@pytest.mark.parametrize("trial", [True, False])
async def test_a_phone_that_is_gone_ends_it_when_its_own_dead_man_has_struck(
    connect: Connect, house: House, trial: bool
) -> None:
    here = await visit(connect)
    await leave(here, house)
    await pass_s(here, house, 25)
    assert here.fitter.of(ModeChanged)[-1].state == "frozen"
    await pass_s(here, house, 5)
    await eventually(lambda: here.fitter.of(ModeChanged)[-1].reason == "phone_lost")
    assert here.fitter.of(ModeChanged)[-1].state == "none"
    assert refused(await submit(here.ann, change(here.leased))).code == "not_live"
    told = Told()
    pat = await connect("pat", "patient", "device", heard=told)
    claim = msgspec.structs.replace(
        CLAIM, right=images_of(CONTENT, CONTENT), epoch=here.epoch, trial=trial, fence_max=1
    )
    assert isinstance(await pat.ask("AttachDevice", claim, answer=AttachAnswer), AttachAnswer)
    assert (await told.first(ModeChanged)).state == "none"
    assert [revert.cause for revert in told.of(RevertNow)] == (["session_ended"] if trial else [])


async def test_its_time_is_up_whether_a_phone_is_there_or_not(connect: Connect, house: House) -> None:
    here = await visit(connect)
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    judging = care._session._judging
    judging._limits = replace(judging._limits, session_s=10)
    await leave(here, house)
    await pass_s(here, house, 10)
    await eventually(lambda: here.fitter.of(ModeChanged)[-1].reason == "time_up")
