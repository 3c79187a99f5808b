"""What must reach a client reaches it when the log was away at that moment and has come back."""

import pytest

from protocol.contract.devices import AttachAnswer, Offer
from protocol.contract.sessions import (
    AnswerConsent,
    DeviceChanged,
    Done,
    ModeChanged,
    ReportDevice,
    RevertNow,
    SessionAlive,
)
from protocol.errors import Unavailable
from signaling.hubs.care_hub import CareHub
from tests.eventually import eventually
from tests.signaling.away import Away, log_of
from tests.signaling.care import CLAIM, Connect, change
from tests.signaling.conftest import House
from tests.signaling.visit import Visit, visit


@pytest.fixture
def away(house: House) -> Away:
    return log_of(house)


def untold(house: House) -> int:
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    return len(care._news._untold)


async def wears(here: Visit, **settings: object) -> None:
    told = ReportDevice(device="d1", cause="user_state", **settings)  # type: ignore[arg-type]  # a test names fields
    await here.call("ReportDevice", told, Done, by=here.pat)


async def test_that_a_phone_has_gone_is_told_once_the_log_is_there_again(
    connect: Connect, away: Away, house: House
) -> None:
    here = await visit(connect)
    away.is_away = True
    await here.pat.stop()
    await eventually(lambda: untold(house) == 1)
    before = len(here.fitter.of(DeviceChanged))
    with pytest.raises(Unavailable):
        await house.sweep_care()
    away.is_away = False
    await house.sweep_care()
    told = await here.fitter.first(DeviceChanged, before)
    assert not told.phone.online
    await house.sweep_care()
    assert (untold(house), len(here.fitter.of(DeviceChanged))) == (0, before + 1)
    assert "task_failed" not in house.log.getvalue()


async def test_what_the_wearer_did_meanwhile_is_told_together_and_the_later_counts(
    connect: Connect, away: Away, house: House
) -> None:
    here = await visit(connect)
    before = len(here.fitter.of(DeviceChanged))
    away.fails = {"head"}
    await wears(here, slot=2, volume_ddb=10)
    await wears(here, volume_ddb=20)
    away.fails = set()
    await wears(here, muted=True)
    told = await here.fitter.first(DeviceChanged, before)
    assert (told.slot, told.volume_ddb, told.muted) == (2, 20, True)
    assert untold(house) == 0


async def test_only_so_many_devices_wait_to_be_told_of(connect: Connect, away: Away, house: House) -> None:
    here = await visit(connect)
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    care._news._max_untold = 0
    away.fails = {"head"}
    await wears(here, slot=2)
    await eventually(lambda: house.metric("auricle_bound_reached_total", bound="max_untold_devices") == 1)
    assert untold(house) == 0


async def test_a_change_that_could_not_be_offered_is_offered_by_the_sweep(
    connect: Connect, away: Away, house: House
) -> None:
    here = await visit(connect)
    away.fails = {"next_offer"}
    await here.ann.invoke("Submit", change(here.leased), result=object)
    away.fails = set()
    assert here.phone.of(Offer) == []
    await house.sweep_care()
    await here.phone.first(Offer)
    assert "task_failed" not in house.log.getvalue()


async def test_a_phone_that_came_back_is_fed_by_the_sweep(connect: Connect, away: Away, house: House) -> None:
    here = await visit(connect)
    before = len(here.phone.of(SessionAlive))
    away.fails = {"alive"}
    await here.call("AttachDevice", CLAIM, AttachAnswer, by=here.pat)
    away.fails = set()
    house.monotonic.now_s += 5
    await house.sweep_care()
    await here.phone.first(SessionAlive, before)
    assert "task_failed" not in house.log.getvalue()


async def test_a_consent_that_is_taken_back_with_the_log_away_ends_the_session_later(
    connect: Connect, away: Away
) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    away.is_away = True
    await here.call("AnswerConsent", AnswerConsent(device="d1", accepted=False), Done, by=here.pat)
    away.is_away = False
    assert (await here.phone.first(RevertNow)).cause == "consent_withdrawn"
    await eventually(lambda: any(mode.state == "none" for mode in here.fitter.of(ModeChanged)))
    assert (await away.log.head("d1")).live is None
