"""What the bus has lost of calls is told by each pod to its own people, once it hears the others again."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from clients.hub_client import HubClient
from protocol.contract.calls import (
    AnsweredElsewhere,
    CallAnswer,
    CallChanged,
    CallEnded,
    EndCall,
    IncomingCall,
)
from protocol.contract.sessions import Done
from protocol.contract.visits import Invited, JoinVisitAnswer
from tests.databases import lent_postgres
from tests.eventually import eventually, eventually_asked
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, redis_server
from tests.signaling.calls.test_calls_hub import started, taken
from tests.signaling.conftest import House
from tests.signaling.pods import bus_of, connected, hub_of, is_connected, two_pods
from tests.signaling.visit import Told
from tests.signaling.visiting import admitted, join, scheduled

LOOK_S = 5
CATCHING_UP_LOOKS = 8


@dataclass
class Far:
    """Ann is on one pod, Pat with a phone and a tablet on the other; they are in a visit."""

    bus: RedisServer
    east: House
    west: House
    ann: HubClient
    pat: HubClient
    tablet: HubClient
    hers: Told
    his: Told
    tablets: Told

    async def looks(self) -> None:
        """Both pods look at their calls, after as long as they wait between two looks."""
        for house in (self.east, self.west):
            house.wall.now_s += LOOK_S
            await hub_of(house)._calls.sweep()

    async def loses_redis(self) -> None:
        self.bus.kill()
        await eventually(lambda: not is_connected(self.east) and not is_connected(self.west))

    async def finds_redis(self) -> None:
        self.bus.start()
        pods = (self.east, self.west)
        await eventually(lambda: all(is_connected(one) and tables_of(one).is_up for one in pods))

    async def until_told(self, holds: Callable[[], object]) -> None:
        async def looked() -> object:
            await self.looks()
            return holds()

        await eventually_asked(looked)

    async def in_call(self) -> str:
        call = await started(self.ann)
        assert (await self.his.first(IncomingCall)).call_id == call.call_id
        assert isinstance(await taken(self.pat, call.call_id), CallAnswer)
        await self.hers.first(CallChanged)
        await self.tablets.first(AnsweredElsewhere)
        return call.call_id

    async def ends(self, who: HubClient, call_id: str) -> None:
        assert isinstance(await who.ask("EndCall", EndCall(visit="v1", call_id=call_id), answer=Done), Done)


def tables_of(house: House) -> Any:
    pods = house.parts.pods
    assert pods is not None
    return pods.joined.tables


@pytest.fixture
async def far(postgres: PostgresServer) -> AsyncIterator[Far]:
    async with lent_postgres(postgres) as url, AsyncExitStack() as stack:
        bus = stack.enter_context(redis_server())
        # Nobody is lost who is looked at so often.
        east, west = await stack.enter_async_context(two_pods(url, bus.url, pod_gone_s=600))
        await scheduled(east)
        told = [Told() for _ in range(3)]
        ann = await stack.enter_async_context(connected(east, "ann", "clinician", heard=told[0]))
        pat = await stack.enter_async_context(connected(west, "pat", "patient", heard=told[1]))
        tablet = await stack.enter_async_context(connected(west, "pat", "patient", heard=told[2]))
        for one in (ann, pat, tablet):
            assert isinstance(await join(one), JoinVisitAnswer)
        assert isinstance(await admitted(ann, "p2"), Invited)
        found = Far(bus, east, west, ann, pat, tablet, *told)
        # That a pod has come is taken for something that the others may have missed, for a while.
        await eventually(lambda: is_connected(east) and is_connected(west))
        for _ in range(CATCHING_UP_LOOKS):
            await found.looks()
        yield found


async def test_a_call_that_began_without_redis_rings_once_it_is_back(far: Far) -> None:
    await far.loses_redis()
    call = await started(far.ann)
    await far.looks()
    assert far.his.of(IncomingCall) == []
    await far.finds_redis()
    await far.until_told(lambda: far.his.of(IncomingCall) and far.tablets.of(IncomingCall))
    ringing = far.his.of(IncomingCall)[0]
    assert (ringing.call_id, ringing.caller) == (call.call_id, "ann")
    assert 0 < ringing.ring_for_ms <= 45_000
    assert isinstance(await taken(far.pat, call.call_id), CallAnswer)
    assert (await far.tablets.first(AnsweredElsewhere)).call_id == call.call_id
    await eventually(lambda: [one.state for one in far.hers.of(CallChanged)[-1].peers] == ["joined", "joined"])


async def test_a_call_that_ended_without_redis_is_over_for_all_once_it_is_back(far: Far) -> None:
    call_id = await far.in_call()
    # Her pod knows that he has answered.
    await far.looks()
    await far.loses_redis()
    await far.ends(far.ann, call_id)
    assert (await far.hers.first(CallEnded)).reason == "hung_up"
    await far.looks()
    assert far.his.of(CallEnded) == []
    await far.finds_redis()
    await far.until_told(lambda: far.his.of(CallEnded))
    assert (far.his.of(CallEnded)[0].call_id, far.his.of(CallEnded)[0].reason) == (call_id, "hung_up")
    # And there is room for another one, from either side.
    again = await started(far.pat)
    assert again.state == "ringing"
    assert again.call_id != call_id


@pytest.mark.parametrize("looked", [True, False], ids=["found before", "found after"])
async def test_a_call_whose_end_the_bus_has_lost_is_over_when_that_is_known(
    far: Far, looked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = await far.in_call()
    with monkeypatch.context() as lossy:
        lossy.setattr(bus_of(far.east), "publish", lambda *_: None)
        await far.ends(far.ann, call_id)
    if looked:
        await far.looks()
    await far.looks()
    assert far.his.of(CallEnded) == []
    bus_of(far.west)._tell_missed()
    await far.until_told(lambda: far.his.of(CallEnded) and far.tablets.of(CallEnded))
    assert far.his.of(CallEnded)[0].reason == "hung_up"
    told = len(far.his.of(CallEnded))
    await far.looks()
    assert len(far.his.of(CallEnded)) == told == 1


async def test_who_takes_part_is_told_when_that_was_lost(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    call = await started(far.ann)
    await far.tablets.first(IncomingCall)
    with monkeypatch.context() as lossy:
        lossy.setattr(bus_of(far.west), "publish", lambda *_: None)
        assert isinstance(await taken(far.pat, call.call_id), CallAnswer)
    await far.looks()
    assert far.hers.of(CallChanged) == []
    bus_of(far.east)._tell_missed()
    await far.until_told(lambda: far.hers.of(CallChanged))
    assert [(one.user, one.state) for one in far.hers.of(CallChanged)[0].peers] == [
        ("ann", "joined"),
        ("pat", "joined"),
    ]


async def test_nobody_is_told_twice_of_what_was_heard(far: Far) -> None:
    call_id = await far.in_call()
    await far.looks()
    await far.ends(far.pat, call_id)
    await far.hers.first(CallEnded)
    for _ in range(3):
        await far.looks()
    assert [len(told.of(CallEnded)) for told in (far.hers, far.his, far.tablets)] == [1, 1, 1]
    assert len(far.his.of(IncomingCall)) == 1


async def test_what_is_remembered_is_bounded_in_number_and_in_time(far: Far) -> None:
    missed = hub_of(far.west)._calls.missed
    missed._limit = 2
    ended = []
    for _ in range(3):
        ended.append(await far.in_call())
        await far.looks()
        await far.ends(far.ann, ended[-1])
        await far.his.first(CallEnded, len(ended) - 1)
        await far.looks()
        far.his.heard["IncomingCall"].clear()
    assert [call.call_id for _, call in missed._gone] == ended[1:]
    assert far.west.metric("auricle_bound_reached_total", bound="max_calls") == 1
    far.west.wall.now_s += 60
    bus_of(far.west)._tell_missed()
    await far.looks()
    assert not missed._gone
    assert len(far.his.of(CallEnded)) == len(ended)
