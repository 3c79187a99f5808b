"""An undo or a stop in a save: what was kept is taken back too, and both memories are as they were."""

import asyncio
from dataclasses import replace

import pytest

from clients.phone_session import CODES, SessionState
from clients.virtual_aid.aid import AidChange, VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS
from protocol.contract.devices import Report
from protocol.contract.sessions import RestoreCause, RevertNow
from tests.clients.live_bench import FACTORY, alive, holds_base, settle, tried
from tests.clients.offers import (
    DEVICE,
    FIRMWARE,
    SERIALS,
    at_once,
    make_offer,
    make_pair,
    make_save,
    told,
)
from tests.clients.phone_bench import Clock, FragileJournal, Killed, Server, digests, make_runner


async def test_after_a_save_the_saved_is_what_a_session_goes_back_to() -> None:
    pair, clock = make_pair(), Clock()
    runner = await tried(pair, clock)
    saved = digests(pair)
    await runner.run_offer(make_save(pair, seq=2), Server(kind="persist").report)
    assert runner.record.session.state is SessionState.STEADY
    settle(runner, 2)
    await runner.run_offer(make_offer(pair, seq=3, gain_ddb=230), Server().report)
    assert digests(pair) != saved
    clock.now_s += 30.0
    await runner.work(None)
    assert digests(pair) == saved


async def test_an_aid_that_misreads_its_ram_after_a_save_goes_back_to_what_it_keeps_all_the_same() -> None:
    def misread(change: AidChange) -> None:
        if change.what == "committed":
            aid = pair.aid(change.ear)
            aid.faults = replace(aid.faults, lie_readback=2)

    aids = (VirtualAid(e, SERIALS[e], firmware=FIRMWARE, on_change=misread, sleep=at_once) for e in EARS)
    pair, clock = VirtualPair(*aids), Clock()
    runner = await tried(pair, clock)
    saved = digests(pair)
    await runner.run_offer(make_save(pair, seq=2), Server(kind="persist").report)
    settle(runner, 2)
    assert {kept.ear: kept.digest for kept in runner.record.session.base} == saved
    clock.now_s += 30.0
    await runner.work(None)
    assert digests(pair) == saved


async def test_an_undo_in_the_middle_of_a_save_takes_the_save_back_too() -> None:
    """What an aid keeps comes back when it restarts: it must not be what its wearer has refused."""
    pair, server = make_pair(), Server(kind="persist")
    runner = await tried(pair)
    undone: list[asyncio.Task[bool]] = []

    async def report(sent: Report) -> None:
        await server.report(sent)
        if told([sent]) == ["right committing"]:
            undone.append(asyncio.ensure_future(runner.revert("undo", server.report)))
            await asyncio.wait(undone, timeout=0)

    await runner.run_offer(make_save(pair, seq=2), report)
    assert await undone[0]
    assert told(server.facts())[-2:] == ["right rolled_back E_USER_STOP", "left rolled_back E_USER_STOP"]
    assert holds_base(pair)
    assert [pair.aid(ear).read_image("nvm") for ear in EARS] == [FACTORY[ear] for ear in EARS]
    assert not runner.is_open


@pytest.mark.parametrize("word", ["undo", "stop"])
@pytest.mark.parametrize("then", ["session_ended", "lease_lost", "revert", "consent_withdrawn", "a later fence"])
async def test_what_its_wearer_has_refused_is_not_saved_because_the_session_ends_too(
    word: RestoreCause, then: str
) -> None:
    copying, goes_on, is_slow = asyncio.Event(), asyncio.Event(), False

    async def sleep(_: float) -> None:
        if is_slow:
            copying.set()
            await goes_on.wait()

    aids = (VirtualAid(ear, SERIALS[ear], firmware=FIRMWARE, sleep=sleep) for ear in EARS)
    pair, server = VirtualPair(*aids), Server(kind="persist")
    runner = await tried(pair)
    is_slow = True
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(make_save(pair, seq=2), server.report))
        await copying.wait()
        undone = tasks.create_task(runner.revert(word, server.report))
        await asyncio.sleep(0)
        if then == "a later fence":
            runner.alive(alive(fence=2))
        else:
            message = RevertNow(device=DEVICE, fence=1, cause=then)  # type: ignore[arg-type]  # one of the literals
            tasks.create_task(runner.revert_now(message, server.report))
        await asyncio.sleep(0)
        is_slow = False
        goes_on.set()
    assert undone.result()
    assert "right active" not in told(server.facts())
    assert holds_base(pair)
    assert [pair.aid(ear).read_image("nvm") for ear in EARS] == [FACTORY[ear] for ear in EARS]
    is_over = word != "undo" or then != "revert"
    assert runner.record.session.state is (SessionState.NONE if is_over else SessionState.STEADY)


async def test_a_stop_whose_aid_is_too_weak_to_give_nvm_back_goes_on_until_it_has() -> None:
    """One aid has saved, the other is busy, and the charge of the first falls before the wearer says stop."""
    pair, server = make_pair(), Server(kind="persist")
    runner = await tried(pair)

    async def report(sent: Report) -> None:
        await server.report(sent)
        if told([sent]) == ["right committing"]:
            pair.aid("left").faults = Faults(busy=True)

    await runner.run_offer(make_save(pair, seq=2), report)
    assert told(server.facts())[-1] == "left received E_BUSY"
    pair.aid("left").faults = Faults()
    pair.aid("right").faults = Faults(battery_percent=15)
    assert not await runner.revert("stop", server.report)
    assert holds_base(pair)
    assert told(server.facts())[-2:] == ["right received E_BATTERY", "left rolled_back E_USER_STOP"]
    assert runner.is_open
    assert runner.record.in_flight is not None
    pair.aid("right").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[-1] == "right rolled_back E_USER_STOP"
    assert holds_base(pair)
    assert [pair.aid(ear).read_image("nvm") for ear in EARS] == [FACTORY[ear] for ear in EARS]
    assert not runner.is_open


async def test_a_lost_lease_in_a_commit_leaves_what_was_saved() -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = await tried(pair)
    saved = digests(pair)
    lost: list[asyncio.Task[bool]] = []

    async def report(sent: Report) -> None:
        if told([sent]) == ["right committing"]:
            lost.append(asyncio.ensure_future(runner.revert("lease_lost")))
            await asyncio.wait(lost, timeout=0)

    await runner.run_offer(make_save(pair, seq=2), report)
    assert await lost[0]
    assert digests(pair) == saved == {ear: pair.aid(ear).read_digest("nvm") for ear in EARS}
    assert server.reports == []


async def test_a_commit_that_cannot_finish_is_taken_back_by_a_stop() -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = await tried(pair)
    pair.aid("left").faults = Faults(drop_link_in_commit=4, refuse_connects=99)
    await runner.run_offer(make_save(pair, seq=2), server.report)
    assert not await runner.revert("stop", server.report)
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[-2:] == ["right rolled_back E_USER_STOP", "left rolled_back E_USER_STOP"]
    assert holds_base(pair)
    for ear in EARS:
        assert pair.aid(ear).read_image("nvm") == FACTORY[ear]


async def test_a_package_of_no_session_is_taken_back_by_a_stop() -> None:
    """Its own content before is the base then."""
    hangs, parts = asyncio.Event(), 0

    async def sleep(_: float) -> None:
        nonlocal parts
        parts += 1
        if parts == 4:
            hangs.set()
            await asyncio.Event().wait()

    left = VirtualAid("left", SERIALS["left"], sleep=sleep)
    pair, server = VirtualPair(make_pair(("right",)).aid("right"), left), Server(kind="persist")
    runner = make_runner(pair, finish_write_s=0.01)
    async with asyncio.TaskGroup() as tasks:
        package = make_offer(pair, kind="persist", mode="standard")
        await runner.run_offer(package, server.report)
        tasks.create_task(runner.answer_install(package, accepted=True, report=server.report))
        await hangs.wait()
        assert await runner.revert("stop", server.report)
    assert holds_base(pair)
    assert told(server.facts())[-2:] == ["right rolled_back E_USER_STOP", "left rolled_back E_USER_STOP"]


@pytest.mark.parametrize("word", ["undo", "stop"])
@pytest.mark.parametrize("at", ["right committing", "left committing"])
async def test_a_package_is_taken_back_in_the_middle_of_being_kept(word: RestoreCause, at: str) -> None:
    """No session keeps its base: what the wearer refuses is not kept all the same."""
    pair, server = make_pair(), Server(kind="persist")
    runner = make_runner(pair)
    undone: list[asyncio.Task[bool]] = []

    async def report(sent: Report) -> None:
        await server.report(sent)
        if told([sent]) == [at]:
            undone.append(asyncio.ensure_future(runner.revert(word, server.report)))
            await asyncio.wait(undone, timeout=0)

    package = make_offer(pair, kind="persist", mode="standard")
    await runner.run_offer(package, report)
    await runner.answer_install(package, accepted=True, report=report)
    assert await undone[0]
    assert told(server.facts())[-2:] == [f"{ear} rolled_back {CODES[word]}" for ear in EARS]
    assert holds_base(pair)
    assert [pair.aid(ear).read_image("nvm") for ear in EARS] == [FACTORY[ear] for ear in EARS]


@pytest.mark.parametrize("cause", ["session_ended", "consent_withdrawn"])
async def test_a_package_that_somebody_else_wants_undone_is_kept_once_that_has_begun(cause: RestoreCause) -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = make_runner(pair)
    ended: list[asyncio.Task[bool]] = []

    async def report(sent: Report) -> None:
        await server.report(sent)
        if told([sent]) == ["right committing"]:
            ended.append(asyncio.ensure_future(runner.revert(cause, server.report)))
            await asyncio.wait(ended, timeout=0)

    package = make_offer(pair, kind="persist", mode="standard")
    await runner.run_offer(package, report)
    await runner.answer_install(package, accepted=True, report=report)
    await ended[0]
    assert told(server.facts())[-2:] == [f"{ear} active" for ear in EARS]


@pytest.mark.parametrize("cause", ["lease_lost", "session_ended", "consent_withdrawn"])
async def test_a_commit_that_cannot_finish_has_its_own_time_when_nobody_has_asked_for_the_old_sound(
    cause: RestoreCause,
) -> None:
    pair, server, clock = make_pair(), Server(kind="persist"), Clock()
    runner = await tried(pair, clock)
    saved = digests(pair)
    pair.aid("left").faults = Faults(drop_link_in_commit=4, refuse_connects=99)
    await runner.run_offer(make_save(pair, seq=2), server.report)
    assert not await runner.revert(cause, server.report)
    clock.now_s += 40.0
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[-2:] == ["right active", "left active"]
    assert digests(pair) == saved
    assert not runner.is_open


@pytest.mark.parametrize("kept", [True, False])
async def test_a_phone_that_dies_at_any_save_of_a_stop_goes_on_with_it(kept: bool) -> None:
    deaths = 0
    for dies_at in range(8):
        journal, pair = FragileJournal(-1, kept=kept), make_pair()
        runner = await tried(pair, journal=journal)
        journal.dies_at = journal.saves + dies_at
        try:
            await runner.revert("stop")
        except Killed:
            deaths += 1
            reborn = make_runner(pair, journal)
            await reborn.recover()
            wanted = reborn.record.notices
            # The one save that can be lost is the one that wants the base back: then the dead-man is still there.
            assert holds_base(pair) or (wanted == () and reborn.is_open)
            assert holds_base(pair) == bool(wanted)
    assert deaths == 2
