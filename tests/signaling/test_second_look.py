"""A package that has waited is judged again: what was right when it was sent may be refused by now."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from protocol.contract.devices import Offer, Report, ReportAnswer
from protocol.contract.fitting import Patch
from protocol.contract.packages import KeepAnswered
from protocol.contract.sessions import Withdraw
from tests.signaling.care import Connect, louder
from tests.signaling.conftest import House
from tests.signaling.package_desk import DAY_S, Desk, desk, quieter, state

STABLE = [600] * 10


@pytest.fixture
async def here(house: House, connect: Connect) -> AsyncIterator[Desk]:
    async with desk(house, connect) as found:
        await on_file(found, maxStableGainDdb=[{"slot": 1, "right": STABLE}])
        yield found


async def on_file(here: Desk, **changed: Any) -> None:
    url = f"{here.house.url}/api/v1/devices/d1/on-file"
    headers = here.house.bearer("ann")
    async with here.house.http.get(url, headers=headers) as found:
        tag = found.headers["ETag"]
    body = {"reason": "measured again"} | changed
    async with here.house.http.patch(url, json=body, headers=headers | {"If-Match": tag}) as answer:
        assert answer.status == 200, await answer.text()


async def withdraw_consent(here: Desk) -> None:
    url = f"{here.house.url}/api/v1/patients/pat/consents/standard_delivery"
    headers = here.house.bearer("pat", "patient")
    async with here.house.http.put(url, json={"granted": False, "reason": "enough"}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


LOUDER = Patch(slot=1, ops=louder(20))


async def asked_back(here: Desk, seq: int, n: int, code: str) -> None:
    """The phone is asked not to begin, says so, and the fitter hears why."""
    withdraw = await here.phone.first(Withdraw)
    assert (withdraw.seq, withdraw.cause) == (seq, "cancelled")
    assert here.pat is not None
    told = Report(device="d1", epoch=here.epoch, seq=seq, attempt=0, n=n, state="cancelled", ear="right")
    assert isinstance(await here.pat.ask("Report", told, answer=ReportAnswer), ReportAnswer)
    assert await state(here, seq) == ("cancelled", code)


@pytest.mark.parametrize("stricter", [{"redFlags": True}, {"maxStableGainDdb": [{"slot": 1, "right": [120] * 10}]}])
async def test_one_that_is_not_safe_any_more_ends_before_a_phone_has_it(here: Desk, stricter: dict[str, Any]) -> None:
    await here.go()
    accepted = await here.send(patch=LOUDER)
    await on_file(here, **stricter)
    assert await state(here, accepted.seq) == ("cancelled", "unsafe")
    await here.come()
    await here.house.sweep_deliveries()
    assert here.phone.of(Offer) == []


@pytest.mark.parametrize("stricter", [{"redFlags": True}, {"maxStableGainDdb": []}])
async def test_one_that_waits_for_its_wearer_is_asked_back(here: Desk, stricter: dict[str, Any]) -> None:
    accepted = await here.send(patch=LOUDER)
    await here.set_aside(await here.phone.first(Offer))
    await on_file(here, **stricter)
    await asked_back(here, accepted.seq, 3, "unsafe")


async def test_what_only_lowers_goes_on_waiting(here: Desk) -> None:
    await here.go()
    accepted = await here.send(content=quieter(20))
    await on_file(here, redFlags=True, maxStableGainDdb=[])
    await here.come()
    assert (await here.phone.first(Offer)).seq == accepted.seq


async def test_one_is_judged_again_when_it_is_offered_whoever_has_changed_what(here: Desk) -> None:
    """Limits of a clinic change while the server is down, and another process may have changed the file."""
    await here.go()
    accepted = await here.send(patch=LOUDER)
    care: Any = here.house.parts.hubs[0].hub
    devices = care._delivery._devices
    record = await devices.get("d1")
    assert await devices.change(replace(record, red_flags=True, version=record.version + 1))
    await here.come()
    await asked_back(here, accepted.seq, 1, "unsafe")
    assert here.phone.of(Offer) == []


async def test_without_consent_it_is_not_begun(here: Desk) -> None:
    accepted = await here.send(content=quieter(20))
    await here.set_aside(await here.phone.first(Offer))
    await withdraw_consent(here)
    await asked_back(here, accepted.seq, 3, "E_CONSENT")


async def test_what_its_wearer_takes_back_needs_no_consent_however_long_it_waits(here: Desk) -> None:
    accepted = await here.deliver(quieter(80))
    await here.pass_s(6 * DAY_S)
    answer = await here.answer(accepted, keep=False)
    assert isinstance(answer, KeepAnswered)
    await here.go()
    await withdraw_consent(here)
    await here.pass_s(6 * DAY_S)
    await here.come()
    assert (await here.phone.first(Offer)).seq == answer.seq


async def test_one_that_has_begun_goes_on(here: Desk) -> None:
    accepted = await here.send(patch=LOUDER)
    offer = await here.phone.first(Offer)
    await here.set_aside(offer)
    await here.report(offer, 3, "writing", ear="right")
    await on_file(here, redFlags=True)
    await here.house.sweep_deliveries()
    assert here.phone.of(Withdraw) == []
    assert (await state(here, accepted.seq))[0] == "writing"
    await here.come()
    assert (await here.phone.first(Offer)).seq == accepted.seq


async def test_over_what_somebody_else_has_changed_it_is_not_offered(here: Desk) -> None:
    await here.go()
    accepted = await here.send(content=quieter(20))
    here.held = quieter(50)
    await here.come()
    await asked_back(here, accepted.seq, 1, "E_BASE")
    assert here.phone.of(Offer) == []
