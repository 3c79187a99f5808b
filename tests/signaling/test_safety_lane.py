"""What makes an aid quiet again works with the log away, with a stalled call before it, and is recorded afterwards."""

import asyncio
from dataclasses import dataclass, field

import pytest

from protocol.contract.devices import DeviceAnswer, DeviceQuery, Offer
from protocol.contract.sessions import Heartbeat, Relayed, Revert, RevertNow, SessionAlive
from protocol.errors import Unavailable
from signaling.auth import Principal
from signaling.grants import RememberedGrants
from signaling.metrics import Metrics
from signaling.policy import Relation
from tests.eventually import eventually
from tests.signaling.away import Away, log_of
from tests.signaling.by_hand import PATIENCE_S
from tests.signaling.care import Connect, change
from tests.signaling.conftest import Clock, House
from tests.signaling.visit import Visit, visit


@pytest.fixture
def away(house: House) -> Away:
    return log_of(house)


@pytest.mark.parametrize("method", ["Stop", "Undo", "Revert"])
async def test_with_the_log_away_the_phone_is_told_and_the_log_hears_of_it_later(
    connect: Connect, away: Away, method: str
) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    away.is_away = True
    assert (await here.call(method, Revert(device="d1"), Relayed)).relayed
    assert (await here.phone.first(RevertNow)).cause == method.lower()
    away.is_away = False

    async def recorded() -> bool:
        events = await away.log.changed_since("d1", 0)
        return any(event.kind == "session" and event.state == method.lower() for event in events)

    async with asyncio.timeout(PATIENCE_S):
        while not await recorded():
            # It is tried again after a tenth of a second; a round trip gives the server a turn.
            await here.ann.invoke("WhoAmI", result=object)
    live = (await away.log.head("d1")).live
    assert (live is None) == (method == "Stop")


async def test_a_stalled_change_before_it_holds_nothing_up(connect: Connect, away: Away) -> None:
    here = await visit(connect)
    await here.apply(change(here.leased))
    away.stall = asyncio.Event()
    stalled = asyncio.ensure_future(here.ann.invoke("Submit", change(here.leased, key="k2"), result=object))
    for method in ("Revert", "Undo", "Stop"):
        assert (await here.call(method, Revert(device="d1"), Relayed)).relayed
    await here.phone.first(RevertNow, after=2)
    assert [told.cause for told in here.phone.of(RevertNow)] == ["revert", "undo", "stop"]
    assert not stalled.done()
    away.stall.set()
    await stalled


async def test_after_a_stop_nothing_feeds_the_dead_man_whatever_becomes_of_the_log(
    connect: Connect, away: Away, house: House
) -> None:
    here = await visit(connect)
    await here.phone.first(SessionAlive)
    alive = len(here.phone.heard["SessionAlive"])
    away.is_away = True
    await here.call("Stop", Revert(device="d1"), Relayed, by=here.pat)
    away.is_away = False
    house.monotonic.now_s += 6
    await house.sweep_care()
    assert len(here.phone.heard["SessionAlive"]) == alive


async def test_back_to_the_base_works_while_something_is_indeterminate(connect: Connect) -> None:
    here = await visit(connect)
    await unproven(here)
    assert (await here.call("Undo", Revert(device="d1"), Relayed)).relayed
    await here.phone.first(RevertNow)


async def unproven(here: Visit) -> None:
    await here.ann.invoke("Submit", change(here.leased), result=object)
    offer = await here.phone.first(Offer)
    await here.report(offer, 1, "received")
    await here.report(offer, 2, "writing", ear="right")
    await here.report(offer, 3, "indeterminate", ear="right", code="E_BLE_DURING")


async def test_only_so_much_waits_to_be_recorded(connect: Connect, away: Away, house: House) -> None:
    here = await visit(connect)
    away.is_away = True
    for _ in range(257):
        assert (await here.call("Undo", Revert(device="d1"), Relayed)).relayed
    assert house.metric("auricle_bound_reached_total", bound="max_late_records") == 1


ANN = Principal("ann", "c1", frozenset({"clinician"}), 2_000_000_000.0)


@dataclass
class Store:
    """Grants that count, and that may be away or slow."""

    holding: bool = True
    fails: bool = False
    stalls: asyncio.Event | None = None
    asked: int = 0
    metrics: Metrics = field(default_factory=Metrics)

    def counted(self, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value("auricle_bound_reached_total", labels)

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        self.asked += 1
        if self.stalls is not None:
            await self.stalls.wait()
        if self.fails:
            raise Unavailable("away")
        return self.holding and object_id != "another"


def remembered(store: Store, clock: Clock, *, patience_s: float = 20.0) -> RememberedGrants:
    return RememberedGrants(
        store, limit=2, patience_s=patience_s, wait_s=2 * patience_s, monotonic=clock, reached=store.metrics.reached
    )


async def test_what_was_just_found_is_not_asked_again_and_what_was_refused_is() -> None:
    store, clock = Store(), Clock(0.0)
    grants = remembered(store, clock)
    assert [await grants.holds(ANN, Relation.ASSIGNED, "d1") for _ in range(3)] == [True] * 3
    assert [await grants.holds(ANN, Relation.ASSIGNED, "another") for _ in range(2)] == [False] * 2
    assert store.asked == 3
    clock.now_s += 2
    store.holding = False
    assert not await grants.holds(ANN, Relation.ASSIGNED, "d1")
    store.fails = True
    with pytest.raises(Unavailable):
        await grants.holds(ANN, Relation.ASSIGNED, "d1")


@pytest.mark.parametrize("how", ["away", "slow"])
async def test_with_the_store_away_what_was_found_within_the_hour_counts_and_nothing_else(how: str) -> None:
    store, clock = Store(), Clock(0.0)
    grants = remembered(store, clock, patience_s=0.05)
    assert await grants.holds(ANN, Relation.ASSIGNED, "d1")
    store.fails, store.stalls = how == "away", asyncio.Event() if how == "slow" else None
    clock.now_s += 3_599
    assert await grants.holds(ANN, Relation.ASSIGNED, "d1")
    assert store.counted(bound="grant_patience_s") == 1
    for relation, device in ((Relation.OWN, "d1"), (Relation.ASSIGNED, "d2")):
        with pytest.raises(Unavailable):
            await grants.holds(ANN, relation, device)
    clock.now_s += 1
    with pytest.raises(Unavailable):
        await grants.holds(ANN, Relation.ASSIGNED, "d1")


async def test_a_store_that_is_slow_is_not_away_for_what_was_never_found() -> None:
    store = Store(stalls=asyncio.Event())
    grants = RememberedGrants(
        store, limit=2, patience_s=0.0, wait_s=60.0, monotonic=Clock(0.0), reached=store.metrics.reached
    )
    asking = asyncio.create_task(grants.holds(ANN, Relation.ASSIGNED, "d1"))
    await eventually(lambda: store.asked == 1)
    await asyncio.sleep(0.02)  # sleep: for longer than its patience
    assert not asking.done()
    assert store.stalls is not None
    store.stalls.set()
    assert await asking


async def test_only_so_many_grants_are_remembered() -> None:
    store, clock = Store(), Clock(0.0)
    grants = remembered(store, clock)
    for device in ("d1", "d2", "d3", "d1"):
        assert await grants.holds(ANN, Relation.ASSIGNED, device)
    assert (store.asked, store.counted(bound="max_grants")) == (4, 2)


@pytest.mark.parametrize("then", ["told", "away"])
async def test_who_is_forgotten_while_the_store_is_asked_is_not_remembered(then: str) -> None:
    store, clock = Store(), Clock(0.0)
    grants = remembered(store, clock)
    assert await grants.holds(ANN, Relation.ASSIGNED, "d1")
    clock.now_s += 2
    store.stalls = asyncio.Event()
    asking = asyncio.create_task(grants.holds(ANN, Relation.ASSIGNED, "d1"))
    await eventually(lambda: store.asked == 2)
    grants.forget("c1", "ann", "d1")
    store.fails = then == "away"
    store.stalls.set()
    # What was found was found before, so it is asked again.
    if then == "away":
        with pytest.raises(Unavailable):
            await asking
    else:
        assert await asking
        assert store.asked == 3


async def test_a_heartbeat_of_a_device_that_somebody_else_carries_moves_nothing(connect: Connect) -> None:
    here = await visit(connect, live=False)
    await here.ann.invoke("Heartbeat", Heartbeat(device="d1", battery=1), result=object)
    await here.go_live()


async def test_a_phone_that_goes_while_the_log_is_away_is_gone_without_a_crash(
    connect: Connect, away: Away, house: House
) -> None:
    here = await visit(connect)
    away.is_away = True
    await here.pat.stop()
    await eventually(lambda: "connection_closed" in house.log.getvalue())
    assert "call_crashed" not in house.log.getvalue()
    away.is_away = False
    device = await here.ann.invoke("GetDevice", DeviceQuery(device="d1"), result=DeviceAnswer)
    assert not device.phone.online
