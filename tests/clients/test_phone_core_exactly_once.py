"""Exactly once: whatever is cut, and wherever, each ear is written once and the server is told the truth."""

import asyncio
import contextlib
import random

import pytest
from msgspec import UNSET
from msgspec.structs import replace as struct_replace

from clients.journal import MemoryJournal
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import CHUNKS
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import AttachAnswer, Report
from protocol.errors import Unavailable
from tests.clients.offers import (
    EPOCH,
    SERIALS,
    again,
    make_offer,
    make_pair,
    told,
)
from tests.clients.phone_bench import HAPPY, FragileJournal, Killed, Server, check_once, digests, expected, make_runner


@pytest.mark.parametrize("error", [ConnectionError, TimeoutError, Unavailable])
@pytest.mark.parametrize("call", range(len(HAPPY) + 1))
async def test_a_server_that_goes_away_at_any_report_gets_each_of_them_once_it_offers_again(
    call: int, error: type[Exception]
) -> None:
    pair, server = make_pair(), Server(fails_at=call, error=error)
    runner, offer, before = make_runner(pair), make_offer(pair), digests(pair)
    await runner.run_offer(offer, server.report)
    assert len(server.reports) == call
    assert digests(pair) == {ear: expected(offer, ear) for ear in pair.ears}
    server.heal()
    await runner.run_offer(again(offer), server.report)
    await runner.run_offer(again(again(offer)), server.report)
    assert told(server.facts()) == HAPPY
    check_once(pair, offer, server, before)


@pytest.mark.parametrize("chunk", range(CHUNKS + 1))
@pytest.mark.parametrize("ear", EARS)
async def test_a_link_lost_in_a_write_ends_in_the_target_or_in_what_was_before(ear: Ear, chunk: int) -> None:
    pair, server = make_pair(faults={ear: Faults(drop_link_after_chunk=chunk)}), Server()
    runner, offer, before = make_runner(pair), make_offer(pair), digests(pair)
    await runner.run_offer(offer, server.report)
    expected_reports = list(HAPPY)
    at = expected_reports.index(f"{ear} writing") + 1
    expected_reports.insert(at, f"{ear} indeterminate E_BLE_DURING")
    if chunk not in (0, CHUNKS):
        other = "left rejected E_PARTIAL" if ear == "right" else "right rolled_back E_PARTIAL"
        expected_reports[at + 1 :] = [f"{ear} rolled_back E_BLE_DURING", other]
    assert told(server.reports) == expected_reports
    check_once(pair, offer, server, before)
    await runner.run_offer(again(offer), server.report)
    assert told(server.facts()) == expected_reports
    check_once(pair, offer, server, before)


@pytest.mark.parametrize("chunk", range(CHUNKS + 1))
@pytest.mark.parametrize("ear", EARS)
async def test_both_links_lost_in_one_delivery_still_write_once(ear: Ear, chunk: int) -> None:
    for call in range(len(HAPPY) + 1):
        pair, server = make_pair(faults={ear: Faults(drop_link_after_chunk=chunk)}), Server(fails_at=call)
        runner, offer, before = make_runner(pair), make_offer(pair), digests(pair)
        await runner.run_offer(offer, server.report)
        server.heal()
        await runner.run_offer(again(offer), server.report)
        check_once(pair, offer, server, before)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("recovers", [True, False])
async def test_a_phone_that_dies_at_any_save_of_its_journal_carries_on_from_it(kept: bool, recovers: bool) -> None:
    deaths = 0
    # The first save is that of the attach answer.
    for dies_at in range(1, 20):
        journal = FragileJournal(dies_at, kept=kept)
        pair, server = make_pair(), Server()
        offer, before = make_offer(pair), digests(pair)
        try:
            await make_runner(pair, journal).run_offer(offer, server.report)
        except Killed:
            deaths += 1
        journal.dies_at = -1
        reborn = make_runner(pair, journal)
        if recovers:
            await reborn.recover()
        await reborn.run_offer(again(offer), server.report)
        assert told(server.facts()) == HAPPY
        check_once(pair, offer, server, before)
    assert deaths == 7


@pytest.mark.parametrize("recovers", [True, False])
async def test_a_phone_that_dies_at_any_byte_leaves_no_mixture(recovers: bool) -> None:
    ends = set()
    for dies_at in range(2 * CHUNKS):
        bytes_sent = 0

        async def sleep(_: float, dies_at: int = dies_at) -> None:
            nonlocal bytes_sent
            bytes_sent += 1
            if bytes_sent == dies_at + 1:
                raise Killed

        pair, server = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS)), Server()
        journal, offer, before = MemoryJournal(), make_offer(pair), digests(pair)
        with pytest.raises(Killed):
            await make_runner(pair, journal).run_offer(offer, server.report)
        reborn = make_runner(pair, journal)
        claim = await reborn.attach_claim()
        assert claim.in_flight is not UNSET
        assert claim.in_flight.phase == ("writing:right" if dies_at < CHUNKS else "writing:left")
        if recovers:
            await reborn.recover()
            assert all(held in (before[e], expected(offer, e)) for e, held in digests(pair).items())
        await reborn.run_offer(again(offer), server.report)
        check_once(pair, offer, server, before)
        ends |= set(told(server.facts()))
    assert "left rolled_back E_BLE_DURING" in ends
    assert "left confirmed" in ends


@pytest.mark.parametrize("seed", range(80))
async def test_any_storm_of_faults_ends_in_one_true_report_per_ear(seed: int) -> None:
    chance = random.Random(seed)

    async def sleep(_: float) -> None:
        if chance.random() < 0.03:
            raise Killed

    pair, journal = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS)), MemoryJournal()
    server, offer, before = Server(), make_offer(pair), digests(pair)
    for _ in range(60):
        for ear in EARS:
            drop = chance.choice([None, None, chance.randint(0, CHUNKS)])
            reboot = chance.choice([None, None, None, chance.randint(0, CHUNKS)])
            pair.aid(ear).faults = Faults(drop_link_after_chunk=drop, reboot_after_chunk=reboot)
        server.fails_at = server.calls + chance.choice([0, 1, 2, 3, 99])
        runner = make_runner(pair, journal)
        with contextlib.suppress(Killed):
            await runner.run_offer(offer, server.report)
        offer = again(offer)
        if runner.record.in_flight is None and server.calls < server.fails_at:
            break
    facts = server.facts()
    assert [report.n for report in facts] == list(range(1, len(facts) + 1))
    states = set()
    for ear in EARS:
        await pair.aid(ear).connect()
        ends = [r for r in facts if r.ear == ear and r.state not in ("writing", "indeterminate")]
        held = pair.aid(ear).read_digest("ram")
        (end,) = ends
        assert held == (expected(offer, ear) if end.state == "confirmed" else before[ear])
        assert end.state == "rejected" or end.digest == held
        states.add(end.state == "confirmed")
    assert len(states) == 1


async def test_a_second_offer_of_the_same_delivery_waits_for_the_first() -> None:
    server, writing, release = Server(), asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        writing.set()
        await release.wait()

    pair = VirtualPair(*(VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS))
    runner, offer, before = make_runner(pair), make_offer(pair), digests(pair)

    async def let_go() -> None:
        assert told(server.reports) == ["received", "right writing"]
        release.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run_offer(offer, server.report))
        await writing.wait()
        tasks.create_task(runner.run_offer(again(offer), server.report))
        # Tasks start in turn: by now the second offer has gone as far as it can.
        tasks.create_task(let_go())
    assert told(server.reports) == HAPPY * 2
    check_once(pair, offer, server, before)


async def test_after_one_lost_report_the_others_wait_with_it() -> None:
    """Otherwise the server would see the end of a delivery that it never saw received."""
    pair, server = make_pair(), Server(fails_at=1)
    tries = 0

    async def report(sent: Report) -> None:
        nonlocal tries
        tries += 1
        try:
            await server.report(sent)
        finally:
            if tries == 2:
                server.heal()

    runner, offer = make_runner(pair), make_offer(pair)
    await runner.run_offer(offer, report)
    assert (tries, told(server.reports)) == (2, ["received"])
    await runner.run_offer(again(offer), report)
    assert told(server.reports) == ["received", *HAPPY]


async def test_a_delivery_of_a_lost_log_is_brought_to_an_end_without_a_report() -> None:
    pair = make_pair(faults={"right": Faults(drop_link_after_chunk=3, refuse_connects=3)})
    server, runner, before = Server(), make_runner(pair, connect_tries=3), digests(pair)
    await runner.run_offer(make_offer(pair), server.report)
    runner.attached(AttachAnswer(epoch="another", from_seq=1, generation=2, resume="reset"))
    told_before = len(server.reports)
    await runner.recover()
    assert runner.record.in_flight is None
    assert digests(pair)["right"] == before["right"]
    assert len(server.reports) == told_before
    await runner.run_offer(struct_replace(make_offer(pair, gain_ddb=230), epoch="another"), server.report)
    assert told(server.reports[told_before:]) == HAPPY


async def test_a_received_offer_of_a_lost_log_is_forgotten() -> None:
    journal = FragileJournal(2, kept=False)
    pair, server = make_pair(), Server()
    with pytest.raises(Killed):
        await make_runner(pair, journal).run_offer(make_offer(pair), server.report)
    reborn = make_runner(pair, journal)
    await reborn.recover()
    assert reborn.record.in_flight is not None
    reborn.attached(AttachAnswer(epoch="another", from_seq=1, generation=2, resume="reset"))
    await reborn.run_offer(struct_replace(make_offer(pair), epoch="another"), server.report)
    assert told(server.reports[1:]) == HAPPY
    assert pair.aid("right").writes_completed == 1


async def test_another_offer_of_a_number_that_has_ended_does_not_get_the_answer_of_the_first() -> None:
    pair, server = make_pair(), Server()
    runner, first = make_runner(pair), make_offer(pair)
    other = make_offer(pair, gain_ddb=120)
    await runner.run_offer(first, server.report)
    held, reports = digests(pair), runner.record.reports_of(EPOCH, 1)
    for broken in (True, False):
        hub = Server(fails_at=0 if broken else None)
        await runner.run_offer(other, hub.report)
        assert told(hub.reports) == ([] if broken else ["rejected E_SIG"])
    assert digests(pair) == held
    # The first one keeps its own.
    assert runner.record.reports_of(EPOCH, 1) == reports
    hub = Server()
    await runner.catch_up(hub.report)
    assert hub.reports == []
    await runner.run_offer(again(first), hub.report)
    assert told(hub.reports) == HAPPY
