"""Deliveries that the server takes back: what has not begun ends so, what has begun is told of as it was done."""

import asyncio

import pytest

from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS
from protocol.contract.devices import Settled
from protocol.contract.sessions import Withdraw
from tests.clients.offers import DEVICE, EPOCH, SERIALS, again, make_offer, make_pair, told
from tests.clients.phone_bench import HAPPY, Server, make_runner


def withdraw(seq: int = 1, cause: str = "superseded", device: str = DEVICE) -> Withdraw:
    return Withdraw(device=device, epoch=EPOCH, seq=seq, cause=cause)  # type: ignore[arg-type]  # one of three literals


class Waits(AgreeableWearer):
    """A wearer who takes time to get ready."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def ready(self) -> bool:
        self.asked.set()
        await self.answer.wait()
        return True


@pytest.mark.parametrize("cause", ["superseded", "expired", "cancelled"])
async def test_what_waits_for_an_aid_ends_as_the_server_says(cause: str) -> None:
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server()
    runner, offer = make_runner(pair), make_offer(pair)
    await runner.run_offer(offer, server.report)
    await runner.withdraw(withdraw(cause=cause), server.report)
    assert told(server.facts()) == ["received", "received E_BUSY", f"right {cause}", f"left {cause}"]
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    assert runner.record.in_flight is None


async def test_what_waits_for_the_wearer_to_get_ready_ends_at_once() -> None:
    pair, server, wearer = make_pair(), Server(), Waits()
    runner, offer = make_runner(pair, wearer=wearer), make_offer(pair, mpo_ddb=1_050)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(offer, server.report))
        await wearer.asked.wait()
        await runner.withdraw(withdraw(), server.report)
    assert told(server.facts()) == ["received", "right superseded", "left superseded"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_a_package_that_waits_for_its_wearer_ends() -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner, offer = make_runner(pair), make_offer(pair, kind="persist", mode="standard")
    await runner.run_offer(offer, server.report)
    await runner.withdraw(withdraw(), server.report)
    assert told(server.facts())[3:] == ["right superseded", "left superseded"]
    assert runner.offers_to_install == ()
    await runner.answer_install(offer, accepted=True, report=server.report)
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_what_has_begun_goes_on_and_is_told_as_it_was_done() -> None:
    server, writing, release = Server(), asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        writing.set()
        await release.wait()

    pair = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS))
    runner, offer = make_runner(pair), make_offer(pair)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(offer, server.report))
        await writing.wait()
        tasks.create_task(runner.withdraw(withdraw(), server.report))
        release.set()
    assert told(server.facts()) == HAPPY
    assert told(server.reports) == HAPPY * 2


async def test_what_has_ended_is_told_again_however_often() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), server.report)
    for _ in range(2):
        server.reports.clear()
        await runner.withdraw(withdraw(cause="cancelled"), server.report)
        assert told(server.reports) == HAPPY


async def test_what_never_came_is_answered_and_is_not_carried_out_when_it_comes() -> None:
    pair, server = make_pair(), Server()
    runner, offer = make_runner(pair), make_offer(pair)
    await runner.withdraw(withdraw(cause="cancelled"), server.report)
    await runner.withdraw(withdraw(cause="cancelled"), server.report)
    await runner.run_offer(offer, server.report)
    assert told(server.reports) == ["right cancelled", "left cancelled"] * 3
    assert server.reports[:2] == server.reports[4:]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_another_phones_delivery_is_not_ours_to_end() -> None:
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server()
    runner, offer = make_runner(pair), make_offer(pair)
    await runner.run_offer(offer, server.report)
    await runner.withdraw(withdraw(device="pair-2"), server.report)
    assert runner.record.in_flight is not None
    assert told(server.reports) == ["received", "received E_BUSY"]


async def test_a_withdrawal_that_the_server_never_heard_confirmed_is_confirmed_when_it_offers_again() -> None:
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server(fails_at=2)
    runner, offer = make_runner(pair), make_offer(pair)
    await runner.run_offer(offer, server.report)
    await runner.withdraw(withdraw(), server.report)
    assert told(server.reports) == ["received", "received E_BUSY"]
    server.heal()
    await runner.run_offer(again(offer), server.report)
    assert told(server.facts())[2:] == ["right superseded", "left superseded"]


async def test_the_next_offer_goes_on_after_a_withdrawal() -> None:
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), server.report)
    await runner.withdraw(withdraw(), server.report)
    pair.aid("left").faults = Faults()
    server.reports.clear()
    offer = make_offer(pair, seq=2)
    runner.settled(_settled(1))
    await runner.run_offer(offer, server.report)
    assert told(server.reports) == HAPPY


def _settled(seq: int) -> Settled:
    return Settled(device=DEVICE, epoch=EPOCH, seq=seq)
