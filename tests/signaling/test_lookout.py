"""Looks into the log for what no message told of: when, for which devices, and that they are bounded."""

from collections.abc import Callable
from typing import Any

import pytest

from protocol.contract.devices import AcquireLease, DeliveryChanged, LeaseAnswer, Offer
from protocol.contract.fitting import Base, SubmitAnswer
from protocol.contract.sessions import ModeAnswer
from protocol.errors import Unavailable
from signaling.assembly_care import CareAssembly
from signaling.backplane import BusState, Handler, MemoryBackplane, MemoryBus
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.lookout import Lookout
from signaling.pods.joined import Joined
from tests.eventually import eventually
from tests.signaling.care import Connect, change
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.pods import hub_of
from tests.signaling.visit import Visit, visit


class BusInHand(MemoryBackplane):
    """A bus that is away when a test says so, and late or deaf as it wants."""

    def __init__(self) -> None:
        super().__init__(MemoryBus())
        self.state = BusState.CONNECTED
        self.late: dict[str, Callable[[], None]] = {}
        self.missed: list[Callable[[], None]] = []

    def subscribe(self, channel: str, handler: Handler, on_late: Callable[[], None] | None = None) -> None:
        super().subscribe(channel, handler)
        if on_late is not None:
            self.late[channel] = on_late

    def on_missed(self, missed: Callable[[], None]) -> None:
        self.missed.append(missed)

    def miss(self) -> None:
        for missed in self.missed:
            missed()


class Hand:
    """The bus, and the lookout over it, whose looks a test asks for."""

    def __init__(self) -> None:
        self.bus = BusInHand()
        self.lookout: Lookout
        self.asked: list[list[str]] = []

    async def look(self) -> None:
        await self.lookout.look()


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand, make = Hand(), CareAssembly.lookout

    def lookout(assembly: CareAssembly, *parts: Any) -> Lookout:
        newest = assembly.device_log.newest

        async def ask(devices: Any) -> Any:
            hand.asked.append(sorted(devices))
            return await newest(devices)

        monkeypatch.setattr(assembly.device_log, "newest", ask)
        hand.lookout = make(assembly, *parts)
        return hand.lookout

    monkeypatch.setattr(Joined, "_backplane", lambda *_: hand.bus)
    monkeypatch.setattr(CareAssembly, "lookout", lookout)
    return hand


@pytest.fixture
async def house(hand: Hand, open_house: OpenHouse) -> House:
    return await open_house(look_s=2.0)


@pytest.fixture
async def here(house: House, connect: Connect, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Visit:
    """Live work, of which the lookout has seen all there is; from here on nobody is woken."""
    here = await visit(connect)
    await hand.look()
    monkeypatch.setattr(DeliveryFlow, "appended", lambda *_: None)
    return here


async def test_while_all_is_well_one_question_is_asked_now_and_then(hand: Hand, here: Visit, house: House) -> None:
    for _ in range(5):
        await hand.look()
    assert hand.asked == [["d1"]]
    house.monotonic.now_s += 2.0
    for _ in range(5):
        await hand.look()
    assert hand.asked == [["d1"], ["d1"]]
    assert here.phone.of(Offer) == []


@pytest.mark.parametrize("how", ["late", "away", "missed"])
async def test_a_change_that_nobody_was_woken_for_is_found(hand: Hand, here: Visit, how: str) -> None:
    await here.ann.ask("Submit", change(here.leased), answer=SubmitAnswer)
    await hand.look()
    assert here.phone.of(Offer) == []
    if how == "late":
        hand.bus.late["phone:d1"]()
    elif how == "away":
        hand.bus.state = BusState.DEGRADED
    else:
        hand.bus.miss()
    await hand.look()
    await here.phone.first(Offer)


async def test_what_was_lost_just_before_anybody_noticed_is_found_too(hand: Hand, here: Visit, house: House) -> None:
    await here.ann.ask("Submit", change(here.leased), answer=SubmitAnswer)
    house.monotonic.now_s += 2.0
    await hand.look()
    assert here.phone.of(Offer) == []
    hand.bus.state = BusState.DEGRADED
    await hand.look()
    await here.phone.first(Offer)


async def test_of_a_device_that_was_not_looked_at_before_what_is_new_is_told_and_nothing_old(
    hand: Hand, connect: Connect, monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    here = await visit(connect)
    old = await here.apply(change(here.leased))
    house.pass_s(10.1)
    await here.call("AcquireLease", AcquireLease(device="d1", session="s1"), LeaseAnswer)
    request = change(here.leased, key="k2", base=Base(revision=old.revision_id))
    new = await here.apply(request)
    hand.bus.state = BusState.DEGRADED
    before = len(here.fitter.of(DeliveryChanged))
    await hand.look()
    await eventually(lambda: len(here.fitter.of(DeliveryChanged)) > before)
    assert {one.seq for one in here.fitter.of(DeliveryChanged)[before:]} == {new.seq}


async def test_while_the_bus_is_away_live_devices_are_looked_at_each_time_and_others_now_and_then(
    hand: Hand, here: Visit, house: House
) -> None:
    hand.bus.state = BusState.DEGRADED
    hand.asked.clear()
    for _ in range(3):
        await hand.look()
    assert hand.asked == [["d1"]] * 3
    assert isinstance(await here.set_mode("standard"), ModeAnswer)
    for _ in range(3):
        await hand.look()
    assert hand.asked == [["d1"]] * 3
    house.monotonic.now_s += 2.0
    await hand.look()
    assert hand.asked == [["d1"]] * 4


async def test_the_devices_of_one_look_are_bounded_and_the_others_come_next(hand: Hand, house: House) -> None:
    hub_of(house)._phones.doubted.update(f"d{number}" for number in range(3))
    hand.lookout._times = type(hand.lookout._times)(all_every_s=2.0, max_devices=2)
    for _ in range(3):
        await hand.look()
    assert [len(asked) for asked in hand.asked] == [2, 1]
    assert {device for asked in hand.asked for device in asked} == {"d0", "d1", "d2"}
    assert house.metric("auricle_bound_reached_total", bound="max_looked_devices") == 1


async def test_with_the_log_away_all_is_looked_at_again(
    hand: Hand, here: Visit, monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    await here.ann.ask("Submit", change(here.leased), answer=SubmitAnswer)
    hand.bus.miss()
    log = hub_of(house)._log

    async def away(_: Any) -> Any:
        raise Unavailable("away")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(log, "newest", away)
        with pytest.raises(Unavailable):
            await hand.look()
    await hand.look()
    await here.phone.first(Offer)


async def test_a_device_that_is_only_watched_is_looked_at_as_well(hand: Hand, connect: Connect, house: House) -> None:
    ann = await connect("ann")
    await ann.ask("AcquireLease", AcquireLease(device="d1", session="s1"), answer=LeaseAnswer)
    await hand.look()
    await eventually(lambda: hand.asked == [["d1"]])
    await ann.stop()
    await eventually(lambda: not hub_of(house)._phones.watched_here())
    house.monotonic.now_s += 2.0
    await hand.look()
    assert hand.asked == [["d1"]]
    assert hand.lookout._seen == {}
