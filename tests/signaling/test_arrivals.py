"""Many phones attach at once: as many as can be served, the others when they are told to, and nothing in vain."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer
from signaling.admission import Gate
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
