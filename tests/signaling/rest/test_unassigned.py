"""Who may not fit a device any more neither does nor hears anything of it, also on connections that are open."""

import asyncio

import pytest
from msgspec import structs

from clients.hub_errors import HubCallError
from fitting.log_memory import MemoryDeviceLog
from protocol.contract.base import Answer
from protocol.contract.devices import DeviceAnswer, InAidChanged
from protocol.contract.fitting import Content
from protocol.contract.history import HistoryEvent, WatchDevice
from protocol.contract.sessions import Hold, LeaseRenewed, ModeChanged
from protocol.errors import StorageFull
from tests.eventually import eventually
from tests.signaling.care import CONTENT, FLAT, Connect
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.rest.desk import ask
from tests.signaling.visit import Told, visit

GONE = "DELETE /devices/d1/assignments/ann"


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house(watch_every_s=0.01)


async def remove(house: House) -> None:
    assert (await ask(house, GONE, {"reason": "has left"}, by="boss admin")).status == 200


def louder(ddb: int) -> Content:
    """What another app has put into the aid."""
    program = structs.replace(CONTENT.programs[0], right=structs.replace(FLAT, g50_ddb=(100 + ddb,) * 10))
    return structs.replace(CONTENT, programs=(program,))


async def test_a_stream_of_a_device_ends(house: House, connect: Connect) -> None:
    here = await visit(connect)
    seen: list[HistoryEvent] = []

    async def watch() -> None:
        async for event in here.ann.stream("WatchDevice", WatchDevice(device="d1"), item=HistoryEvent):
            seen.append(event)

    watching = asyncio.create_task(watch())
    await eventually(lambda: bool(seen))
    await remove(house)
    with pytest.raises(HubCallError, match="not_found"):
        await watching


async def test_news_of_a_device_are_told_to_the_others_only(house: House, connect: Connect) -> None:
    here, other = await visit(connect), Told()
    abe = await connect("abe", "clinician", heard=other)
    await abe.ask("AcquireLease", {"device": "d1", "session": "s9"}, answer=Answer)
    await here.tell("other_app", louder(10), CONTENT)
    await here.fitter.first(InAidChanged)
    heard = len(here.fitter.of(InAidChanged))
    await remove(house)
    before = len(other.of(InAidChanged))
    await here.tell("other_app", louder(20), CONTENT)
    await other.first(InAidChanged, before)
    assert len(here.fitter.of(InAidChanged)) == heard


async def test_his_calls_are_refused_and_live_work_ends_with_the_lease_that_he_cannot_renew(
    house: House, connect: Connect
) -> None:
    here = await visit(connect)
    hold = Hold(device="d1", session="s1", fence=here.leased.fence)
    assert isinstance(await here.ann.ask("RenewLease", hold, answer=LeaseRenewed), LeaseRenewed)
    await remove(house)
    for method, request in (("RenewLease", hold), ("GetDevice", {"device": "d1"})):
        with pytest.raises(HubCallError, match="not_found"):
            await here.ann.ask(method, request, answer=DeviceAnswer)
    house.pass_s(16)
    await house.sweep_care()
    await eventually(lambda: [one.reason for one in here.phone.of(ModeChanged)][-1:] == ["lease_lost"])
    assert here.phone.of(ModeChanged)[-1].state == "none"


async def test_a_removal_that_could_not_be_noted_holds_and_is_noted_when_it_is_sent_again(
    house: House, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = await visit(connect), Told()
    abe = await connect("abe", "clinician", heard=other)
    await abe.ask("AcquireLease", {"device": "d1", "session": "s9"}, answer=Answer)
    with monkeypatch.context() as away:
        away.setattr(MemoryDeviceLog, "note", _fails)
        assert (await ask(house, GONE, {"reason": "has left"}, by="boss admin")).status == 507
    assert (await ask(house, "GET /devices/d1")).status == 404
    await here.tell("other_app", louder(10), CONTENT)
    await other.first(InAidChanged)
    assert here.fitter.of(InAidChanged) == []
    again = await ask(house, GONE, {"reason": "has left"}, by="boss admin", If_Match='"2"')
    assert (again.status, len(again.body["history"])) == (200, 3)
    noted = await ask(house, "GET /devices/d1/history?limit=100", by="abe clinician")
    assert [one["actor"] for one in noted.body["items"] if one["state"] == "unassigned"] == ["boss"]


async def _fails(*_: object, **__: object) -> None:
    raise StorageFull("there is no room")
