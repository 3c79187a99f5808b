"""A fitter keeps its lease by itself, and learns when it has lost it."""

from collections.abc import AsyncIterator
from functools import partial
from typing import TypeVar

import pytest

from clients.fitter import FitterNews
from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.devices import LeaseAnswer
from protocol.contract.sessions import Done, LeaseLost
from tests.clients.care_bench import DEVICE, CareBench, care_bench
from tests.clients.fitter_bench import SESSION, Ticks, code_of, fitter_of, live, tried
from tests.clients.hub_double import until

T = TypeVar("T")


@pytest.fixture
async def bench() -> AsyncIterator[CareBench]:
    async with care_bench(clinicians=("ann", "bob")) as bench:
        yield bench


class CountsCalls(HubClient):
    """Notes what the server was asked for."""

    asked: list[str]

    def was_asked(self, target: str, times: int) -> bool:
        return self.asked.count(target) == times

    async def ask(self, target: str, payload: object, *, answer: type[T]) -> T | Failure:
        self.asked.append(target)
        return await super().ask(target, payload, answer=answer)


def losses(news: list[FitterNews]) -> list[LeaseLost]:
    return [one for one in news if isinstance(one, LeaseLost)]


async def test_a_lease_is_renewed_each_five_seconds_while_it_is_held(bench: CareBench) -> None:
    ticks = Ticks()
    hub = CountsCalls(bench.fitter_url, token=bench.token("ann", "clinician"))
    hub.asked = []
    async with fitter_of(bench, hub=hub, ticks=ticks) as (fitter, news):
        granted = await fitter.acquire_lease(DEVICE, SESSION)
        assert isinstance(granted, LeaseAnswer)
        for count in range(1, 5):
            await ticks.pass_s(4.9)
            assert hub.asked.count("RenewLease") == count - 1
            await ticks.pass_s(0.1)
            await until(partial(hub.was_asked, "RenewLease", count))
            await until(lambda: ticks.sleeping)
        assert fitter.fence_of(DEVICE) == granted.fence
        await fitter.acquire_lease(DEVICE, SESSION)
        await ticks.pass_s(5.0)
        await until(lambda: hub.asked.count("RenewLease") == 5)
        assert losses(news) == []


async def test_a_lease_that_was_given_back_is_renewed_no_more_and_is_no_loss(bench: CareBench) -> None:
    ticks = Ticks()
    async with fitter_of(bench, ticks=ticks) as (fitter, news), fitter_of(bench, "bob") as (other, _):
        granted = await fitter.acquire_lease(DEVICE, SESSION)
        assert isinstance(granted, LeaseAnswer)
        assert code_of(await other.acquire_lease(DEVICE, "session-2")) == "lease_held"
        assert isinstance(await fitter.release(DEVICE, SESSION, granted.fence), Done)
        await until(lambda: not ticks.sleeping)
        assert fitter.fence_of(DEVICE) is None
        assert isinstance(await other.acquire_lease(DEVICE, "session-2"), LeaseAnswer)
        assert losses(news) == []


async def test_a_lease_with_something_unsaved_is_not_given_back_by_mistake(bench: CareBench) -> None:
    async with bench.phone(), fitter_of(bench) as (fitter, _):
        granted = await live(fitter)
        await tried(fitter, granted)
        assert code_of(await fitter.release(DEVICE, SESSION, granted.fence)) == "unsaved"
        assert fitter.fence_of(DEVICE) == granted.fence
        assert isinstance(await fitter.release(DEVICE, SESSION, granted.fence, discard=True), Done)


async def test_a_theft_is_told_with_its_reason_to_the_one_who_has_lost_and_not_to_the_thief(
    bench: CareBench,
) -> None:
    ticks = Ticks()
    async with (
        bench.phone(),
        fitter_of(bench, ticks=ticks) as (fitter, news),
        fitter_of(bench, "bob") as (thief, loot),
    ):
        granted = await live(fitter)
        stolen = await thief.steal(DEVICE, "session-2", "the patient is here")
        assert isinstance(stolen, LeaseAnswer)
        await until(lambda: losses(news))
        assert losses(news) == [LeaseLost(device=DEVICE, reason="stolen", detail="the patient is here")]
        assert fitter.fence_of(DEVICE) is None
        await until(lambda: not ticks.sleeping)
        assert stolen.fence == thief.fence_of(DEVICE) == granted.fence + 1
        assert losses(loot) == []


async def test_a_lease_that_cannot_be_renewed_in_time_is_lost_without_a_server(bench: CareBench) -> None:
    ticks = Ticks()
    async with fitter_of(bench, ticks=ticks) as (fitter, news):
        assert isinstance(await fitter.acquire_lease(DEVICE, SESSION), LeaseAnswer)
        bench.fitter_cable.pull()
        for _ in range(3):
            assert losses(news) == []
            await until(lambda: ticks.sleeping)
            await ticks.pass_s(5.0)
        await until(lambda: losses(news))
        assert [loss.reason for loss in losses(news)] == ["expired"]
        assert fitter.fence_of(DEVICE) is None
        bench.fitter_cable.plug_in()


async def test_over_a_reconnect_the_lease_stays_and_pushes_come_again(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    async with bench.phone(), fitter_of(bench, hub=hub) as (fitter, news):
        granted = await live(fitter)
        link = hub.connection_id
        bench.fitter_cable.pull()
        await until(lambda: not hub.connection_id)
        bench.fitter_cable.plug_in()
        await until(lambda: hub.connection_id not in ("", link))
        await tried(fitter, granted)
        assert fitter.fence_of(DEVICE) == granted.fence
        assert losses(news) == []


async def test_who_comes_back_to_a_device_that_another_has_learns_that_it_is_lost(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    async with fitter_of(bench, hub=hub) as (fitter, news), bench.direct_fitter("bob") as other:
        assert isinstance(await fitter.acquire_lease(DEVICE, SESSION), LeaseAnswer)
        bench.fitter_cable.pull()
        await until(lambda: not hub.connection_id)
        assert isinstance(await other.steal(DEVICE, "session-2", "he is away"), LeaseAnswer)
        bench.fitter_cable.plug_in()
        await until(lambda: losses(news))
        assert fitter.fence_of(DEVICE) is None


async def test_who_comes_back_under_a_new_fence_gives_that_back_at_once(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    async with fitter_of(bench, hub=hub) as (fitter, news), bench.direct_fitter("bob") as other:
        assert isinstance(await fitter.acquire_lease(DEVICE, SESSION), LeaseAnswer)
        bench.fitter_cable.pull()
        await until(lambda: not hub.connection_id)
        stolen = await other.steal(DEVICE, "session-2", "he is away")
        assert isinstance(stolen, LeaseAnswer)
        assert isinstance(await other.release(DEVICE, "session-2", stolen.fence), Done)
        bench.fitter_cable.plug_in()
        await until(lambda: losses(news))
        assert not isinstance(await other.acquire_lease(DEVICE, "session-3"), Failure)
