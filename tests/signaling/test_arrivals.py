"""Many phones attach at once: as many as can be served, the others when they are told to, and nothing in vain."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer
from signaling.admission import Gate
from signaling.auth import Principal
from signaling.door import Door as Entrance
from signaling.flows.arrivals import Arrivals
from tests.eventually import eventually
from tests.signaling.away import log_of
from tests.signaling.care import CLAIM, Connect
from tests.signaling.conftest import House, OpenHouse


@dataclass
class Door:
    """A gate, its clock, and what it has counted."""

    limit: int = 4
    now_s: float = 100.0
    counted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = Gate(self.limit, bound="b", monotonic=lambda: self.now_s, reached=self.counted.append)

    def full(self) -> "Door":
        assert [self.gate.enter() for _ in range(self.limit)] == [None] * self.limit
        return self


def test_so_many_are_inside_and_one_more_when_one_has_left() -> None:
    door = Door().full()
    assert door.gate.enter() is not None
    assert door.counted == ["b"]
    door.gate.leave(0.1)
    assert door.gate.enter() is None
    assert door.gate.enter() is not None


def test_who_is_urgent_finds_room_behind_a_crowd_but_not_without_end() -> None:
    door = Door().full()
    assert [door.gate.enter(is_urgent=True) for _ in range(4)] == [None] * 4
    assert door.gate.enter(is_urgent=True) is not None


def test_one_after_the_other_is_sent_to_when_there_should_be_room_at_the_pace_that_there_is() -> None:
    door = Door(limit=1)
    for _ in range(200):
        assert door.gate.enter() is None
        door.gate.leave(2.0)
    door.full()
    told = [door.gate.enter() or 0.0 for _ in range(5)]
    assert [round(later - sooner, 1) for sooner, later in itertools.pairwise(told)] == [2.0] * 4
    assert told[0] == pytest.approx(4.0, abs=0.1)
    # Time that has passed is not waited for again.
    door.now_s += 10.0
    assert (door.gate.enter() or 0.0) == pytest.approx(told[-1] + 2.0 - 10.0, abs=0.1)


def test_nobody_is_sent_away_for_longer_than_a_minute_and_a_crowd_not_to_one_moment() -> None:
    door = Door(limit=1)
    for _ in range(200):
        assert door.gate.enter() is None
        door.gate.leave(1.0)
    door.full()
    told = [door.gate.enter() or 0.0 for _ in range(1_000)]
    assert 0.25 <= min(told) <= max(told) <= 60.0
    fullest = max(sum(start <= one < start + 5.0 for one in told) for start in range(60))
    assert fullest < 250


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house(max_attachments=1)


async def ask(phone: HubClient, **claim: Any) -> AttachAnswer | Failure:
    return await phone.ask("AttachDevice", replace(CLAIM, **claim), answer=AttachAnswer)


async def test_a_phone_without_room_is_told_when_to_attach_and_nothing_is_done_for_it(
    connect: Connect, house: House
) -> None:
    log = log_of(house)
    log.stall = asyncio.Event()
    first, second, third = [await connect("pat", "patient", "device") for _ in range(3)]
    waiting = asyncio.create_task(ask(first))
    await eventually(lambda: inside(house) == 1)
    refused = await ask(second)
    assert isinstance(refused, Failure)
    assert (refused.error.code, refused.error.retryable) == ("overloaded", True)
    assert isinstance(refused.error.retry_after_ms, int)
    assert 250 <= refused.error.retry_after_ms <= 60_000
    assert house.metric("auricle_bound_reached_total", bound="max_attachments") == 1
    # Whoever is in the middle of something goes before the crowd.
    urgent = asyncio.create_task(ask(third, trial=True))
    await eventually(lambda: inside(house) == 2)
    log.stall.set()
    assert isinstance(await waiting, AttachAnswer)
    assert isinstance(await urgent, AttachAnswer)
    assert isinstance(await ask(second), AttachAnswer)


async def test_who_may_not_attach_takes_no_room(connect: Connect, house: House) -> None:
    log_of(house).stall = asyncio.Event()
    ann, phone = await connect("ann", "clinician"), await connect("pat", "patient", "device")
    with pytest.raises(HubCallError, match="unauthorized"):
        await ask(ann)
    with pytest.raises(HubCallError, match="no such device"):
        await ask(phone, device="d2")
    assert inside(house) == 0
    assert house.metric("auricle_bound_reached_total", bound="max_attachments") == 0


def inside(house: House) -> int:
    """How many are being attached."""
    guard = house.parts.hubs[0].hub.guards["AttachDevice"]
    assert isinstance(guard, Arrivals)
    return guard._gate._inside


PHONE = Principal("pat", "c1", frozenset({"patient", "device"}), 2_000_000_000.0)
ANN = Principal("ann", "c1", frozenset({"clinician"}), 2_000_000_000.0)


@dataclass
class Outside:
    """The clock of a door, and what it has counted."""

    now_s: float = 100.0
    counted: list[str] = field(default_factory=list)


def outside(limit: int = 1, *, timeout_s: float = 60.0) -> tuple[Entrance, Outside]:
    now = Outside()
    return Entrance(limit, timeout_s=timeout_s, monotonic=lambda: now.now_s, reached=now.counted.append), now


async def test_the_next_phone_is_let_in_when_one_is_through_in_the_order_of_their_coming() -> None:
    door, now = outside()
    assert await door.enter(PHONE, "a") is None
    waiting = {name: asyncio.create_task(door.enter(PHONE, name)) for name in ("b", "c")}
    await eventually(lambda: len(door._waiting) == 2)
    door.leave("unknown")
    door.leave("a")
    assert await waiting["b"] is None
    assert not waiting["c"].done()
    door.leave("b")
    assert await waiting["c"] is None
    assert now.counted == ["max_arriving_phones"] * 2


async def test_nobody_but_phones_waits_at_the_door() -> None:
    door, now = outside()
    assert await door.enter(PHONE, "a") is None
    assert [await door.enter(ANN, name) for name in "bcd"] == [None] * 3
    assert now.counted == []


async def test_whoever_waits_for_too_long_is_sent_away_and_takes_nobodys_place() -> None:
    door, now = outside(timeout_s=0.05)
    assert await door.enter(PHONE, "a") is None
    assert await door.enter(PHONE, "b") == 5.0
    assert now.counted == ["max_arriving_phones", "arrival_timeout_s"]
    door.leave("a")
    assert await door.enter(PHONE, "c") is None


async def test_a_phone_that_does_not_attach_keeps_others_out_for_a_while_only() -> None:
    door, now = outside()
    assert await door.enter(PHONE, "a") is None
    now.now_s += 60.0
    assert await door.enter(PHONE, "b") is None
    assert now.counted == ["arrival_timeout_s"]


async def test_a_phone_waits_for_its_connection_until_another_is_attached_or_gone(
    connect: Connect, house: House
) -> None:
    guard = house.parts.hubs[0].hub.guards["AttachDevice"]
    assert isinstance(guard, Arrivals)
    guard.door._limit = 1
    log = log_of(house)
    first = await connect("pat", "patient", "device")
    # Professionals come and go meanwhile.
    await connect("ann", "clinician")
    second = asyncio.ensure_future(connect("pat", "patient", "device"))
    await eventually(lambda: len(guard.door._waiting) == 1)
    assert not second.done()
    log.stall = asyncio.Event()
    attaching = asyncio.create_task(ask(first))
    await eventually(lambda: inside(house) == 1)
    assert not second.done()
    log.stall.set()
    assert isinstance(await attaching, AttachAnswer)
    third = asyncio.ensure_future(connect("pat", "patient", "device"))
    await (await second).stop()
    await (await third).stop()
    await eventually(lambda: not guard.door._inside)
    assert house.metric("auricle_bound_reached_total", bound="max_arriving_phones") >= 1


async def test_a_phone_that_waited_in_vain_is_answered_503_with_a_time(open_house: OpenHouse) -> None:
    house = await open_house(max_arriving_phones=1, arrival_timeout_s=0.1)
    url = f"{house.url}/hub"
    await house.socket(url, headers=house.bearer("pat", "patient", "device"))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.socket(url, headers=house.bearer("pat", "patient", "device"))
    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "5"
    assert house.metric("auricle_bound_reached_total", bound="arrival_timeout_s") == 1
