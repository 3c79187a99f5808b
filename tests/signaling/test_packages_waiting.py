"""A package waits while the aids play what nobody has saved: whoever sent it is told why, and it goes on by itself."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from protocol.contract.base import Answer
from protocol.contract.devices import DeliveryChanged, Offer
from protocol.contract.packages import KeepAnswered
from protocol.contract.sessions import ReportDevice
from tests.eventually import eventually
from tests.signaling.care import CLAIM, CONTENT, Connect
from tests.signaling.conftest import House
from tests.signaling.package_desk import DAY_S, Desk, desk, quieter, state
from tests.signaling.visit import Told, images_of

TRIED = quieter(50)
WAITS = ("accepted", "over_trial")


@pytest.fixture
async def here(house: House, connect: Connect) -> AsyncIterator[Desk]:
    async with desk(house, connect) as found:
        yield found


async def plays(here: Desk, ram: Any, nvm: Any = CONTENT, cause: Any = "other_app") -> None:
    """The phone has read the aid again."""
    assert here.pat is not None
    told = ReportDevice(device="d1", cause=cause, right=images_of(ram, nvm))
    answer = await here.pat.ask("ReportDevice", told, answer=Answer)
    assert answer.ok, answer


def told(heard: Told, seq: int) -> list[tuple[str, Any]]:
    return [(one.state, one.code) for one in heard.of(DeliveryChanged) if one.seq == seq]


async def of_rest(here: Desk, seq: int) -> dict[str, Any]:
    url = f"{here.house.url}/api/v1/devices/d1/deliveries/{seq}"
    async with here.house.http.get(url, headers=here.house.bearer()) as answer:
        found: dict[str, Any] = await answer.json()
    return found


async def test_who_sent_it_is_told_why_it_waits_and_it_goes_on_once_the_aids_play_what_they_keep(here: Desk) -> None:
    await plays(here, TRIED)
    accepted = await here.send(content=quieter(20))
    await eventually(lambda: told(here.fitter, accepted.seq) == [WAITS])
    assert await state(here, accepted.seq) == WAITS
    assert (await of_rest(here, accepted.seq))["code"] == "over_trial"
    for _ in range(3):
        await here.house.sweep_deliveries()
    assert here.phone.of(Offer) == []
    # Told once, however often it is looked at.
    assert told(here.fitter, accepted.seq) == [WAITS]
    await plays(here, CONTENT, cause="reboot")
    await here.house.sweep_deliveries()
    offer = await here.phone.first(Offer)
    assert await state(here, accepted.seq) == ("offered", msgspec.UNSET)
    await here.set_aside(offer)
    await here.install(offer, quieter(20))
    assert await state(here, accepted.seq) == ("active", msgspec.UNSET)
    assert "code" not in await of_rest(here, accepted.seq)


async def test_what_a_phone_finds_when_it_comes_is_told_to_who_watches(here: Desk) -> None:
    await here.go()
    accepted = await here.send(content=quieter(20))
    assert await state(here, accepted.seq) == ("accepted", msgspec.UNSET)
    here.phone = Told()
    here.pat = await here.connect("pat", "patient", "device", heard=here.phone)
    claim = msgspec.structs.replace(CLAIM, epoch=here.epoch, right=images_of(TRIED, CONTENT))
    assert (await here.pat.ask("AttachDevice", claim, answer=Answer)).ok
    await here.house.sweep_deliveries()
    await eventually(lambda: told(here.fitter, accepted.seq)[-1:] == [WAITS])
    assert await state(here, accepted.seq) == WAITS
    await here.pass_s(8 * DAY_S)
    await here.house.sweep_deliveries()
    assert (await state(here, accepted.seq))[0] == "expired"
    await eventually(lambda: told(here.fitter, accepted.seq)[-1][0] == "expired")


async def test_one_that_nothing_holds_up_is_told_of_without_a_reason(here: Desk) -> None:
    accepted = await here.send(content=quieter(20))
    await here.phone.first(Offer)
    await here.house.sweep_deliveries()
    assert "over_trial" not in {code for _, code in told(here.fitter, accepted.seq)}


async def test_what_its_wearer_takes_back_does_not_wait(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    await plays(here, TRIED, quieter(20))
    answer = await here.answer(accepted, keep=False)
    assert isinstance(answer, KeepAnswered)
    await here.house.sweep_deliveries()
    back = await here.phone.first(Offer, 1)
    assert back.seq == answer.seq
    assert await state(here, back.seq) == ("offered", msgspec.UNSET)
