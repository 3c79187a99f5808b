"""A server that cannot record, or does not answer: the aids and their wearer do not wait, and it is told later."""

import asyncio
import random
from collections.abc import Coroutine

import pytest

from clients.phone_driver import OfferRunner
from clients.phone_session import SessionState
from protocol.contract.devices import Report
from protocol.errors import Unavailable
from tests.clients.live_bench import holds_base, tried
from tests.clients.offers import again, make_offer, make_pair, told
from tests.clients.phone_bench import HAPPY, Clock, Server, make_runner
from tests.eventually import eventually
from tests.simulation.loop import SimLoop


async def hang(_: Report) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("fails_at", range(5))
async def test_what_a_server_could_not_record_is_told_without_being_asked(fails_at: int) -> None:
    server = Server(fails_at=fails_at, error=Unavailable)
    pair = make_pair()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), server.report)
    await runner.catch_up(server.report)
    assert len(server.reports) == fails_at
    server.heal()
    await runner.catch_up(server.report)
    assert told(server.facts()) == HAPPY
    calls = server.calls
    await runner.catch_up(server.report)
    assert server.calls == calls


def causes(runner: OfferRunner) -> list[str]:
    """Why the phone still owes the server a look at its aids."""
    return [notice.cause for notice in runner.record.notices]


async def test_what_is_told_again_of_an_aid_is_followed_by_a_read_back() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair)
    offer = make_offer(pair)
    await runner.run_offer(offer, server.report)
    assert causes(runner) == []
    await runner.run_offer(again(offer), server.report)
    assert causes(runner) == ["read_back"]


async def test_a_server_that_does_not_answer_does_not_hold_up_the_other_ear() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair, report_s=0.01)
    await runner.run_offer(make_offer(pair), hang)
    assert [pair.aid(ear).writes_completed for ear in pair.ears] == [1, 1]
    await runner.catch_up(server.report)
    assert told(server.facts()) == HAPPY


async def test_what_was_being_told_when_the_work_was_given_up_is_told_before_what_follows() -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = make_runner(pair)

    async def report(told: Report) -> None:
        if told.state == "confirmed":
            await asyncio.Event().wait()
        await server.report(told)

    working = asyncio.create_task(runner.run_offer(make_offer(pair, kind="persist"), report))
    await eventually(lambda: runner.record.in_flight is not None and runner.record.in_flight.phase == "verified:left")
    working.cancel()
    await asyncio.wait({working})
    await runner.work(server.report)
    await runner.catch_up(server.report)
    assert told(server.facts())[: len(HAPPY)] == HAPPY
    assert told(server.facts())[-1] == "left active"


def by_their_own_time(scene: Coroutine[object, object, None]) -> None:
    """What the machine does beside counts for nothing."""
    with asyncio.Runner(loop_factory=lambda: SimLoop(random.Random(0))) as runner:
        runner.run(scene)


def test_a_stop_does_not_wait_for_a_server_that_does_not_answer() -> None:
    async def scene() -> None:
        pair = make_pair()
        runner = await tried(pair)
        waiting = asyncio.create_task(runner.run_offer(make_offer(pair, seq=2, gain_ddb=230), hang))
        await eventually(lambda: runner.record.in_flight is not None)
        async with asyncio.timeout(1.5):
            assert await runner.revert("stop", None)
        assert holds_base(pair)
        await waiting

    by_their_own_time(scene())


def test_the_dead_man_does_not_wait_for_a_server_that_does_not_answer() -> None:
    async def scene() -> None:
        pair, clock = make_pair(), Clock()
        runner = await tried(pair, clock)
        waiting = asyncio.create_task(runner.run_offer(make_offer(pair, seq=2, gain_ddb=230), hang))
        await eventually(lambda: runner.record.in_flight is not None)
        clock.now_s += 30.0
        async with asyncio.timeout(1.5):
            await runner.work(None)
        assert holds_base(pair)
        assert runner.record.session.state is not SessionState.TRIAL
        await waiting

    by_their_own_time(scene())
