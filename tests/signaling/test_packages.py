"""Standard mode over the wire: a package waits for a sleeping phone, gives way, is collected, and is asked about."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from protocol.contract.base import Failure
from protocol.contract.devices import DeliveryAnswer, DeliveryChanged, DeliveryQuery, Offer
from protocol.contract.fitting import Base, Patch, PatchOp
from protocol.contract.packages import KeepAnswered, RegisterPush
from protocol.contract.sessions import Cancel, Done, Hold, LeaseRenewed, ModeAnswer, ModeChanged, SetMode, Withdraw
from tests.eventually import eventually
from tests.fakes.notification_hubs import Scripted
from tests.signaling.care import CONTENT, Connect, lease, louder
from tests.signaling.conftest import House
from tests.signaling.package_desk import DAY_S, HOUR_S, Desk, desk, quieter, state
from tests.signaling.visit import Told, refused


@pytest.fixture
async def here(house: House, connect: Connect) -> AsyncIterator[Desk]:
    async with desk(house, connect) as found:
        yield found


# Collecting


async def test_a_package_needs_no_lease_and_is_collected_when_the_phone_wakes(here: Desk) -> None:
    await here.go()
    accepted = await here.send(content=quieter(20))
    assert await state(here, accepted.seq) == ("accepted", msgspec.UNSET)
    await here.pass_s(5 * DAY_S)
    await here.come()
    offer = await here.phone.first(Offer)
    assert (offer.seq, offer.mode, offer.kind, offer.fence) == (accepted.seq, "standard", "persist", 0)
    await here.set_aside(offer)
    assert (await state(here, accepted.seq))[0] == "awaiting_install"
    await here.install(offer, quieter(20))
    assert (await state(here, accepted.seq))[0] == "active"
    in_aid = (await here.device()).in_aid.right
    assert isinstance(in_aid, msgspec.Struct)
    assert in_aid.nvm == accepted.digests.right
    # Whoever sent it hears of it, without a lease.
    await eventually(lambda: [one.state for one in here.fitter.heard["DeliveryChanged"]][-1:] == ["active"])


async def test_who_sent_it_hears_of_it_over_another_connection_once_it_has_asked(here: Desk, connect: Connect) -> None:
    await here.go()
    accepted = await here.send(content=quieter(20))
    heard = Told()
    again = await connect("ann", "clinician", heard=heard)
    query = DeliveryQuery(device="d1", epoch=accepted.epoch, seq=accepted.seq)
    assert isinstance(await again.ask("GetDelivery", query, answer=DeliveryAnswer), DeliveryAnswer)
    await here.come()
    offer = await here.phone.first(Offer)
    await here.set_aside(offer)
    await here.install(offer, quieter(20))
    await eventually(lambda: [one.state for one in heard.of(DeliveryChanged)][-1:] == ["active"])


async def test_a_phone_that_asks_is_told_nothing_beside_its_own(here: Desk) -> None:
    accepted = await here.send(content=quieter(20))
    assert here.pat is not None
    query = DeliveryQuery(device="d1", epoch=accepted.epoch, seq=accepted.seq)
    assert isinstance(await here.pat.ask("GetDelivery", query, answer=DeliveryAnswer), DeliveryAnswer)
    await here.set_aside(await here.phone.first(Offer))
    await here.fitter.first(DeliveryChanged)
    assert here.phone.of(DeliveryChanged) == []


async def test_its_wearer_may_decline(here: Desk) -> None:
    accepted = await here.send()
    offer = await here.phone.first(Offer)
    await here.set_aside(offer)
    await here.report(offer, 3, "declined", ear="right", code="E_DECLINED")
    assert await state(here, accepted.seq) == ("declined", "E_DECLINED")
    head = (await here.device()).head
    assert isinstance(head, msgspec.Struct)
    assert head.content == CONTENT


async def test_it_expires_after_a_week_or_when_its_sender_says(here: Desk) -> None:
    await here.go()
    short = await here.send(expires_in_s=60)
    await here.pass_s(61)
    await here.house.sweep_deliveries()
    assert (await state(here, short.seq))[0] == "expired"
    week = await here.send()
    await here.pass_s(7 * DAY_S - 5)
    await here.house.sweep_deliveries()
    assert (await state(here, week.seq))[0] == "accepted"
    await here.pass_s(5)
    await here.house.sweep_deliveries()
    assert (await state(here, week.seq))[0] == "expired"


async def test_a_newer_package_takes_the_place_of_one_that_waits(here: Desk) -> None:
    first = await here.send(content=quieter(10))
    await here.set_aside(await here.phone.first(Offer))
    second = await here.send(content=quieter(20))
    asked = await here.phone.first(Withdraw)
    assert (asked.seq, asked.cause) == (first.seq, "superseded")
    offer = await here.phone.first(Offer)
    await here.report(offer, 3, "superseded", ear="right")
    following = await here.phone.first(Offer, 1)
    assert following.seq == second.seq
    assert (await state(here, first.seq))[0] == "superseded"


async def test_a_package_can_be_taken_back_by_any_of_its_professionals(here: Desk, connect: Connect) -> None:
    await here.go()
    accepted = await here.send()
    abe = await connect("abe", "clinician")
    request = Cancel(device="d1", epoch=accepted.epoch, seq=accepted.seq)
    answer = await abe.ask("Cancel", request, answer=DeliveryAnswer)
    assert isinstance(answer, DeliveryAnswer)
    assert answer.state == "cancelled"


# Live work and packages


async def test_live_work_begins_once_a_waiting_package_has_given_way(here: Desk) -> None:
    accepted = await here.send()
    offer = await here.phone.first(Offer)
    await here.set_aside(offer)
    leased = await lease(here.ann)
    request = SetMode(device="d1", mode="advanced", reason="a visit", fence=leased.fence)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(here.ann.ask("SetMode", request, answer=ModeAnswer))
        asked_back = await here.phone.first(Withdraw)
        assert (asked_back.seq, asked_back.cause) == (accepted.seq, "superseded")
        await here.report(offer, 3, "superseded", ear="right")
    answer = asking.result()
    assert isinstance(answer, ModeAnswer), answer
    assert answer.state == "live"
    assert await state(here, accepted.seq) == ("superseded", msgspec.UNSET)
    assert refused(await here.try_send()).code == "in_session"


async def test_live_work_does_not_begin_over_a_package_that_the_phone_does_not_give_back(
    house: House, connect: Connect
) -> None:
    async with desk(house, connect) as here:
        care = house.parts.hubs[0].hub
        care._session._times = replace(care._session._times, make_way_s=0.2)  # type: ignore[attr-defined]  # the care hub's
        await here.send()
        await here.set_aside(await here.phone.first(Offer))
        leased = await lease(here.ann)
        request = SetMode(device="d1", mode="advanced", reason="a visit", fence=leased.fence)
        refusal = refused(await here.ann.ask("SetMode", request, answer=ModeAnswer))
        assert (refusal.code, refusal.retryable) == ("not_read_back", True)
        assert house.metric("auricle_bound_reached_total", bound="make_way_s") == 1


async def test_what_a_lost_session_tried_can_go_on_as_a_package(here: Desk) -> None:
    """Nothing becomes a package by itself: the professional sends the draft, which Standard limits then judge."""
    leased = await lease(here.ann)
    request = SetMode(device="d1", mode="advanced", reason="a visit", fence=leased.fence)
    assert isinstance(await here.ann.ask("SetMode", request, answer=ModeAnswer), ModeAnswer)
    tried = quieter(20)
    live = await here.send(kind="volatile", mode="advanced", fence=leased.fence, content=tried)
    offer = await here.phone.first(Offer)
    await here.report(offer, 1, "received")
    await here.report(offer, 2, "confirmed", ear="right", source="ram", digest=live.digests.right)
    await here.go()
    for _ in range(3):
        here.house.monotonic.now_s += 10.5
        hold = Hold(device="d1", session="s1", fence=leased.fence)
        assert isinstance(await here.ann.ask("RenewLease", hold, answer=LeaseRenewed), LeaseRenewed)
    await here.house.sweep_care()
    await eventually(lambda: [told.mode for told in here.fitter.of(ModeChanged)][-1:] == ["standard"])
    [*_, told] = here.fitter.of(ModeChanged)
    assert (told.reason, told.draft) == ("phone_lost", live.revision_id)
    accepted = await here.send(revision=str(told.draft))
    await here.come()
    offer = await here.phone.first(Offer)
    # The dead-man has restored meanwhile: it is written over what the aids keep.
    assert offer.seq == accepted.seq
    await here.set_aside(offer)
    await here.install(offer, tried)
    assert (await state(here, accepted.seq))[0] == "active"


# Refusals


async def test_what_a_package_is_refused_for(here: Desk, connect: Connect) -> None:
    mpo = Patch(slot=1, ops=(PatchOp(op="add", ear="right", path="mpoDdb", band=3, value=10),))
    cases: list[tuple[dict[str, Any], str, str | None]] = [
        ({"patch": Patch(slot=1, ops=louder(60))}, "unsafe", "K9"),
        ({"patch": mpo}, "unsafe", "K9"),
        ({"base": Base(revision="elsewhere")}, "base_mismatch", None),
        ({"content": CONTENT}, "no_change", None),
        ({"origin": "first_fit", "content": quieter(10)}, "not_first_fit", None),
        ({"kind": "volatile"}, "kind_unsupported", None),
    ]
    for more, code, rule in cases:
        answer = await here.try_send(**more)
        refusal = refused(answer)
        assert isinstance(answer, Failure)
        assert refusal.code == code, more
        assert rule is None or rule in {one.rule for one in answer.errors}, more
    abe = await connect("abe", "clinician")
    await lease(abe, "s2")
    refusal = refused(await here.try_send())
    assert (refusal.code, refusal.retryable) == ("lease_held", True)
    assert (await here.device()).last_seq == 0
    assert here.phone.of(Offer) == []


async def test_one_that_is_being_written_is_not_overtaken(here: Desk) -> None:
    await here.send()
    offer = await here.phone.first(Offer)
    await here.set_aside(offer)
    await here.report(offer, 3, "writing", ear="right")
    refusal = refused(await here.try_send(content=quieter(40)))
    assert (refusal.code, refusal.retryable) == ("not_confirmed", True)


async def test_nothing_is_sent_before_the_aids_were_read(house: House, connect: Connect) -> None:
    ann = await connect("ann", "clinician")
    here = Desk(house, connect, ann, None, None)  # type: ignore[arg-type]  # neither is looked at
    assert refused(await here.try_send()).code == "not_read_back"


# Pushes


async def test_a_sleeping_phone_is_woken_by_a_schedule_and_then_no_more(here: Desk) -> None:
    await here.go()
    await here.send()
    counts = []
    for wait_s in (0.0, HOUR_S - 1, 1.0, DAY_S - HOUR_S, 2 * DAY_S, DAY_S):
        await here.pass_s(wait_s)
        counts.append(here.pushes())
    assert counts == [1, 1, 2, 3, 4, 4]
    assert here.service.breaches == []
    bodies = {asked.body for asked in here.service.asked}
    assert len({asked.json["message"]["android"]["notification"]["tag"] for asked in here.service.asked}) == 1
    for body in bodies:
        assert b"d1" not in body
        assert b"pat" not in body


async def test_a_phone_that_is_there_is_not_woken(here: Desk) -> None:
    await here.send()
    await here.phone.first(Offer)
    await here.pass_s(1)
    assert here.pushes() == 0
    await here.set_aside(await here.phone.first(Offer))
    await here.go()
    await here.pass_s(DAY_S)
    assert here.pushes() == 0


async def test_only_so_much_is_carried_out_in_one_look(here: Desk) -> None:
    care = here.house.parts.hubs[0].hub
    care._packages._limits = replace(care._packages._limits, max_due=1)  # type: ignore[attr-defined]  # the care hub's
    await here.go()
    await here.send()
    await here.send(content=quieter(30))
    counts = []
    for _ in range(3):
        await here.pass_s(0)
        counts.append(here.pushes())
    # The first is over, so it wakes nobody.
    assert counts == [0, 1, 1]
    assert here.house.metric("auricle_bound_reached_total", bound="max_due_pushes") == 2


async def test_a_package_that_is_over_wakes_nobody(here: Desk) -> None:
    await here.go()
    first = await here.send()
    await here.send(content=quieter(30))
    await here.pass_s(0)
    assert here.pushes() == 1
    assert (await state(here, first.seq))[0] == "superseded"


async def test_that_pushes_are_refused_is_told_once(here: Desk) -> None:
    await here.go()
    here.service.always = Scripted(401)
    await here.send()
    for wait_s in (0.0, HOUR_S, DAY_S):
        await here.pass_s(wait_s)
    assert here.pushes() == 3
    assert here.house.log.getvalue().count("push_refused") == 1


async def test_a_dead_token_is_parked_until_the_phone_brings_another(here: Desk) -> None:
    await here.go()
    here.service.always = Scripted(410)
    await here.send()
    await here.pass_s(0)
    await here.pass_s(3 * DAY_S)
    assert here.pushes() == 1
    here.service.always = None
    await here.come()
    await here.register(token="another-token")
    assert (await here.phone.first(Offer)).seq == 1
    await here.go()
    second = await here.send(content=quieter(30))
    await here.pass_s(0)
    assert here.pushes() == 2
    assert second.seq == 2


async def test_a_throttled_push_comes_later_and_an_outage_costs_no_package(here: Desk) -> None:
    await here.go()
    here.service.always = Scripted(429, {"Retry-After": "120"})
    accepted = await here.send()
    await here.pass_s(0)
    assert here.pushes() == 1
    await here.pass_s(60)
    assert here.pushes() == 1
    here.service.always = Scripted(503)
    for _ in range(60):
        await here.pass_s(60)
    during = here.pushes()
    here.service.always = None
    for _ in range(60):
        await here.pass_s(60)
    assert here.pushes() > during
    await here.come()
    assert (await here.phone.first(Offer)).seq == accepted.seq


async def test_without_a_token_the_package_waits_all_the_same(house: House, connect: Connect) -> None:
    async with desk(house, connect) as here:
        await here.house.parts.hubs[0].hub._packages._tokens.park("d1", _target(), 0.0)  # type: ignore[attr-defined]  # the care hub's
        await here.go()
        accepted = await here.send()
        await here.pass_s(0)
        assert here.pushes() == 0
        await here.come()
        assert (await here.phone.first(Offer)).seq == accepted.seq


def _target() -> Any:
    from fitting.push import PushTarget
    from tests.signaling.package_desk import TOKEN

    return PushTarget("fcm", TOKEN)


async def test_what_is_no_token_is_refused_and_not_repeated(here: Desk) -> None:
    assert here.pat is not None
    with pytest.raises(Exception, match="bad_argument") as raised:
        await here.pat.ask("RegisterPush", RegisterPush(device="d1", platform="apns", token="no hex"), answer=Done)
    assert "no hex" not in str(raised.value)
    assert "no hex" not in here.house.log.getvalue()


async def test_a_patient_who_takes_no_packages_gets_none_and_may_still_take_one_back(here: Desk) -> None:
    accepted = await here.deliver(quieter(20))
    url = f"{here.house.url}/api/v1/patients/pat/consents/standard_delivery"
    headers = here.house.bearer("pat", "patient")
    async with here.house.http.put(url, json={"granted": False, "reason": "enough for now"}, headers=headers) as said:
        assert said.status in (200, 201), await said.text()
    refusal = refused(await here.try_send(content=quieter(30)))
    assert refusal.code == "consent_withdrawn"
    assert isinstance(await here.answer(accepted, keep=False), KeepAnswered)
