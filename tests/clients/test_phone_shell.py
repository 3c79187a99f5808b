"""The phone against the real server: attach, offers in order, and links that die."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clients.fitter import Fitter
from clients.hub_client import HubClient
from clients.phone import AttachRefused, Phone, PhoneOptions
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.devices import AttachAnswer, LeaseAnswer
from protocol.contract.fitting import SubmitAnswer
from protocol.contract.sessions import ModeAnswer
from protocol.signalr.codec import ProtocolName
from tests.clients.care_bench import DEVICE, SOON_S, CareBench, care_bench, raise_of
from tests.clients.hub_double import until


@pytest.fixture(params=["json", "messagepack"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[CareBench]:
    protocol: ProtocolName = request.param
    async with care_bench(protocol) as bench:
        yield bench


async def submit(fitter: Fitter, by_ddb: int = 20) -> SubmitAnswer:
    granted = await fitter.acquire_lease(DEVICE, "session-1")
    assert isinstance(granted, LeaseAnswer)
    if granted.mode != "advanced":
        assert isinstance(await fitter.go_live(DEVICE, granted.fence), ModeAnswer)
    answer = await fitter.submit(raise_of(granted, by_ddb))
    assert isinstance(answer, SubmitAnswer)
    return answer


async def test_attaching_makes_the_aids_known_by_what_they_read_back(bench: CareBench) -> None:
    async with bench.phone(), bench.fitter() as fitter:
        device = await fitter.get_device(DEVICE)
    assert device.phone.online
    for ear in bench.pair.ears:
        assert getattr(device.in_aid, ear).ram == bench.pair.aid(ear).read_digest("ram")


async def test_an_attach_that_gets_no_answer_is_tried_again_on_the_same_link(
    bench: CareBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, silent = HubClient.ask, ["AttachDevice"]

    async def silent_once(hub: HubClient, target: str, payload: object, *, answer: type[Any]) -> Any:
        if target in silent:
            silent.remove(target)
            raise TimeoutError
        return await ask(hub, target, payload, answer=answer)

    monkeypatch.setattr(HubClient, "ask", silent_once)
    async with bench.phone(), bench.fitter() as fitter:
        assert (await fitter.get_device(DEVICE)).phone.online
    assert silent == []


async def test_changes_are_carried_out_in_order_and_each_once(bench: CareBench) -> None:
    async with bench.phone(), bench.fitter() as fitter:
        answers = [await submit(fitter, by_ddb) for by_ddb in (20, 20, -30)]
        states = [await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) for answer in answers]
    assert [answer.seq for answer in answers] == [1, 2, 3]
    # The newest waits for the one that is being written; the one between may fall away.
    assert states in (["confirmed"] * 3, ["confirmed", "superseded", "confirmed"])
    writes = states.count("confirmed")
    assert [bench.pair.aid(ear).writes_completed for ear in bench.pair.ears] == [writes, writes]
    assert bench.pair.aid("left").read_digest("ram") == answers[-1].digests.left


async def test_an_end_that_the_server_holds_is_noted_by_the_phone(bench: CareBench) -> None:
    async with bench.phone() as phone, bench.fitter() as fitter:
        await submit(fitter)
        await until(lambda: phone.runner.record.last_settled == 1)
        await submit(fitter)
        await until(lambda: phone.runner.record.last_settled == 2)
        assert phone.runner.record.in_flight is None


async def test_an_offer_that_does_not_follow_makes_the_phone_attach_again_and_nothing_is_lost(
    bench: CareBench,
) -> None:
    async with bench.phone() as phone, bench.fitter() as fitter:
        elsewhere = AttachAnswer(epoch="another-log", from_seq=40, generation=1, resume="ok")
        phone.runner.attached(elsewhere)
        answer = await submit(fitter)
        assert await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) == "confirmed"
        assert phone.runner.record.epoch == answer.epoch
    assert [bench.pair.aid(ear).writes_completed for ear in bench.pair.ears] == [1, 1]


async def test_a_change_for_a_phone_that_is_away_is_carried_out_when_it_comes(bench: CareBench) -> None:
    async with bench.fitter() as fitter:
        async with bench.phone():
            granted = await fitter.acquire_lease(DEVICE, "session-1")
            assert isinstance(granted, LeaseAnswer)
            await fitter.go_live(DEVICE, granted.fence)
        answer = await submit(fitter)
        async with bench.phone():
            assert await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) == "confirmed"


@pytest.mark.parametrize("ear", ["right", "left"])
async def test_a_link_cut_while_an_ear_is_written_costs_no_change_and_repeats_none(ear: str) -> None:
    states: list[tuple[str, str]] = []
    async with care_bench(time_scale=0.3) as bench, bench.phone():
        hub = bench.fitter_hub()
        fitter = Fitter(hub, on_delivery=lambda change: states.append((str(change.ear), change.state)))
        async with hub:
            answer = await submit(fitter)
            await until(lambda: (ear, "writing") in states)
            bench.phone_cable.pull()
            await until(lambda: bench.pair.aid("left").writes_completed == 1)
            bench.phone_cable.plug_in()
            assert await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) == "confirmed"
        assert [bench.pair.aid(e).writes_completed for e in bench.pair.ears] == [1, 1]
        assert bench.pair.aid("left").read_digest("ram") == answer.digests.left
        assert bench.pair.aid("right").read_digest("ram") == answer.digests.right


async def test_a_link_that_dies_again_and_again_loses_nothing() -> None:
    async with care_bench(time_scale=0.1) as bench, bench.phone() as phone, bench.fitter() as fitter:
        answers = []
        for by_ddb in (20, -20, 20, -20):
            answers.append(await submit(fitter, by_ddb))
            bench.phone_cable.pull()
            bench.phone_cable.plug_in()
        states = [await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) for answer in answers]
        # Each was done once or fell away for a newer one, and the last one was done.
        assert set(states) <= {"confirmed", "superseded"}
        assert states[-1] == "confirmed"
        assert phone.attached.is_set()
        writes = states.count("confirmed")
        assert [bench.pair.aid(ear).writes_completed for ear in bench.pair.ears] == [writes, writes]


async def test_a_device_that_is_not_this_phones_is_refused(bench: CareBench) -> None:
    hub = bench.phone_hub("eve")
    async with hub:
        with pytest.raises(AttachRefused, match="not_found"):
            await Phone(hub, bench.runner()).run()


async def test_aids_that_are_not_the_registered_ones_are_refused(bench: CareBench) -> None:
    bench.pair = VirtualPair(VirtualAid("right", "somebody-elses"))
    hub = bench.phone_hub()
    async with hub:
        with pytest.raises(AttachRefused, match="wrong_device"):
            await Phone(hub, bench.runner()).run()


async def test_a_newer_phone_takes_over_and_the_older_one_ends(bench: CareBench) -> None:
    older = bench.phone_hub()
    first = Phone(older, bench.runner())
    async with older, asyncio.timeout(SOON_S), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(first.run())
        await first.attached.wait()
        async with bench.phone():
            await running
    assert older.end is not None
    assert not older.end.may_reconnect


async def test_offers_over_the_bound_are_left_to_the_server_to_offer_again(bench: CareBench) -> None:
    hub = bench.phone_hub()
    phone = Phone(hub, bench.runner(), options=PhoneOptions(max_offers=0))
    async with bench.fitter() as fitter, hub, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(phone.run())
        await phone.attached.wait()
        await submit(fitter)
        await until(lambda: hub.handler_failures == 1)
        running.cancel()
    assert [bench.pair.aid(ear).writes_completed for ear in bench.pair.ears] == [0, 0]
