"""Alarms of devices: who watches hears of them at once, who comes later sees them, and those who run the server too."""

import json

import msgspec
import pytest

from protocol.contract.devices import AcquireLease, AttachAnswer, DeviceAnswer, DeviceQuery, LeaseAnswer, Offer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.sessions import DeviceChanged, Withdraw
from tests.eventually import eventually
from tests.signaling.care import CLAIM, CONTENT, Connect, change
from tests.signaling.conftest import House
from tests.signaling.visit import Told, Visit, visit


def alarms(here: Visit) -> list[tuple[str, ...]]:
    return [told.alarms for told in here.fitter.of(DeviceChanged)]


def lines(house: House) -> list[str]:
    told = (json.loads(line) for line in house.log.getvalue().splitlines())
    return [line["alarm"] for line in told if line["event"] == "alarm_raised"]


async def offered(here: Visit) -> Offer:
    await here.call("Submit", change(here.leased), SubmitAnswer)
    return await here.phone.first(Offer)


async def test_an_alarm_of_a_report_is_told_at_once_and_to_whoever_comes_later(connect: Connect, house: House) -> None:
    here = await visit(connect)
    offer = await offered(here)
    await here.report(offer, 1, "received")
    await here.report(offer, 2, "indeterminate", ear="right", code="E_BLE_DURING")
    await eventually(lambda: alarms(here)[-1:] == [("indeterminate",)])
    device = await here.call("GetDevice", DeviceQuery(device="d1"), DeviceAnswer)
    again = await here.call("AcquireLease", AcquireLease(device="d1", session="s1"), LeaseAnswer)
    assert (device.alarms, again.alarms, here.leased.alarms) == (("indeterminate",), ("indeterminate",), ())
    await here.confirm(offer, first=3)
    await eventually(lambda: alarms(here)[-1:] == [()])
    assert (await here.call("GetDevice", DeviceQuery(device="d1"), DeviceAnswer)).alarms == ()
    assert house.metric("auricle_alarms_total", alarm="indeterminate") == 1
    assert lines(house) == ["indeterminate"]
    assert "d1" not in house.log.getvalue()


@pytest.mark.parametrize("code", ["E_SIG", "E_RANGE", "E_DEVICE", "E_BUSY"])
async def test_what_a_phone_refuses_for_a_grave_reason_is_counted_once(
    connect: Connect, house: House, code: str
) -> None:
    here = await visit(connect)
    offer = await offered(here)
    for _ in range(2):
        await here.report(offer, 1, "rejected", ear="right", code=code)
    expected = {"E_DEVICE": ["locked"], "E_BUSY": []}.get(code, [code])
    assert lines(house) == expected
    for alarm in expected:
        assert house.metric("auricle_alarms_total", alarm=alarm) == 1


async def test_a_history_that_was_lost_is_counted(connect: Connect, house: House) -> None:
    here = await visit(connect, live=False)
    ahead = msgspec.structs.replace(CLAIM, epoch=here.epoch, last_terminal=7)
    answer = await here.call("AttachDevice", ahead, AttachAnswer, by=here.pat)
    assert answer.resume == "ahead"
    assert house.metric("auricle_alarms_total", alarm="history_lost") == 1
    await here.call("AttachDevice", msgspec.structs.replace(CLAIM, epoch=answer.epoch), AttachAnswer, by=here.pat)
    await here.tell("read_back", CONTENT, CONTENT)
    assert house.metric("auricle_alarms_total", alarm="history_lost") == 1
    assert lines(house) == ["history_lost"]


async def test_an_offer_that_a_phone_is_lost_over_is_asked_back_and_somebody_is_told(
    connect: Connect, house: House
) -> None:
    here = await visit(connect)
    await offered(here)
    claim = msgspec.structs.replace(CLAIM, epoch=here.epoch)
    for number in range(3):
        phone = Told()
        pat = await connect("pat", "patient", "device", heard=phone)
        assert isinstance(await pat.ask("AttachDevice", claim, answer=AttachAnswer), AttachAnswer)
        if number < 2:
            await phone.first(Offer)
    asked = await phone.first(Withdraw)
    assert (asked.seq, asked.cause) == (1, "cancelled")
    assert house.metric("auricle_alarms_total", alarm="poison") == 1
    assert house.metric("auricle_bound_reached_total", bound="max_unanswered_attachments") == 1
    assert lines(house) == ["poison"]
