"""A disk with no room left stops no aid from becoming quiet, and what it lacks is on it as soon as it has room."""

import asyncio

import pytest

from clients.file_journal import JournalUnavailable
from clients.journal import JournalRecord, MemoryJournal
from clients.phone_session import SessionState
from clients.virtual_aid.faults import Faults
from protocol.contract.base import EARS
from protocol.contract.sessions import RestoreCause
from tests.clients.live_bench import FACTORY, alive, holds_base, settle, tried
from tests.clients.offers import make_offer, make_pair, make_save, told
from tests.clients.phone_bench import Clock, Server, make_runner


class Disk(MemoryJournal):
    """Has room, or has not."""

    is_full = False

    def save(self, record: JournalRecord) -> None:
        if self.is_full:
            raise JournalUnavailable("no space left")
        super().save(record)


@pytest.mark.parametrize("cause", ["undo", "stop", "dead_man", "lease_lost"])
async def test_what_is_held_back_is_no_hindrance(cause: RestoreCause) -> None:
    pair, disk, server = make_pair(), Disk(), Server()
    runner = await tried(pair, journal=disk)
    pair.aid("left").faults = Faults(busy=True)
    await runner.run_offer(make_offer(pair, seq=2, gain_ddb=230), server.report)
    pair.aid("left").faults = Faults()
    disk.is_full = True
    assert await runner.revert(cause, server.report)
    assert holds_base(pair)
    assert runner.record.in_flight is None
    # A crash would bring the delivery back: its end is told when it is on the disk.
    assert told(server.reports)[-1] == "received E_BUSY"
    disk.is_full = False
    runner.save_again()
    await runner.catch_up(server.report)
    assert told(server.reports)[-2:] == [f"{ear} rejected {server.reports[-1].code}" for ear in EARS]


@pytest.mark.parametrize("cause", ["stop", "session_ended", "dead_man"])
async def test_a_save_that_is_stuck_is_no_hindrance(cause: RestoreCause) -> None:
    pair, disk = make_pair(), Disk()
    runner = await tried(pair, journal=disk)
    pair.aid("left").faults = Faults(drop_link_in_commit=3, refuse_connects=10**6)
    await runner.run_offer(make_save(pair, seq=2), Server().report)
    pair.aid("left").faults = Faults()
    disk.is_full = True
    await runner.revert(cause)
    assert holds_base(pair)
    assert all(pair.aid(ear).read_image("nvm") == FACTORY[ear] for ear in EARS)
    assert not runner.is_open


async def test_a_start_with_a_full_disk_brings_a_half_written_trial_back() -> None:
    pair, disk = make_pair(), Disk()
    runner = await tried(pair, journal=disk)
    pair.aid("left").faults = Faults(drop_link_after_chunk=3, refuse_connects=3)
    await runner.run_offer(make_offer(pair, seq=2, gain_ddb=230), Server().report)
    pair.aid("left").faults = Faults()
    disk.is_full = True
    await make_runner(pair, disk, clock=Clock(1_000)).recover()
    assert holds_base(pair)


async def test_the_dead_man_is_not_kept_from_it_by_news_of_the_aids() -> None:
    pair, disk, clock = make_pair(), Disk(), Clock()
    runner = await tried(pair, clock, disk)
    await runner.work(None)
    disk.is_full = True
    pair.aid("left").turn_volume(-60)
    clock.now_s += 31
    await runner.work(None)
    assert holds_base(pair)


async def test_nor_is_a_later_session() -> None:
    pair, disk = make_pair(), Disk()
    runner = await tried(pair, journal=disk)
    disk.is_full = True
    runner.alive(alive(fence=2))
    await runner.work(None)
    assert holds_base(pair)


async def test_a_stop_that_the_disk_could_not_take_is_on_it_with_the_next_turn() -> None:
    pair, disk = make_pair(), Disk()
    runner = await tried(pair, journal=disk)
    disk.is_full = True
    assert await runner.revert("stop")
    assert disk.load().session.state is SessionState.TRIAL
    disk.is_full = False
    settle(runner, 1)
    assert disk.load() == runner.record
    server = Server()
    await make_runner(pair, disk, clock=Clock()).run_offer(make_offer(pair, seq=2), server.report)
    assert told(server.reports) == ["rejected E_USER_STOP"]


async def test_a_disk_that_is_full_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    pair, disk = make_pair(), Disk()
    runner = await tried(pair, journal=disk)
    disk.is_full = True
    await runner.revert("undo")
    for _ in range(3):
        runner.save_again()
        await asyncio.sleep(0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
