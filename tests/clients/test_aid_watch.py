"""An aid that was out of reach when its phone attached is no secret once it can be read."""

import asyncio

from msgspec import UNSET

from clients.phone_driver import OfferRunner
from clients.virtual_aid.faults import Faults
from tests.clients.care_bench import DEVICE, SOON_S, care_bench
from tests.clients.offers import make_pair
from tests.clients.phone_bench import make_runner


def causes(runner: OfferRunner) -> list[str]:
    """Why the phone still owes the server a look at its aids."""
    return [notice.cause for notice in runner.record.notices]


async def test_an_aid_that_is_first_read_after_the_attach_is_to_be_told_of_once() -> None:
    pair = make_pair()
    left = pair.aid("left")
    left.connected, left.faults = False, Faults(refuse_connects=99)
    runner = make_runner(pair)
    await runner.attach_claim()
    await runner.work(None)
    assert causes(runner) == []
    left.connected, left.faults = True, Faults()
    await runner.work(None)
    assert causes(runner) == ["read_back"]
    runner.told(runner.record.notices[0])
    await runner.work(None)
    assert causes(runner) == []


async def test_an_aid_that_was_away_when_the_server_was_last_told_is_to_be_told_of_once() -> None:
    pair = make_pair()
    runner, left = make_runner(pair), pair.aid("left")
    await runner.attach_claim()
    left.connected, left.faults = False, Faults(refuse_connects=99)
    assert (await runner.device_report("read_back")).left is UNSET
    left.connected, left.faults = True, Faults()
    await runner.work(None)
    assert causes(runner) == ["read_back"]
    assert (await runner.device_report("read_back")).left is not UNSET
    runner.told(runner.record.notices[0])
    await runner.work(None)
    assert causes(runner) == []


async def test_before_anything_was_shown_nothing_is_news() -> None:
    runner = make_runner(make_pair())
    await runner.work(None)
    assert runner.record.notices == ()


async def test_a_server_learns_of_an_aid_that_comes_into_reach_late() -> None:
    async with care_bench() as bench:
        left = bench.pair.aid("left")
        left.connected, left.faults = False, Faults(time_scale=0.0, refuse_connects=999)
        async with bench.phone(), bench.fitter() as fitter:
            assert (await fitter.get_device(DEVICE)).in_aid.left is UNSET
            left.connected, left.faults = True, Faults(time_scale=0.0)
            async with asyncio.timeout(SOON_S):
                while (await fitter.get_device(DEVICE)).in_aid.left is UNSET:
                    # Each look is a round trip, which gives the phone its turn.
                    await fitter.hello()


async def test_one_aid_that_is_muted_or_turned_down_shows() -> None:
    """There is one word for both ears: it must not be that of the ear which hears as before."""
    pair = make_pair()
    runner = make_runner(pair)
    pair.aid("left").turn_volume(-60, muted=True)
    report = await runner.device_report("user_state")
    assert (report.muted, report.volume_ddb) == (True, -60)
    pair.aid("left").turn_volume(0)
    pair.aid("right").turn_volume(-30)
    report = await runner.device_report("user_state")
    assert (report.muted, report.volume_ddb) == (False, -30)
