"""A delivery that ends before a byte has gone out ends on both ears at once, wherever the phone dies."""

from collections.abc import Awaitable
from dataclasses import replace

import pytest

from clients.phone_core import report_on
from clients.phone_driver import OfferRunner
from clients.phone_session import SessionState
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS
from protocol.contract.sessions import Withdraw
from tests.clients.live_bench import FACTORY, holds_base, settle, tried
from tests.clients.offers import DEVICE, EPOCH, again, make_offer, make_pair, make_save, told
from tests.clients.phone_bench import Clock, FragileJournal, Killed, Server, make_runner

SAVES_AT_MOST = 3
NEVER = 1_000
CRASHES = [(number, kept) for number in range(SAVES_AT_MOST) for kept in (False, True)]


class Declines(AgreeableWearer):
    """Says no, and the phone dies at the ``saves``-th save from then on."""

    def __init__(self, journal: FragileJournal, saves: int) -> None:
        super().__init__()
        self._journal, self._saves = journal, saves

    async def ready(self) -> bool:
        self._journal.dies_at = self._journal.saves + self._saves
        return False


async def killed(work: Awaitable[object]) -> bool:
    try:
        await work
    except Killed:
        return True
    return False


def begin_dying(journal: FragileJournal, saves: int) -> None:
    journal.dies_at = journal.saves + saves


def ended_so(runner: OfferRunner, seq: int, state: str) -> None:
    """Both ears have that end, or neither has one; what was offered again has it, and the next one is taken."""
    reports = runner.record.reports_of(EPOCH, seq)
    assert reports is not None
    assert told(reports)[-2:] == [f"right {state}", f"left {state}"]
    assert runner.record.in_flight is None


async def next_is_taken(pair: VirtualPair, runner: OfferRunner, seq: int) -> None:
    settle(runner, seq)
    server = Server()
    await runner.run_offer(make_offer(pair, seq=seq + 1, gain_ddb=100), server.report)
    assert told(server.reports)[-2:] == ["right confirmed", "left confirmed"]


def nvm_is_factory(pair: VirtualPair) -> bool:
    return all(pair.aid(ear).read_image("nvm") == FACTORY[ear] for ear in EARS)


@pytest.mark.parametrize(("saves", "kept"), CRASHES)
async def test_a_save_that_is_withdrawn_ends_on_both_ears_or_on_neither(saves: int, kept: bool) -> None:
    pair, journal, server = make_pair(), FragileJournal(-1, kept=kept), Server(kind="persist")
    runner = await tried(pair, journal=journal)
    pair.aid("right").faults = Faults(busy=True)
    save = make_save(pair, seq=2)
    await runner.run_offer(save, server.report)
    begin_dying(journal, saves)
    message = Withdraw(device=DEVICE, epoch=EPOCH, seq=2, cause="cancelled")
    was_killed = await killed(runner.withdraw(message, server.report))
    assert was_killed == (saves == 0)
    journal.dies_at = -1
    runner = make_runner(pair, journal, clock=Clock())
    await runner.recover()
    await runner.run_offer(again(save), server.report)
    await runner.withdraw(message, server.report)
    pair.aid("right").faults = Faults()
    await runner.work(server.report)
    ended_so(runner, 2, "cancelled")
    server.facts()
    assert nvm_is_factory(pair)
    assert runner.record.session.state is SessionState.TRIAL
    assert runner.next_due_s() is not None
    assert await runner.revert("undo")
    assert holds_base(pair)


@pytest.mark.parametrize(("saves", "kept"), CRASHES)
async def test_a_change_that_its_wearer_is_not_ready_for_ends_on_both_ears_or_on_neither(
    saves: int, kept: bool
) -> None:
    pair, journal, server = make_pair(), FragileJournal(-1, kept=kept), Server()
    offer = make_offer(pair, mpo_ddb=1_010)
    runner = make_runner(pair, journal, wearer=Declines(journal, saves), clock=Clock())
    assert await killed(runner.run_offer(offer, server.report)) == (saves == 0)
    journal.dies_at = -1
    runner = make_runner(pair, journal, wearer=Declines(journal, NEVER), clock=Clock())
    await runner.recover()
    await runner.run_offer(again(offer), server.report)
    ended_so(runner, 1, "declined E_DECLINED")
    server.facts()
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    await next_is_taken(pair, runner, 1)


@pytest.mark.parametrize(("saves", "kept"), CRASHES)
async def test_a_package_that_is_declined_is_installed_on_neither_ear(saves: int, kept: bool) -> None:
    pair, journal, server = make_pair(), FragileJournal(-1, kept=kept), Server(kind="persist")
    runner = make_runner(pair, journal, clock=Clock())
    package = make_offer(pair, kind="persist", mode="standard", fence=0)
    await runner.run_offer(package, server.report)
    begin_dying(journal, saves)
    was_killed = await killed(runner.answer_install(package, accepted=False, report=server.report))
    assert was_killed == (saves == 0)
    journal.dies_at = -1
    runner = make_runner(pair, journal, clock=Clock())
    await runner.recover()
    await runner.run_offer(again(package), server.report)
    # A No that is in the journal is not turned into a Yes by tapping once more.
    await runner.answer_install(package, accepted=True, report=server.report)
    is_heard = saves > 0 or kept
    reports = runner.record.reports_of(EPOCH, 1)
    assert reports is not None
    assert [report.state for report in reports[-2:]] == ["declined" if is_heard else "active"] * 2
    server.facts()
    assert nvm_is_factory(pair) == is_heard
    assert len({pair.aid(ear).read_image("nvm") == FACTORY[ear] for ear in EARS}) == 1


@pytest.mark.parametrize(("saves", "kept"), CRASHES)
async def test_what_was_held_too_often_ends_on_both_ears_or_on_neither(saves: int, kept: bool) -> None:
    pair, journal, server = make_pair(faults={"left": Faults(busy=True)}), FragileJournal(-1, kept=kept), Server()
    offer = make_offer(pair)
    runner = make_runner(pair, journal, clock=Clock(), max_holds=1)
    await runner.run_offer(offer, server.report)
    begin_dying(journal, saves)
    await killed(runner.work(server.report))
    journal.dies_at = -1
    runner = make_runner(pair, journal, clock=Clock(), max_holds=0)
    await runner.recover()
    pair.aid("left").faults = Faults(busy=runner.record.in_flight is not None)
    await runner.run_offer(again(offer), server.report)
    ended_so(runner, 1, "rejected E_BUSY")
    server.facts()
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    pair.aid("left").faults = Faults()
    await next_is_taken(pair, runner, 1)


async def test_what_has_ended_on_both_ears_in_the_journal_is_finished_and_nothing_counts_as_kept() -> None:
    pair, journal, server = make_pair(), FragileJournal(-1, kept=True), Server(kind="persist")
    runner = await tried(pair, journal=journal)
    pair.aid("right").faults = Faults(busy=True)
    save = make_save(pair, seq=2)
    await runner.run_offer(save, server.report)
    entry = runner.record.in_flight
    assert entry is not None
    for ear in EARS:
        entry = entry.reported(report_on(save, entry.reports, "cancelled", ear))
    journal.save(replace(runner.record, in_flight=entry))
    pair.aid("right").faults = Faults()
    runner = make_runner(pair, journal, clock=Clock())
    await runner.recover()
    ended_so(runner, 2, "cancelled")
    assert runner.record.session.state is SessionState.TRIAL
    assert [kept.image for kept in runner.record.session.base] == [FACTORY[ear] for ear in EARS]
    await runner.run_offer(again(save), server.report)
    assert nvm_is_factory(pair)
    assert runner.record.session.state is SessionState.TRIAL
