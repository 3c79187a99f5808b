"""The base comes back from anywhere: undo and stop in the middle of everything, with or without a server."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from clients.device_driver import AidIdentity
from clients.file_journal import JournalUnavailable
from clients.journal import JournalRecord, MemoryJournal
from clients.virtual_aid.aid import AidChange, VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS, Ear
from protocol.contract.sessions import RestoreCause
from tests.clients.live_bench import FACTORY, holds_base, settle, tried
from tests.clients.offers import (
    SERIALS,
    at_once,
    make_offer,
    make_pair,
    told,
)
from tests.clients.phone_bench import HAPPY, Clock, Server, make_runner
from tests.eventually import eventually
from tests.simulation.loop import SimLoop

CAUSES: list[RestoreCause] = [
    *("undo", "stop", "revert", "dead_man", "lease_lost"),
    *("consent_withdrawn", "background", "battery", "session_ended"),
]


@pytest.mark.parametrize("cause", CAUSES)
async def test_whatever_the_cause_both_ears_get_their_base_back_with_no_server(cause: RestoreCause) -> None:
    pair = make_pair()
    runner = await tried(pair)
    assert await runner.revert(cause)
    assert holds_base(pair)
    assert [notice.cause for notice in runner.record.notices] == [cause]
    assert not runner.is_open
    assert await runner.revert(cause)


async def test_both_aids_are_restored_at_once() -> None:
    writing: set[str] = set()
    together = asyncio.Event()

    def sleeper(ear: Ear) -> Callable[[float], Awaitable[None]]:
        async def sleep(_: float) -> None:
            if restoring:
                writing.add(ear)
                if len(writing) == 2:
                    together.set()
                await together.wait()

        return sleep

    restoring = False
    pair = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleeper(ear)) for ear in EARS))
    runner = await tried(pair)
    restoring = True
    async with asyncio.timeout(5):
        assert await runner.revert("undo")


@pytest.mark.parametrize("cause", ["undo", "stop"])
@pytest.mark.parametrize("part", [1, 3, 8, 9, 12])
async def test_undo_in_the_middle_of_a_write_ends_the_write_and_restores(cause: RestoreCause, part: int) -> None:
    """The part-th of the 16 parts of a delivery never comes to its end: the link hangs."""
    parts, hangs = 0, asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal parts
        parts += 1
        if parts == 16 + part:
            hangs.set()
            await asyncio.Event().wait()

    pair, server = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS)), Server()
    runner = make_runner(pair, clock=Clock(), finish_write_s=0.01)
    await runner.run_offer(make_offer(pair), Server().report)
    settle(runner, 1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(make_offer(pair, seq=2, gain_ddb=230), server.report))
        await hangs.wait()
        assert await runner.revert(cause, server.report)
    assert holds_base(pair)
    written = ["received", "right writing", "right rolled_back E_USER_STOP", "left rejected E_USER_STOP"]
    both = [*HAPPY[:3], "right rolled_back E_USER_STOP", "left rolled_back E_USER_STOP"]
    assert told(server.facts()) == (written if part <= 8 else both)
    assert runner.record.in_flight is None


def test_undo_takes_less_than_two_seconds_in_the_middle_of_a_write_at_the_pace_of_a_real_aid() -> None:
    async def undone_s() -> float:
        pair, server = VirtualPair(*(VirtualAid(ear, SERIALS[ear]) for ear in EARS)), Server()
        runner, loop = make_runner(pair), asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run_offer(make_offer(pair), server.report))
            await eventually(lambda: told(server.reports)[-1:] == ["right writing"])
            began_s = loop.time()
            assert await runner.revert("undo", server.report)
            took_s = loop.time() - began_s
        assert holds_base(pair)
        return took_s

    # By the time of the aids and of the phone: what the machine does beside counts for nothing.
    with asyncio.Runner(loop_factory=lambda: SimLoop(random.Random(0))) as runner:
        assert 0.5 < runner.run(undone_s()) < 2.0


async def test_undo_gives_a_write_that_is_nearly_done_the_time_to_finish() -> None:
    pair, server, release, hangs = make_pair(), Server(), asyncio.Event(), asyncio.Event()
    parts = 0

    async def sleep(_: float) -> None:
        nonlocal parts
        parts += 1
        if parts == 8:
            hangs.set()
            await release.wait()

    pair = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS))
    runner = make_runner(pair, finish_write_s=30.0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(make_offer(pair), server.report))
        await hangs.wait()
        undo = tasks.create_task(runner.revert("undo", server.report))
        await asyncio.wait({undo}, timeout=0)
        release.set()
    assert undo.result()
    assert pair.aid("right").writes_completed == 2
    assert holds_base(pair)


async def test_undo_interrupts_what_is_still_to_be_looked_at() -> None:
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), server.report)
    assert await runner.revert("stop", server.report)
    assert told(server.facts())[2:] == ["right rejected E_USER_STOP", "left rejected E_USER_STOP"]


async def test_an_aid_that_is_away_gets_its_base_as_soon_as_it_is_back_and_not_before_is_it_said() -> None:
    pair = make_pair()
    runner = await tried(pair)
    pair.aid("left").connected = False
    pair.aid("left").faults = Faults(refuse_connects=99)
    assert not await runner.revert("stop")
    assert pair.aid("right").read_image("ram") == FACTORY["right"]
    assert (await runner.attach_claim()).trial
    assert runner.is_waiting
    pair.aid("left").faults = Faults()
    await runner.work(None)
    assert holds_base(pair)
    assert not (await runner.attach_claim()).trial


async def test_a_delivery_in_doubt_is_ended_by_a_stop_once_its_aid_is_back() -> None:
    pair, server = make_pair(), Server()
    runner = await tried(pair)
    pair.aid("left").faults = Faults(drop_link_after_chunk=3, refuse_connects=99)
    await runner.run_offer(make_offer(pair, seq=2, gain_ddb=230), server.report)
    assert told(server.facts())[-1] == "left indeterminate E_BLE_DURING"
    assert not await runner.revert("stop", server.report)
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[-1] == "left rolled_back E_USER_STOP"
    assert holds_base(pair)
    assert runner.record.in_flight is None


class FullDisk(MemoryJournal):
    """Takes nothing any more once it is full."""

    is_full = False

    def save(self, record: JournalRecord) -> None:
        if self.is_full:
            raise JournalUnavailable("no space left")
        super().save(record)


async def test_a_disk_that_is_full_does_not_keep_the_aids_loud() -> None:
    pair, journal = make_pair(), FullDisk()
    runner = await tried(pair, journal=journal)
    journal.is_full = True
    assert await runner.revert("undo")
    assert holds_base(pair)
    with pytest.raises(JournalUnavailable):
        await runner.run_offer(make_offer(pair, seq=2), Server().report)
    assert holds_base(pair)


async def test_the_base_of_one_aid_is_never_written_into_another_in_its_place() -> None:
    pair = make_pair()
    runner = await tried(pair)
    held = pair.aid("left").read_digest("ram")
    pair.aid("left").faults = Faults(wrong_serial=True)
    assert not await runner.revert("stop")
    assert pair.aid("right").read_image("ram") == FACTORY["right"]
    assert pair.aid("left").read_digest("ram") == held
    pair.aid("left").faults = Faults()
    await runner.work(None)
    assert holds_base(pair)


async def test_a_delivery_is_never_finished_on_another_aid_in_its_place() -> None:
    pair, server = make_pair(faults={"left": Faults(drop_link_after_chunk=3, refuse_connects=3)}), Server()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair), server.report)
    pair.aid("left").faults = Faults(wrong_serial=True)
    await runner.work(server.report)
    assert told(server.facts())[-1] == "left indeterminate E_BLE_DURING"
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[-2:] == ["left rolled_back E_BLE_DURING", "right rolled_back E_PARTIAL"]


class Slow(VirtualAid):
    """Takes its time to say who it is."""

    asked = asyncio.Event()

    async def identify(self) -> AidIdentity:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_stop_while_an_aid_is_being_read_is_no_failure_of_the_aid() -> None:
    pair, server = VirtualPair(Slow("right", "R-1"), VirtualAid("left", "L-1")), Server()
    runner, offer = make_runner(pair, finish_write_s=0.01), make_offer(pair)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(offer, server.report))
        await Slow.asked.wait()
        await runner.revert("stop", server.report)
    assert server.reports == []
    assert runner.record.in_flight is None


class Hesitant(VirtualAid):
    """Answers nobody once it is told to, before the other aid has its old sound back."""

    waits_for: asyncio.Event | None = None

    async def identify(self) -> AidIdentity:
        if self.waits_for is not None:
            await self.waits_for.wait()
        return await super().identify()


async def test_an_aid_that_does_not_answer_keeps_the_other_from_nothing() -> None:
    restored = asyncio.Event()

    def touched(change: AidChange) -> None:
        if change.what == "restored":
            restored.set()

    hesitant = Hesitant("right", "R-1", sleep=at_once)
    pair = VirtualPair(hesitant, VirtualAid("left", "L-1", sleep=at_once, on_change=touched))
    runner = await tried(pair)
    hesitant.waits_for = restored
    async with asyncio.timeout(5):
        assert await runner.revert("undo")
    assert holds_base(pair)
