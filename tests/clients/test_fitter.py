"""The fitter against the real server and a real phone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeVar

import pytest
from msgspec.structs import replace as struct_replace

from clients.fitter import Fitter, FitterOptions
from clients.hub_client import HubCallError, HubClient, ReconnectPolicy
from clients.hub_errors import LinkLost
from clients.reconnect import Link
from protocol.contract.base import Failure
from protocol.contract.devices import DELIVERY_STATES, DeliveryQuery, LeaseAnswer
from protocol.contract.fitting import CheckAnswer, SubmitAnswer
from protocol.contract.sessions import ModeAnswer
from protocol.signalr.codec import ProtocolName
from tests.clients.care_bench import AT_ONCE, DEVICE, SOON_S, CareBench, care_bench, raise_of
from tests.clients.hub_double import until

T = TypeVar("T")


@pytest.fixture(params=["json", "messagepack"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[CareBench]:
    protocol: ProtocolName = request.param
    async with care_bench(protocol) as bench:
        yield bench


async def lease(fitter: Fitter) -> LeaseAnswer:
    granted = await fitter.acquire_lease(DEVICE, "session-1")
    assert isinstance(granted, LeaseAnswer)
    assert isinstance(await fitter.go_live(DEVICE, granted.fence), ModeAnswer)
    return granted


async def test_a_change_is_accepted_and_confirmed_by_what_the_aids_read_back(bench: CareBench) -> None:
    async with bench.phone(), bench.fitter() as fitter:
        hello = await fitter.hello()
        answer = await fitter.submit(raise_of(await lease(fitter)))
        assert isinstance(answer, SubmitAnswer)
        assert await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) == "confirmed"
        device = await fitter.get_device(DEVICE)
    assert hello.contract == 1
    for ear in ("right", "left"):
        digest = getattr(answer.digests, ear)
        assert bench.pair.aid(ear).read_digest("ram") == digest
        assert getattr(device.in_aid, ear).ram == digest
        assert bench.pair.aid(ear).writes_completed == 1


async def test_the_same_session_gets_the_same_fence_again_and_another_one_is_refused(bench: CareBench) -> None:
    async with bench.phone(), bench.fitter() as fitter:
        first, again = await lease(fitter), await lease(fitter)
        other = await fitter.acquire_lease(DEVICE, "session-2")
    assert first.fence == again.fence
    assert isinstance(other, Failure)
    assert other.error.code == "lease_held"


async def test_an_unsafe_change_is_a_value_with_rule_and_limit_and_changes_nothing(bench: CareBench) -> None:
    async with bench.phone(), bench.fitter() as fitter:
        granted = await lease(fitter)
        checked = await fitter.check(raise_of(granted, 80))
        answer = await fitter.submit(raise_of(granted, 80))
        device = await fitter.get_device(DEVICE)
    assert isinstance(checked, Failure)
    assert isinstance(answer, Failure)
    assert (answer.error.rule, answer.error.limit) == ("K7", 30)
    assert device.last_seq == 0
    assert [bench.pair.aid(ear).writes_completed for ear in bench.pair.ears] == [0, 0]


async def test_a_check_changes_nothing(bench: CareBench) -> None:
    async with bench.phone(), bench.fitter() as fitter:
        assert isinstance(await fitter.check(raise_of(await lease(fitter))), CheckAnswer)
        assert (await fitter.get_device(DEVICE)).last_seq == 0


async def test_a_device_of_somebody_else_looks_unknown(bench: CareBench) -> None:
    async with bench.fitter(bench.fitter_hub("eve")) as fitter:
        for device in (DEVICE, "no-such-device"):
            with pytest.raises(HubCallError) as raised:
                await fitter.get_device(device)
            assert raised.value.code == "not_found"


class LosesAnswers(HubClient):
    """Its link is cut after the server has answered a submit, before anybody here has seen the answer."""

    cuts_left = 1
    bench: CareBench

    async def ask(self, target: str, payload: object, *, answer: type[T]) -> T | Failure:
        result = await super().ask(target, payload, answer=answer)
        if target == "Submit" and self.cuts_left:
            self.cuts_left -= 1
            self.bench.fitter_cable.pull()
            self.bench.fitter_cable.plug_in()
            await until(lambda: self.state is Link.RECONNECTING)
            raise LinkLost("the answer was lost")
        return result


@pytest.mark.parametrize("cuts", [1, 3])
async def test_a_submit_whose_answer_was_lost_is_sent_again_and_happens_once(cuts: int) -> None:
    async with care_bench() as bench:
        hub = LosesAnswers(
            f"http://127.0.0.1:{bench.fitter_cable.port}/hub",
            token=bench.token("ann", "clinician"),
            reconnect=AT_ONCE,
        )
        hub.bench, hub.cuts_left = bench, cuts
        async with bench.phone(), bench.fitter(hub) as fitter:
            answer = await fitter.submit(raise_of(await lease(fitter)))
            assert isinstance(answer, SubmitAnswer)
            assert await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S) == "confirmed"
            assert (await fitter.get_device(DEVICE)).last_seq == answer.seq == 1
        assert bench.fitter_cable.pulls == cuts
        assert [bench.pair.aid(ear).writes_completed for ear in bench.pair.ears] == [1, 1]


async def test_a_submit_gives_up_after_its_last_try(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    options = FitterOptions(retry=ReconnectPolicy(base_s=0.0, max_attempts=2))
    fitter = Fitter(hub, options=options)
    async with bench.phone(), hub:
        granted = await lease(fitter)
        await hub.stop()
        with pytest.raises(ConnectionError):
            await fitter.submit(raise_of(granted))


async def test_an_end_that_was_told_while_the_link_was_away_is_made_up_for() -> None:
    async with care_bench(time_scale=0.2) as bench, bench.phone(), bench.fitter() as fitter:
        answer = await fitter.submit(raise_of(await lease(fitter)))
        assert isinstance(answer, SubmitAnswer)
        bench.fitter_cable.pull()
        await until(lambda: bench.pair.aid("left").writes_completed == 1)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(fitter.wait_until(DEVICE, answer, timeout_s=SOON_S))
            bench.fitter_cable.plug_in()
        assert waiting.result() == "confirmed"


async def reconnect(bench: CareBench, hub: HubClient) -> None:
    """Come back after a pull; returns when every listener that was there before has run."""
    restored = asyncio.Event()
    hub.on_reconnected(restored.set)
    bench.fitter_cable.plug_in()
    async with asyncio.timeout(SOON_S):
        await restored.wait()


async def submit(fitter: Fitter, by_ddb: int = 20) -> SubmitAnswer:
    answer = await fitter.submit(raise_of(await lease(fitter), by_ddb))
    assert isinstance(answer, SubmitAnswer)
    return answer


async def test_a_change_that_was_never_offered_is_not_confirmed_because_the_aids_hold_the_same(
    bench: CareBench,
) -> None:
    hub = bench.fitter_hub()
    async with bench.fitter(hub) as fitter:
        async with bench.phone():
            worn = (await lease(fitter)).in_aid
        await submit(fitter, 20)
        back = await submit(fitter, -20)
        assert worn.left
        assert back.digests.left == worn.left.ram
        bench.fitter_cable.pull()
        await reconnect(bench, hub)
        assert await fitter.wait_until(DEVICE, back, DELIVERY_STATES, timeout_s=SOON_S) == "accepted"
        async with bench.phone():
            assert await fitter.wait_until(DEVICE, back, timeout_s=SOON_S) == "confirmed"
    assert [bench.pair.aid(ear).writes_completed for ear in bench.pair.ears] == [2, 2]


async def fail_unseen(bench: CareBench, fitter: Fitter) -> SubmitAnswer:
    """A change that ends as failed while the cable of the fitter is pulled."""
    async with bench.phone():
        await lease(fitter)
    answer = await submit(fitter)
    bench.fitter_cable.pull()
    right = bench.pair.aid("right")
    right.faults = replace(right.faults, corrupt_digest=1_000)
    async with bench.phone() as phone:
        await until(lambda: phone.runner.record.last_settled == answer.seq)
    return answer


async def test_a_failure_while_the_link_was_away_is_learnt_after_the_reconnect(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    async with bench.fitter(hub) as fitter:
        answer = await fail_unseen(bench, fitter)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(fitter.wait_until(DEVICE, answer, timeout_s=SOON_S))
            await until(lambda: hub.state is Link.RECONNECTING)
            await reconnect(bench, hub)
        assert waiting.result() == "failed"


async def test_a_fitter_that_starts_to_wait_after_the_end_is_told_of_it(bench: CareBench) -> None:
    async with bench.fitter() as fitter:
        answer = await fail_unseen(bench, fitter)
        bench.fitter_cable.plug_in()
        async with bench.fitter() as newcomer:
            assert await newcomer.wait_until(DEVICE, answer, timeout_s=SOON_S) == "failed"


class CountsQuestions(HubClient):
    """Notes which deliveries the server was asked for."""

    asked: list[int]

    async def ask(self, target: str, payload: object, *, answer: type[T]) -> T | Failure:
        if isinstance(payload, DeliveryQuery):
            self.asked.append(payload.seq)
        return await super().ask(target, payload, answer=answer)


async def test_after_a_reconnect_only_what_is_tracked_and_has_no_end_is_asked_for() -> None:
    async with care_bench() as bench:
        url = f"http://127.0.0.1:{bench.fitter_cable.port}/hub"
        hub = CountsQuestions(url, token=bench.token("ann", "clinician"), reconnect=AT_ONCE)
        hub.asked = []
        fitter = Fitter(hub, options=FitterOptions(max_tracked=3))
        async with hub:
            async with bench.phone():
                ended = await submit(fitter)
                await fitter.wait_until(DEVICE, ended, timeout_s=SOON_S)
            for by_ddb in (-20, 20):
                await submit(fitter, by_ddb)
            hub.asked.clear()
            bench.fitter_cable.pull()
            await reconnect(bench, hub)
            assert hub.asked == [2, 3]
            for by_ddb in (-20, 20):
                await submit(fitter, by_ddb)
            # Of four that wait the newest makes the one before it fall away, which is told and asked for no more.
            hub.asked.clear()
            bench.fitter_cable.pull()
            await reconnect(bench, hub)
            assert hub.asked == [5]


async def test_a_delivery_that_the_log_does_not_hold_is_waited_for_no_longer_than_asked(bench: CareBench) -> None:
    async with bench.phone(), bench.fitter() as fitter:
        answer = await submit(fitter)
        await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S)
        elsewhere = struct_replace(answer, epoch="another-log")
        with pytest.raises(TimeoutError):
            await fitter.wait_until(DEVICE, elsewhere, timeout_s=0.05)


async def test_waiting_for_an_end_that_does_not_come_is_bounded(bench: CareBench) -> None:
    async with bench.fitter() as fitter:
        async with bench.phone():
            granted = await lease(fitter)
        answer = await fitter.submit(raise_of(granted))
        assert isinstance(answer, SubmitAnswer)
        with pytest.raises(TimeoutError):
            await fitter.wait_until(DEVICE, answer, timeout_s=0.05)


async def test_states_that_are_remembered_are_bounded(bench: CareBench) -> None:
    hub = bench.fitter_hub()
    fitter = Fitter(hub, options=FitterOptions(max_tracked=2))
    async with bench.phone(), hub:
        for by_ddb in (20, -20, 20):
            answer = await fitter.submit(raise_of(await lease(fitter), by_ddb))
            assert isinstance(answer, SubmitAnswer)
            await fitter.wait_until(DEVICE, answer, timeout_s=SOON_S)
        assert fitter.tracked == 2
