"""A live session on the phone: its base is kept, what ends it gives the base back, and who may work on at all."""

from pathlib import Path

import pytest

from clients.journal import MemoryJournal
from clients.phone_clock import awake_or_not_s, boot_id
from clients.phone_driver import OfferRunner
from clients.phone_session import SessionState
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS
from protocol.contract.sessions import ConsentAnswer, ConsentAsked, RevertNow
from tests.clients.live_bench import FACTORY, alive, holds_base, settle, tried
from tests.clients.offers import (
    DEVICE,
    SERIALS,
    again,
    make_offer,
    make_pair,
    told,
)
from tests.clients.phone_bench import HAPPY, Clock, Server, digests, make_runner


async def test_the_base_of_both_ears_is_in_the_journal_before_the_first_live_byte() -> None:
    journal, seen = MemoryJournal(), []

    async def sleep(_: float) -> None:
        seen.append(journal.load().session)

    pair = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS))
    await make_runner(pair, journal).run_offer(make_offer(pair, ears=("left",)), Server().report)
    assert {kept.ear: kept.image for kept in seen[0].base} == FACTORY
    assert (seen[0].state, seen[0].fence) == (SessionState.TRIAL, 1)


async def test_what_lasts_needs_no_session() -> None:
    pair = make_pair()
    runner = make_runner(pair)
    package = make_offer(pair, kind="persist", mode="standard")
    await runner.run_offer(package, Server(kind="persist").report)
    await runner.answer_install(package, accepted=True, report=None)
    assert pair.aid("left").commits_completed == 1
    assert not runner.is_in_session


async def test_a_session_that_is_tried_and_taken_back_by_its_fitter_is_no_trial_any_more() -> None:
    pair = make_pair()
    runner = await tried(pair)
    back = make_offer(pair, seq=2)
    for ear in EARS:
        await pair.aid(ear).restore(FACTORY[ear])
    await runner.run_offer(again(back), Server().report)
    assert (await runner.attach_claim()).trial
    await runner.work(None)
    assert not (await runner.attach_claim()).trial
    assert runner.record.session.state is SessionState.STEADY


@pytest.mark.parametrize(("silent_s", "reverted"), [(29.9, False), (30.0, True)])
async def test_a_phone_that_hears_of_no_lease_for_thirty_seconds_gives_the_base_back(
    silent_s: float, reverted: bool
) -> None:
    pair, clock = make_pair(), Clock()
    runner = await tried(pair, clock)
    assert runner.next_due_s() == clock.now_s + 30.0
    clock.now_s += silent_s
    await runner.work(None)
    assert holds_base(pair) == reverted
    assert [notice.cause for notice in runner.record.notices] == (["dead_man"] if reverted else [])


async def test_a_live_lease_feeds_the_dead_man_and_nothing_else_does() -> None:
    pair, clock = make_pair(), Clock()
    runner = await tried(pair, clock)
    began_s = clock.now_s
    clock.now_s += 20.0
    for message in (alive(fence=0), alive(ttl_ms=0), alive(device="pair-2")):
        runner.alive(message)
    await runner.run_offer(make_offer(pair, seq=2, gain_ddb=210), Server().report)
    await runner.device_report("read_back")
    assert runner.next_due_s() == began_s + 30.0
    runner.alive(alive())
    assert runner.next_due_s() == began_s + 50.0


async def test_a_phone_that_was_away_for_long_gives_the_base_back_as_it_starts() -> None:
    pair, clock, journal = make_pair(), Clock(), MemoryJournal()
    await tried(pair, clock, journal)
    clock.now_s += 31.0
    reborn = make_runner(pair, journal, clock=clock)
    await reborn.recover()
    assert holds_base(pair)
    assert not (await reborn.attach_claim()).trial


async def test_a_phone_that_was_away_for_a_moment_keeps_what_is_tried() -> None:
    pair, clock, journal = make_pair(), Clock(), MemoryJournal()
    held = digests((await tried(pair, clock, journal)).pair)  # type: ignore[arg-type]  # the pair of the bench is a virtual one
    clock.now_s += 5.0
    reborn = make_runner(pair, journal, clock=clock)
    await reborn.recover()
    assert digests(pair) == held
    assert (await reborn.attach_claim()).trial


@pytest.mark.parametrize(("fence", "obeyed"), [(0, False), (1, True), (7, True), (2**53 - 1, True)])
async def test_the_server_is_obeyed_at_any_fence_from_the_phones_own_on(fence: int, obeyed: bool) -> None:
    pair = make_pair()
    runner = await tried(pair)
    await runner.revert_now(RevertNow(device=DEVICE, fence=fence, cause="revert"), None)
    assert holds_base(pair) == obeyed
    assert runner.record.fence_max == 1


async def test_another_devices_revert_is_not_ours() -> None:
    pair = make_pair()
    runner = await tried(pair)
    await runner.revert_now(RevertNow(device="pair-2", fence=9, cause="revert"), None)
    assert not holds_base(pair)


async def test_after_a_stop_live_work_is_refused_until_the_wearer_agrees_anew_or_another_session_begins() -> None:
    pair, server = make_pair(), Server()
    runner = await tried(pair)
    await runner.revert("stop")
    await runner.run_offer(make_offer(pair, seq=2), server.report)
    assert told(server.reports) == ["rejected E_USER_STOP"]
    settle(runner, 2)
    server.reports.clear()
    asked = ConsentAsked(device=DEVICE, session="s2", fitter="ann", clinic="c1", scopes=(), expires_in_s=60)
    runner.asked(asked, ConsentAnswer(accepted=True))
    await runner.run_offer(make_offer(pair, seq=3), server.report)
    assert told(server.reports) == HAPPY


async def test_after_an_undo_the_session_goes_on() -> None:
    pair, server = make_pair(), Server()
    runner = await tried(pair)
    await runner.revert("undo")
    await runner.run_offer(make_offer(pair, seq=2, gain_ddb=210), server.report)
    assert told(server.reports) == HAPPY
    await runner.revert("undo")
    assert holds_base(pair)


async def test_a_live_change_needs_the_wearers_consent_to_its_session() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair, require_consent=True)
    await runner.run_offer(make_offer(pair), server.report)
    assert told(server.reports) == ["rejected E_CONSENT"]
    settle(runner, 1)
    server.reports.clear()
    asked = ConsentAsked(device=DEVICE, session="s1", fitter="ann", clinic="c1", scopes=(), expires_in_s=60, fence=1)
    runner.asked(asked, ConsentAnswer(accepted=True))
    await runner.run_offer(make_offer(pair, seq=2), server.report)
    assert told(server.reports) == HAPPY
    settle(runner, 2)
    server.reports.clear()
    await runner.run_offer(make_offer(pair, seq=3, fence=2), server.report)
    assert told(server.reports) == ["rejected E_CONSENT"]


async def test_a_later_session_begins_from_the_base_of_the_one_before() -> None:
    pair, server = make_pair(), Server()
    runner = await tried(pair)
    stale = make_offer(pair, seq=2, fence=2)
    await runner.run_offer(stale, server.report)
    # It was thought of on what the session before had tried: that is gone.
    assert told(server.reports) == ["right rejected E_BASE", "left rejected E_BASE"]
    assert holds_base(pair)
    assert not runner.is_in_session
    settle(runner, 2)
    await runner.run_offer(make_offer(pair, seq=3, fence=2, gain_ddb=120), Server().report)
    assert runner.record.session.fence == 2
    assert {kept.ear: kept.image for kept in runner.record.session.base} == FACTORY


async def test_a_live_lease_of_a_later_session_ends_the_one_before() -> None:
    pair = make_pair()
    runner = await tried(pair)
    runner.alive(alive(fence=2))
    await runner.work(None)
    assert holds_base(pair)
    assert [notice.cause for notice in runner.record.notices] == ["lease_lost"]


async def test_an_app_out_of_sight_begins_nothing_live_after_ten_seconds_and_restores_after_thirty() -> None:
    pair, clock, server = make_pair(), Clock(), Server()
    runner = await tried(pair, clock)
    runner.see(foreground=False)
    runner.see(foreground=False)
    clock.now_s += 10.0
    await runner.run_offer(make_offer(pair, seq=2, gain_ddb=210), server.report)
    assert told(server.reports) == ["received", "received E_BUSY"]
    runner.see(foreground=True)
    await runner.work(server.report)
    assert told(server.facts())[2:] == HAPPY[1:]
    runner.see(foreground=False)
    runner.alive(alive())
    assert runner.next_due_s() == clock.now_s + 30.0
    clock.now_s += 29.0
    runner.alive(alive())
    clock.now_s += 1.0
    await runner.work(None)
    assert holds_base(pair)
    assert [notice.cause for notice in runner.record.notices] == ["background"]


async def test_a_session_ends_when_an_aid_runs_out_of_charge() -> None:
    pair = make_pair()
    runner = await tried(pair)
    pair.aid("right").faults = Faults(battery_percent=19)
    await runner.work(None)
    assert holds_base(pair)
    assert [notice.cause for notice in runner.record.notices] == ["battery"]


async def test_an_aid_that_joins_a_session_late_has_its_base_kept_before_it_is_written() -> None:
    pair = make_pair()
    runner, offer = make_runner(pair), make_offer(pair, ears=("right",))
    pair.aid("left").connected = False
    await runner.run_offer(offer, Server().report)
    assert [kept.ear for kept in runner.record.session.base] == ["right"]
    settle(runner, 1)
    await pair.aid("left").connect()
    await runner.run_offer(make_offer(pair, seq=2, ears=("left",), gain_ddb=150), Server().report)
    assert {kept.ear: kept.image for kept in runner.record.session.base} == FACTORY
    await runner.revert("undo")
    assert holds_base(pair)


async def test_a_machine_that_was_started_anew_counts_as_too_late_even_with_a_clock_that_is_ahead() -> None:
    pair, journal = make_pair(), MemoryJournal()
    await tried(pair, Clock(100.0), journal)
    for boot, is_back in (("", False), ("another start", True)):
        runner = OfferRunner(pair, journal, device=DEVICE, clock=Clock(101.0), boot=boot or boot_id())
        await runner.recover()
        assert holds_base(pair) is is_back


def test_the_clock_goes_on_and_a_start_has_a_name_where_the_system_gives_one(tmp_path: Path) -> None:
    assert awake_or_not_s() <= awake_or_not_s()
    assert boot_id() == boot_id()
    assert boot_id(tmp_path / "none") == ""
