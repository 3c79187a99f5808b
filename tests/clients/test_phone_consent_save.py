"""A consent that is withdrawn in a save: none is begun, one that has begun finishes, and then live work is over."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clients.phone_session import SessionState
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS
from protocol.contract.devices import Report
from protocol.contract.sessions import RestoreCause
from tests.clients.live_bench import FACTORY, holds_base, settle, tried
from tests.clients.offers import make_offer, make_pair, make_save, told
from tests.clients.phone_bench import Clock, FragileJournal, Killed, Server, digests, make_runner

WITHDRAWN: RestoreCause = "consent_withdrawn"


@pytest.mark.parametrize("at", ["right committing", "left committing"])
async def test_a_save_that_has_begun_finishes_and_is_what_both_aids_go_back_to(at: str) -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = await tried(pair)
    saved = digests(pair)
    withdrawn: list[asyncio.Task[bool]] = []

    async def report(sent: Report) -> None:
        await server.report(sent)
        if told([sent]) == [at]:
            withdrawn.append(asyncio.ensure_future(runner.revert(WITHDRAWN, server.report)))
            await asyncio.wait(withdrawn, timeout=0)

    await runner.run_offer(make_save(pair, seq=2), report)
    assert await withdrawn[0]
    assert told(server.facts())[-2:] == ["right active", "left active"]
    assert digests(pair) == saved == {ear: pair.aid(ear).read_digest("nvm") for ear in EARS}
    assert (runner.record.session.state, runner.is_open) == (SessionState.NONE, False)
    assert [notice.cause for notice in runner.record.notices] == [WITHDRAWN]
    settle(runner, 2)
    live = Server()
    await runner.run_offer(make_offer(pair, seq=3, gain_ddb=230), live.report)
    assert {one.rsplit(" ", 1)[-1] for one in told(live.facts())} == {"E_CONSENT"}


async def test_a_save_that_has_not_begun_never_is() -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = await tried(pair)
    withdrawn: list[asyncio.Task[bool]] = []

    async def report(sent: Report) -> None:
        await server.report(sent)
        if told([sent]) == ["left confirmed"]:
            withdrawn.append(asyncio.ensure_future(runner.revert(WITHDRAWN, server.report)))
            await asyncio.wait(withdrawn, timeout=0)

    await runner.run_offer(make_save(pair, seq=2), report)
    assert await withdrawn[0]
    assert told(server.facts())[-2:] == ["right rolled_back E_CONSENT", "left rolled_back E_CONSENT"]
    assert "right committing" not in told(server.facts())
    assert holds_base(pair)
    assert [pair.aid(ear).read_image("nvm") for ear in EARS] == [FACTORY[ear] for ear in EARS]


@pytest.mark.parametrize("word", ["undo", "stop"])
async def test_what_would_finish_is_taken_back_all_the_same_when_the_wearer_wants_the_old_sound(
    word: RestoreCause,
) -> None:
    pair, server = make_pair(), Server(kind="persist")
    runner = await tried(pair)
    pair.aid("left").faults = Faults(drop_link_in_commit=4, refuse_connects=99)
    await runner.run_offer(make_save(pair, seq=2), server.report)
    assert not await runner.revert(WITHDRAWN, server.report)
    assert "right rolled_back" not in " ".join(told(server.facts()))
    assert not await runner.revert(word, server.report)
    pair.aid("left").faults = Faults()
    await runner.work(server.report)
    assert told(server.facts())[-2:] == [f"{ear} rolled_back E_USER_STOP" for ear in ("right", "left")]
    assert holds_base(pair)
    assert [pair.aid(ear).read_image("nvm") for ear in EARS] == [FACTORY[ear] for ear in EARS]
    assert runner.record.session.state is SessionState.NONE


def stuck_in_the_left_ear(pair: VirtualPair, server: Server) -> Callable[[Report], Awaitable[None]]:
    """The way to the server of a phone whose left aid is busy once the right one is being copied to."""

    async def report(sent: Report) -> None:
        await server.report(sent)
        if told([sent]) == ["right committing"]:
            pair.aid("left").faults = Faults(busy=True)

    return report


@pytest.mark.parametrize("kept", [True, False])
async def test_a_phone_that_dies_at_any_save_of_it_finishes_the_copy_after_its_restart(kept: bool) -> None:
    deaths = 0
    for dies_at in range(10):
        journal, pair, server = FragileJournal(-1, kept=kept), make_pair(), Server(kind="persist")
        clock = Clock()
        runner = await tried(pair, clock, journal)
        saved = digests(pair)
        await runner.run_offer(make_save(pair, seq=2), stuck_in_the_left_ear(pair, server))
        assert told(server.facts())[-1] == "left received E_BUSY"
        pair.aid("left").faults = Faults()
        journal.dies_at = journal.saves + dies_at
        try:
            await runner.revert(WITHDRAWN, server.report)
        except Killed:
            deaths += 1
            runner = make_runner(pair, journal, clock=clock)
            await runner.recover()
            await runner.work(server.report)
        assert digests(pair) == saved == {ear: pair.aid(ear).read_digest("nvm") for ear in EARS}
    assert deaths > 2
