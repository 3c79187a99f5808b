"""A fitter on one pod and a phone on another: with a bus, without one, and with one that went and came back."""

from collections.abc import AsyncIterator

import pytest

from protocol.contract.devices import DeliveryChanged, DeviceAnswer, DeviceQuery, InAidChanged, Offer, Settled
from protocol.contract.session import WhoAmIAnswer
from protocol.contract.sessions import DeviceHeld, ModeChanged, ReadBackNow, Relayed, Revert, RevertNow
from tests.databases import lent_postgres
from tests.eventually import eventually
from tests.postgres import PostgresServer
from tests.signaling.care import change
from tests.signaling.pods import Apart, apart, is_connected


@pytest.fixture(params=["bus", "no bus", "bus again"])
async def scene(postgres: PostgresServer, request: pytest.FixtureRequest) -> AsyncIterator[Apart]:
    async with lent_postgres(postgres) as url, apart(url) as scene:
        if request.param != "bus":
            scene.bus.kill()
            await scene.until_bus(is_up=False)
        if request.param == "bus again":
            scene.bus.start()
            await scene.until_bus(is_up=True)
        yield scene


async def test_a_change_reaches_the_phone_and_its_proof_the_fitter(scene: Apart) -> None:
    accepted = await scene.submit(change(scene.leased))
    offer = await scene.phone.first(Offer)
    assert offer.seq == accepted.seq
    await scene.confirm(offer)
    assert (await scene.phone.first(Settled)).seq == accepted.seq
    await eventually(lambda: any(one.state == "confirmed" for one in scene.fitter.of(DeliveryChanged)))
    await eventually(lambda: [one for one in scene.fitter.of(InAidChanged) if one.ram == offer.body.expect.right])


@pytest.mark.parametrize("method", ["Revert", "Undo"])
async def test_a_restore_reaches_the_phone_once(scene: Apart, method: str) -> None:
    relayed = await scene.ann.ask(method, Revert(device="d1", fence=scene.leased.fence), answer=Relayed)
    assert relayed == Relayed(relayed=False)
    told = await scene.phone.first(RevertNow)
    assert (told.cause, told.fence >= scene.leased.fence) == (method.lower(), True)
    # Whatever is found in the log from here on: what was done is not done again.
    await scene.submit(change(scene.leased))
    await scene.confirm(await scene.phone.first(Offer))
    await eventually(lambda: any(one.state == "confirmed" for one in scene.fitter.of(DeliveryChanged)))
    assert len(scene.phone.of(RevertNow)) == 1


async def test_what_the_phone_has_undone_itself_it_is_not_asked_for(scene: Apart) -> None:
    await scene.pat.ask("Undo", Revert(device="d1"), answer=Relayed)
    await scene.submit(change(scene.leased))
    await scene.confirm(await scene.phone.first(Offer))
    await eventually(lambda: any(one.state == "confirmed" for one in scene.fitter.of(DeliveryChanged)))
    assert scene.phone.of(RevertNow) == []


async def test_a_stop_reaches_the_phone_and_then_why(scene: Apart) -> None:
    await scene.submit(change(scene.leased))
    await scene.confirm(await scene.phone.first(Offer))
    await scene.ann.ask("Stop", Revert(device="d1", fence=scene.leased.fence), answer=Relayed)
    for end in (scene.phone, scene.fitter):
        await eventually(lambda end=end: any(one.state == "none" for one in end.of(ModeChanged)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert scene.phone.of(RevertNow)[0].cause == "stop"
    ended = [n for n, target in enumerate(scene.phone.order) if target == "ModeChanged"][-1]
    assert scene.phone.order.index("RevertNow") < ended
    assert scene.phone.of(ModeChanged)[-1].reason == "stop"
    # Both pods notice that live work is over, and neither gives the phone another reason.
    await scene.known_in_east()
    await scene.pat.invoke("WhoAmI", result=WhoAmIAnswer)
    assert {one.cause for one in scene.phone.of(RevertNow)} == {"stop"}


async def test_a_read_back_reaches_the_phone(scene: Apart) -> None:
    relayed = await scene.ann.ask("ReadBack", DeviceHeld(device="d1"), answer=Relayed)
    # Without a bus nobody can say yet whether a phone is there to hear it.
    assert relayed == Relayed(relayed=is_connected(scene.east))
    assert (await scene.phone.first(ReadBackNow)).device == "d1"


async def test_who_asks_because_of_what_was_told_is_not_answered_with_what_was_before(postgres: PostgresServer) -> None:
    # However old an answer may be otherwise.
    async with lent_postgres(postgres) as url, apart(url, log_stale_s=60) as scene:
        await scene.submit(change(scene.leased))
        offer = await scene.phone.first(Offer)
        before = len(scene.fitter.of(InAidChanged))
        await scene.confirm(offer)
        assert (await scene.fitter.first(InAidChanged, before)).ram == offer.body.expect.right
        device = await scene.ann.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)
        assert device.in_aid.right.ram == offer.body.expect.right  # type: ignore[union-attr]  # an ear that there is


async def test_what_was_lost_with_the_bus_is_found_in_the_log(postgres: PostgresServer) -> None:
    async with lent_postgres(postgres) as url, apart(url) as scene:
        scene.bus.kill()
        # Nobody has noticed yet, or somebody has: it does not matter.
        await scene.submit(change(scene.leased))
        await scene.phone.first(Offer)
        await scene.until_bus(is_up=False)
        answer = await scene.west.http.get(f"{scene.west.url}/readyz")
        assert (answer.status, await answer.json()) == (200, {"status": "ready", "degraded": ["redis"]})
        scene.bus.start()
        await scene.until_bus(is_up=True)
        answer = await scene.west.http.get(f"{scene.west.url}/readyz")
        assert await answer.json() == {"status": "ready", "degraded": []}
