"""An aid that restarts in a trial has lost what was tried: the pair gives it up, and neither ear plays on alone."""

import pytest

from clients.journal import MemoryJournal
from clients.phone_session import SessionState
from clients.virtual_aid.aid import VirtualAid
from clients.wearer import AgreeableWearer
from protocol.contract.base import EARS, Ear
from tests.clients.live_bench import FACTORY, holds_base, settle, tried
from tests.clients.offers import make_offer, make_pair, make_save, told
from tests.clients.phone_bench import Clock, Server, digests, expected, make_runner


async def restart(aid: VirtualAid) -> None:
    aid.reboot()
    await aid.connect()


@pytest.mark.parametrize("ear", EARS)
async def test_an_aid_that_restarts_in_a_confirmed_trial_takes_the_other_back_with_it(ear: Ear) -> None:
    pair = make_pair()
    runner = await tried(pair)
    pair.aid(ear).reboot()
    await runner.work(None)
    assert holds_base(pair)
    assert runner.record.session.state is SessionState.STEADY
    assert {"reboot", "revert"} <= {notice.cause for notice in runner.record.notices}
    # The session goes on from its base, and the restart is not held against what is tried next.
    server = Server()
    await runner.run_offer(make_offer(pair, seq=2), server.report)
    await runner.work(None)
    assert told(server.facts())[-2:] == ["right confirmed", "left confirmed"]
    assert runner.is_open
    assert not holds_base(pair)


async def test_a_restart_while_the_phone_was_away_is_seen_too() -> None:
    pair, journal = make_pair(), MemoryJournal()
    await tried(pair, journal=journal)
    await restart(pair.aid("left"))
    runner = make_runner(pair, journal, clock=Clock())
    await runner.recover()
    await runner.work(None)
    assert holds_base(pair)


async def test_a_restart_is_seen_behind_a_change_of_the_other_ear() -> None:
    pair, server = make_pair(), Server()
    runner = await tried(pair)
    await restart(pair.aid("right"))
    await runner.run_offer(make_offer(pair, seq=2, gain_ddb=230, ears=("left",)), server.report)
    assert told(server.reports)[-1] == "left confirmed"
    assert holds_base(pair)
    assert runner.record.session.state is SessionState.STEADY


async def test_a_restart_at_the_base_or_of_what_was_saved_takes_nothing_back() -> None:
    pair = make_pair()
    runner = await tried(pair)
    await runner.run_offer(make_save(pair, seq=2), Server(kind="persist").report)
    settle(runner, 2)
    saved = digests(pair)
    await restart(pair.aid("right"))
    await runner.work(None)
    assert digests(pair) == saved
    assert runner.record.session.state is SessionState.STEADY
    assert "revert" not in {notice.cause for notice in runner.record.notices}
    await runner.run_offer(make_offer(pair, seq=3, gain_ddb=230, ears=("left",)), Server().report)
    await runner.work(None)
    assert runner.is_open


@pytest.mark.parametrize("ear", EARS)
async def test_an_aid_that_restarts_while_its_wearer_listens_is_not_told_of_as_it_was(ear: Ear) -> None:
    class Slow(AgreeableWearer):
        async def loudness(self) -> int:
            await restart(pair.aid(ear))
            return 4

    pair, server = make_pair(), Server()
    runner = make_runner(pair, wearer=Slow(), clock=Clock())
    offer = make_offer(pair, mpo_ddb=1_050)
    await runner.run_offer(offer, server.report)
    other = "left" if ear == "right" else "right"
    assert set(told(server.facts())[-2:]) == {f"{ear} rolled_back E_REBOOT", f"{other} rolled_back E_PARTIAL"}
    assert all(digests(pair)[each] != expected(offer, each) for each in EARS)
    assert [pair.aid(each).read_image("ram") for each in EARS] == [FACTORY[each] for each in EARS]
    await runner.work(None)
    assert runner.record.session.state is SessionState.STEADY
