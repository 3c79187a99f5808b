"""A live session between the real server, a fitter and a phone: kept alive, saved, taken back, and told of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from msgspec import UNSET

from clients.fitter import Fitter
from clients.hub_client import HubClient
from clients.phone import Phone
from clients.phone_duties import DutyTimes
from clients.phone_limits import PhoneLimits
from clients.phone_session import SessionLimits, SessionState
from clients.reconnect import ReconnectPolicy
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import factory_image
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS, Failure
from protocol.contract.devices import DeliveryAnswer, DeliveryQuery, DeliveryState, InAidChanged, LeaseAnswer
from protocol.contract.fitting import Patch, PatchOp, SubmitAnswer
from protocol.contract.sessions import (
    ConsentAnswer,
    ConsentAsked,
    DeviceChanged,
    DeviceHeld,
    ExpectedDigests,
    ModeAnswer,
    ModeChanged,
    Relayed,
    Revert,
    Save,
)
from tests.clients.care_bench import DEVICE, SOON_S, CareBench, care_bench, raise_of
from tests.clients.offers import BANDS_HZ, slot_with
from tests.eventually import eventually

QUICK = DutyTimes(heartbeat_s=0.02, read_back_s=0.05, poll=ReconnectPolicy(base_s=0.05, cap_s=0.1))


@dataclass
class Room:
    """A fitter at work on aids that a phone carries, and everything that the fitter heard."""

    bench: CareBench
    hub: HubClient
    fitter: Fitter
    heard: list[Any] = field(default_factory=list)
    lease: LeaseAnswer | None = None

    def told(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.heard if isinstance(each, kind)]

    def causes(self) -> list[str]:
        return [change.cause for change in self.told(InAidChanged)]

    async def go_live(self) -> ModeAnswer | Failure:
        granted = await self.fitter.acquire_lease(DEVICE, "session-1")
        assert isinstance(granted, LeaseAnswer)
        self.lease = granted
        return await self.fitter.go_live(DEVICE, granted.fence)

    async def change(self, by_ddb: int = 20) -> str:
        granted = await self.fitter.acquire_lease(DEVICE, "session-1")
        assert isinstance(granted, LeaseAnswer)
        answer = await self.fitter.submit(raise_of(granted, by_ddb))
        assert isinstance(answer, SubmitAnswer), answer
        return await self.fitter.wait_until(DEVICE, answer, timeout_s=SOON_S)

    async def save(self) -> str:
        held = {ear: self.bench.pair.aid(ear).read_digest("ram") for ear in EARS}
        assert self.lease is not None
        wanted = Save(
            device=DEVICE,
            fence=self.lease.fence,
            expect=ExpectedDigests(**held),
            reason="good",
            idempotency_key=f"save-{len(self.heard)}",
        )
        answer = await self.hub.ask("Save", wanted, answer=SubmitAnswer)
        assert isinstance(answer, SubmitAnswer), answer
        ends: set[DeliveryState] = {"active", "rolled_back", "failed", "rejected"}
        return await self.fitter.wait_until(DEVICE, answer, ends, timeout_s=SOON_S)


def holds_base(bench: CareBench) -> bool:
    return all(bench.pair.aid(ear).read_image("ram") == factory_image(ear, BANDS_HZ) for ear in EARS)


@pytest.fixture
async def bench() -> AsyncIterator[CareBench]:
    async with care_bench() as bench:
        yield bench


@asynccontextmanager
async def room(bench: CareBench) -> AsyncIterator[Room]:
    hub, heard = bench.fitter_hub(), list[Any]()
    room = Room(bench, hub, Fitter(hub, uniform=lambda low, _: low, on_news=heard.append), heard)
    async with hub:
        yield room


async def test_a_session_is_asked_for_tried_saved_and_ends_with_nothing_to_restore(bench: CareBench) -> None:
    async with bench.phone(duties=QUICK) as phone, room(bench) as here:
        assert isinstance(await here.go_live(), ModeAnswer)
        assert await here.change() == "confirmed"
        assert phone.runner.is_open
        assert await here.save() == "active"
        await eventually(lambda: phone.runner.record.session.state is SessionState.STEADY)
        for ear in EARS:
            assert bench.pair.aid(ear).read_digest("nvm") == bench.pair.aid(ear).read_digest("ram")
        device = await here.fitter.get_device(DEVICE)
    assert device.in_aid.right
    assert device.in_aid.right.nvm == bench.pair.aid("right").read_digest("nvm")


async def test_a_wearer_who_says_no_is_not_worked_on(bench: CareBench) -> None:
    runner = bench.runner(wearer=AgreeableWearer(consents=False))
    async with bench.phone(runner=runner), room(bench) as here:
        refused = await here.go_live()
        assert isinstance(refused, Failure)
        assert refused.error.code == "consent_declined"
    assert runner.record.consent is not None
    assert runner.record.consent.code == "E_CONSENT"


class Slow(AgreeableWearer):
    """Takes time to make up their mind."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.decided = asyncio.Event(), asyncio.Event()

    async def consent(self, asked: ConsentAsked) -> ConsentAnswer:
        self.asked.set()
        await self.decided.wait()
        return ConsentAnswer(accepted=True)


async def test_while_the_wearer_thinks_everything_else_goes_on(bench: CareBench) -> None:
    wearer = Slow()
    async with bench.phone(runner=bench.runner(wearer=wearer)), room(bench) as here:
        live = asyncio.ensure_future(here.go_live())
        await wearer.asked.wait()
        read = await here.hub.ask("ReadBack", DeviceHeld(device=DEVICE), answer=Relayed)
        assert isinstance(read, Relayed)
        await eventually(lambda: here.told(DeviceChanged))
        wearer.decided.set()
        assert isinstance(await live, ModeAnswer)


@pytest.mark.parametrize("word", ["undo", "stop", "withdraw_consent"])
async def test_what_the_wearer_wants_is_done_at_once_and_told_afterwards(bench: CareBench, word: str) -> None:
    async with bench.phone() as phone, room(bench) as here:
        await here.go_live()
        assert await here.change() == "confirmed"
        assert await getattr(phone, word)()
        assert holds_base(bench)
        cause = {"withdraw_consent": "consent_withdrawn"}.get(word, word)
        await eventually(lambda: here.causes()[-2:] == [cause, cause])
        await eventually(lambda: phone.runner.record.notices == ())
        if word != "undo":
            await eventually(lambda: [mode.state for mode in here.told(ModeChanged)][-1:] == ["none"])


async def test_undo_works_while_there_is_no_network_and_is_told_when_there_is(bench: CareBench) -> None:
    async with bench.phone() as phone, room(bench) as here:
        await here.go_live()
        await here.change()
        bench.phone_cable.pull()
        assert await phone.undo()
        assert holds_base(bench)
        assert [notice.cause for notice in phone.runner.record.notices] == ["undo"]
        bench.phone_cable.plug_in()
        await eventually(lambda: "undo" in here.causes() and not phone.runner.record.notices)


async def test_the_dead_man_needs_no_server_and_is_told_of_later(bench: CareBench) -> None:
    # Long enough for a change to be tried before.
    limits = PhoneLimits(session=SessionLimits(dead_man_s=2.5))
    async with bench.phone(runner=bench.runner(limits=limits)) as phone, room(bench) as here:
        await here.go_live()
        assert await here.change() == "confirmed"
        bench.phone_cable.pull()
        await eventually(lambda: holds_base(bench))
        assert not phone.runner.is_open
        bench.phone_cable.plug_in()
        await eventually(lambda: "dead_man" in here.causes())


@pytest.mark.parametrize("method", ["Revert", "Undo"])
async def test_the_fitter_can_take_everything_back(bench: CareBench, method: str) -> None:
    async with bench.phone(), room(bench) as here:
        await here.go_live()
        await here.change()
        assert here.lease is not None
        wanted = Revert(device=DEVICE, fence=here.lease.fence, idempotency_key="r1")
        relayed = await here.hub.ask(method, wanted, answer=Relayed)
        assert isinstance(relayed, Relayed)
        await eventually(lambda: holds_base(bench))
        await eventually(lambda: here.causes()[-2:] == [method.lower()] * 2)


async def test_a_session_that_its_fitter_leaves_open_is_taken_back(bench: CareBench) -> None:
    async with bench.phone() as phone, room(bench) as here:
        await here.go_live()
        await here.change()
        assert here.lease is not None
        left = {"device": DEVICE, "mode": "standard", "reason": "done", "fence": here.lease.fence, "discard": True}
        assert isinstance(await here.hub.ask("SetMode", left, answer=ModeAnswer), ModeAnswer)
        await eventually(lambda: holds_base(bench))
        await eventually(lambda: "session_ended" in here.causes())
        # The wearer is asked again, and then it goes on.
        assert isinstance(await here.go_live(), ModeAnswer)
        assert await here.change() == "confirmed"
        assert phone.runner.record.consent is not None


async def test_a_phone_that_finds_its_session_gone_gives_the_base_back(bench: CareBench) -> None:
    async with room(bench) as here:
        async with bench.phone():
            await here.go_live()
            await here.change()
            assert here.lease is not None
        gone = {"device": DEVICE, "session": "session-1", "fence": here.lease.fence, "discard": True}
        await here.hub.invoke("ReleaseLease", gone, result=dict)
        assert not holds_base(bench)
        async with bench.phone():
            await eventually(lambda: holds_base(bench))


async def test_a_phone_whose_hub_is_closed_stays_until_its_dead_man_has_seen_to_the_aids(bench: CareBench) -> None:
    limits = PhoneLimits(session=SessionLimits(dead_man_s=0.3))
    hub = bench.phone_hub()
    phone = Phone(hub, bench.runner(limits=limits))
    async with room(bench) as here, hub, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(phone.run())
        await phone.attached.wait()
        await here.go_live()
        await here.change()
        await hub.stop()
        async with asyncio.timeout(SOON_S):
            await running
    assert holds_base(bench)


async def test_an_aid_that_was_lost_in_a_write_is_seen_to_with_no_link_to_the_server(bench: CareBench) -> None:
    async with bench.phone(duties=QUICK) as phone, room(bench) as here:
        await here.go_live()
        bench.pair.aid("left").faults = Faults(time_scale=0, drop_link_after_chunk=4, refuse_connects=10_000)
        granted = await here.fitter.acquire_lease(DEVICE, "session-1")
        assert isinstance(granted, LeaseAnswer)
        answer = await here.fitter.submit(raise_of(granted))
        assert isinstance(answer, SubmitAnswer)
        await eventually(lambda: phone.runner.is_waiting)
        bench.phone_cable.pull()
        bench.pair.aid("left").faults = Faults(time_scale=0)
        await eventually(lambda: phone.runner.record.in_flight is None)
        assert bench.pair.aid("left").connected
        bench.phone_cable.plug_in()
        assert await here.fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) in {"confirmed", "rolled_back"}


@pytest.mark.parametrize(
    ("happens", "is_told"),
    [
        (lambda aid: aid.reboot(), lambda room: "reboot" in room.causes()),
        (lambda aid: aid.write_by_another_app((slot_with(70),)), lambda room: "other_app" in room.causes()),
        (lambda aid: aid.turn_volume(-30), lambda room: room.told(DeviceChanged)[-1].volume_ddb == -30),
    ],
    ids=["reboot", "other_app", "user_state"],
)
async def test_what_happens_to_an_aid_by_itself_is_told(
    bench: CareBench, happens: Callable[[Any], None], is_told: Callable[[Room], bool]
) -> None:
    async with bench.phone(duties=QUICK) as phone, room(bench) as here:
        await here.go_live()
        # So that a restart is seen in what the aid holds.
        await here.change()
        await here.hub.ask("ReadBack", DeviceHeld(device=DEVICE), answer=Relayed)
        await eventually(lambda: here.told(DeviceChanged))
        happens(bench.pair.aid("right"))
        await eventually(lambda: is_told(here) and not phone.runner.record.notices)


async def test_the_phone_shows_how_it_stands_with_it(bench: CareBench) -> None:
    bench.pair.aid("left").faults = Faults(time_scale=0, battery_percent=64)
    async with bench.phone(duties=QUICK) as phone, room(bench) as here:
        await here.go_live()
        await here.hub.ask("ReadBack", DeviceHeld(device=DEVICE), answer=Relayed)
        await eventually(lambda: [change.phone.battery for change in here.told(DeviceChanged)][-1:] == [64])
        phone.set_foreground(False)
        left = {"device": DEVICE, "mode": "standard", "reason": "break", "fence": 1, "discard": True}
        await here.hub.invoke("SetMode", left, result=dict)
        code = ""
        async with asyncio.timeout(SOON_S):
            while code != "phone_background":
                answer = await here.go_live()
                code = answer.error.code if isinstance(answer, Failure) else ""
        phone.set_foreground(True)


@pytest.mark.parametrize(
    ("wearer", "end", "code"),
    [
        (AgreeableWearer(loudness=5), "confirmed", None),
        (AgreeableWearer(loudness=6), "rolled_back", "E_LOUD"),
        (AgreeableWearer(ready=False), "declined", "E_DECLINED"),
    ],
)
async def test_a_higher_maximum_output_is_kept_only_if_its_wearer_can_bear_it(
    bench: CareBench, wearer: AgreeableWearer, end: str, code: str | None
) -> None:
    async with bench.phone(runner=bench.runner(wearer=wearer)), room(bench) as here:
        await here.go_live()
        granted = await here.fitter.acquire_lease(DEVICE, "session-1")
        assert isinstance(granted, LeaseAnswer)
        louder = PatchOp(op="add", ear="right", path="mpoDdb", band=3, value=10)
        answer = await here.fitter.submit(replace(raise_of(granted), patch=Patch(slot=1, ops=(louder,))))
        assert isinstance(answer, SubmitAnswer), answer
        assert await here.fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) == end
        query = DeliveryQuery(device=DEVICE, epoch=answer.epoch, seq=answer.seq)
        delivery = await here.hub.ask("GetDelivery", query, answer=DeliveryAnswer)
    assert isinstance(delivery, DeliveryAnswer)
    assert (None if delivery.code is UNSET else delivery.code) == code
    assert (bench.pair.aid("right").read_digest("ram") == answer.digests.right) == (end == "confirmed")
