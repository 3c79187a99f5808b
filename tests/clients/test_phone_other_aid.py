"""An aid is lost or exchanged in a session: the other ear gets its base back, and the next session can be worked in."""

import pytest
from msgspec.structs import replace

from clients.journal import MemoryJournal
from clients.phone_driver import OfferRunner
from clients.phone_session import SessionState
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.devices import Offer
from tests.clients.live_bench import FACTORY, alive, holds_base, settle, tried
from tests.clients.offers import FIRMWARE, at_once, attach_answer, make_offer, make_pair, slot_with, told
from tests.clients.phone_bench import HAPPY, Clock, Server, make_runner


def exchanged(pair: VirtualPair) -> VirtualPair:
    """With another aid in the left ear."""
    return VirtualPair(pair.aid("right"), VirtualAid("left", "L-2", firmware=FIRMWARE, sleep=at_once))


def for_the_new_one(offer: Offer) -> Offer:
    left = offer.target.left
    assert left
    return replace(offer, target=replace(offer.target, left=replace(left, serial="L-2")))


async def restoring() -> tuple[VirtualPair, OfferRunner]:
    """A phone that waits for an aid that is gone for good."""
    pair, journal = make_pair(), MemoryJournal()
    await tried(pair, journal=journal)
    pair = exchanged(pair)
    runner = make_runner(pair, journal, clock=Clock())
    assert not await runner.revert("stop")
    assert runner.record.session.state is SessionState.RESTORING
    return pair, runner


async def test_an_ear_without_a_driver_does_not_keep_the_other_from_its_base() -> None:
    pair, journal = make_pair(), MemoryJournal()
    await tried(pair, journal=journal)
    one = VirtualPair(pair.aid("right"))
    runner = make_runner(one, journal, clock=Clock(1_000))
    await runner.recover()
    assert one.aid("right").read_image("ram") == FACTORY["right"]
    await runner.work(None)
    assert not runner.is_open
    # The one that is gone may come back with the trial in its ear.
    clock = Clock(2_000)
    runner = make_runner(pair, journal, clock=clock)
    await runner.work(None)
    clock.now_s += 31
    await runner.work(None)
    assert holds_base(pair)


async def test_an_offer_for_the_new_aid_lets_go_of_the_old_one() -> None:
    pair, runner = await restoring()
    runner.alive(alive(fence=7))
    server = Server()
    await runner.run_offer(for_the_new_one(make_offer(pair, seq=2, fence=7)), server.report)
    assert told(server.reports) == HAPPY
    assert {kept.serial for kept in runner.record.session.base} == {"R-1", "L-2"}
    settle(runner, 2)
    assert await runner.revert("undo")
    assert holds_base(pair)


@pytest.mark.parametrize("serial", ["L-1", "L-3"])
async def test_an_offer_for_no_aid_that_is_worn_does_not(serial: str) -> None:
    pair, runner = await restoring()
    offer = for_the_new_one(make_offer(pair, seq=2, fence=7))
    assert offer.target.left
    offer = replace(offer, target=replace(offer.target, left=replace(offer.target.left, serial=serial)))
    server = Server()
    await runner.run_offer(offer, server.report)
    assert {report.state for report in server.reports} == {"rejected"}
    assert {kept.serial for kept in runner.record.session.base} == {"R-1", "L-1"}


async def test_an_offer_that_nobody_signed_does_not() -> None:
    pair, runner = await restoring()
    runner.attached(replace(attach_answer(from_seq=2), key_id="k", public_key="A" * 43))
    server = Server()
    await runner.run_offer(for_the_new_one(make_offer(pair, seq=2, fence=7)), server.report)
    assert told(server.reports) == ["rejected E_SIG"]
    assert {kept.serial for kept in runner.record.session.base} == {"R-1", "L-1"}


async def test_a_hello_that_shows_the_new_aid_and_is_taken_lets_go_of_the_old_one() -> None:
    _, runner = await restoring()
    await runner.attach_claim()
    assert runner.is_open
    runner.attached(attach_answer(from_seq=2))
    await runner.work(None)
    assert not runner.is_open


async def test_a_session_that_goes_on_keeps_a_base_of_the_new_aid_before_it_is_written() -> None:
    pair, journal = make_pair(), MemoryJournal()
    await (await tried(pair, journal=journal)).revert("undo")
    pair = exchanged(pair)
    pair.aid("left").write_by_another_app((slot_with(150),))
    before = pair.aid("left").read_image("ram")
    runner, server = make_runner(pair, journal, clock=Clock()), Server()
    await runner.run_offer(for_the_new_one(make_offer(pair, seq=2)), server.report)
    assert told(server.reports) == HAPPY
    settle(runner, 2)
    assert await runner.revert("undo")
    assert pair.aid("left").read_image("ram") == before


async def test_another_aid_that_happens_to_hold_the_same_is_not_taken_for_the_old_one() -> None:
    pair, journal = make_pair(), MemoryJournal()
    runner = await tried(pair, journal=journal)
    pair.aid("right").write_by_another_app(FACTORY["right"].slots)
    runner = make_runner(exchanged(pair), journal, clock=Clock())
    await runner.work(None)
    assert runner.record.session.state is SessionState.TRIAL
