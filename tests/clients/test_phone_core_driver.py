"""Offers carried out on virtual aids, and what happens when an aid fails."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec import UNSET
from msgspec.structs import replace as struct_replace

from clients.journal import JournalRecord, MemoryJournal
from clients.phone_driver import AttachNeeded, OfferRunner
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import factory_image
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import Offer, Report, Settled
from protocol.errors import LocalProtocolError
from tests.clients.offers import (
    BANDS_HZ,
    DEVICE,
    EPOCH,
    SERIALS,
    again,
    attach_answer,
    make_offer,
    make_pair,
    slot_with,
    told,
)
from tests.clients.phone_bench import HAPPY, Server, check_once, digests, make_runner


async def test_an_offer_is_received_written_and_confirmed_right_ear_first() -> None:
    pair, server = make_pair(), Server()
    runner, offer = make_runner(pair), make_offer(pair, fence=4)
    before = digests(pair)
    await runner.run_offer(offer, server.report)
    assert told(server.reports) == HAPPY
    check_once(pair, offer, server, before)
    assert [report.n for report in server.reports] == [1, 2, 3, 4, 5]
    confirmed = server.reports[3]
    assert (confirmed.source, confirmed.digest) == ("ram", offer.body.expect.right)
    assert confirmed.nvm == pair.aid("right").read_digest("nvm")
    assert confirmed.battery == 80
    assert runner.record.fence_max == 4
    assert runner.record.in_flight is None


async def test_a_pair_of_one_aid_works_and_so_does_a_change_of_one_ear() -> None:
    cases: list[tuple[tuple[Ear, ...], Ear]] = [(("left",), "left"), (EARS, "left"), (EARS, "right")]
    for worn, changed in cases:
        pair, server = make_pair(worn), Server()
        await make_runner(pair).run_offer(make_offer(pair, ears=(changed,)), server.report)
        assert told(server.reports) == ["received", f"{changed} writing", f"{changed} confirmed"]
        assert sum(pair.aid(ear).writes_completed for ear in pair.ears) == 1


async def test_the_journal_is_saved_before_the_report_and_before_the_first_byte() -> None:
    journal = MemoryJournal()
    seen: list[tuple[str, str]] = []

    def phase() -> str:
        entry = journal.load().in_flight
        return "none" if entry is None else entry.phase

    async def sleep(_: float) -> None:
        seen.append(("byte", phase()))

    async def report(sent: Report) -> None:
        # By the time it is sent, the journal holds it, under way or ended.
        record = journal.load()
        entry = record.in_flight
        kept = record.ended[-1].reports if entry is None else entry.reports
        assert sent in kept
        seen.append((sent.state, phase()))

    aids = (VirtualAid(ear, SERIALS[ear], sleep=sleep) for ear in EARS)
    pair = VirtualPair(*aids)
    await make_runner(pair, journal).run_offer(make_offer(pair), report)
    assert list(dict.fromkeys(seen)) == [
        ("received", "received"),
        ("writing", "writing:right"),
        ("byte", "writing:right"),
        ("writing", "writing:left"),
        ("byte", "writing:left"),
        ("confirmed", "verified:left"),
    ]
    assert len(journal.load().ended) == 1


async def test_an_aid_that_stays_away_is_indeterminate_until_it_is_back() -> None:
    pair = make_pair(faults={"right": Faults(drop_link_after_chunk=3, refuse_connects=4)})
    server, runner, offer, before = Server(), None, make_offer(pair), digests(pair)
    runner = make_runner(pair, connect_tries=3)
    await runner.run_offer(offer, server.report)
    assert told(server.reports)[:3] == ["received", "right writing", "right indeterminate E_BLE_DURING"]
    # The other ear is not begun meanwhile.
    assert told(server.reports)[3:] == []
    assert pair.aid("left").writes_completed == 0
    assert (await runner.attach_claim()).right is UNSET
    # Nothing else is begun in between.
    other = struct_replace(make_offer(make_pair(), seq=2), after=1)
    pair.aid("right").faults = replace(pair.aid("right").faults, refuse_connects=4)
    with pytest.raises(AttachNeeded):
        await runner.run_offer(other, server.report)
    await runner.run_offer(again(offer), server.report)
    assert told(server.facts())[3:] == ["right rolled_back E_BLE_DURING", "left rejected E_PARTIAL"]
    check_once(pair, offer, server, before)


async def test_an_aid_out_of_reach_before_the_first_byte_fails_with_nothing_written() -> None:
    pair, server = make_pair(faults={"right": Faults(refuse_connects=10)}), Server()
    offer = make_offer(pair)
    pair.aid("right").connected = False
    await make_runner(pair, connect_tries=2).run_offer(offer, server.report)
    assert told(server.reports) == ["right failed E_BLE_BEFORE", "left rejected E_PARTIAL"]
    assert pair.aid("right").faults.refuse_connects == 8
    assert pair.aid("left").writes_completed == 0


async def test_an_aid_that_can_do_less_than_its_model_refuses_and_keeps_what_it_had() -> None:
    pair, server = make_pair(), Server()
    aid = pair.aid("right")
    aid.sheet = replace(aid.sheet, gain_max_ddb=100)
    offer, before = make_offer(pair, gain_ddb=200), digests(pair)
    await make_runner(pair).run_offer(offer, server.report)
    assert told(server.facts())[2] == "right rolled_back E_CAPABILITY"
    assert digests(pair)["right"] == before["right"]


async def test_an_aid_that_restarts_in_the_write_is_rolled_back() -> None:
    pair, server = make_pair(faults={"right": Faults(reboot_after_chunk=5)}), Server()
    offer = make_offer(pair)
    await make_runner(pair).run_offer(offer, server.report)
    assert told(server.reports)[2:4] == ["right indeterminate E_REBOOT", "right rolled_back E_REBOOT"]
    assert pair.aid("right").read_image("ram") == factory_image("right", BANDS_HZ)


async def test_an_aid_that_restarts_gets_back_what_it_played_before() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair)
    await runner.run_offer(make_offer(pair, gain_ddb=100), server.report)
    runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=1))
    played = pair.aid("right").read_image("ram")
    second = make_offer(pair, seq=2, gain_ddb=130)
    pair.aid("right").faults = Faults(reboot_after_chunk=5)
    await runner.run_offer(second, server.report)
    assert "right rolled_back E_REBOOT" in told(server.reports)
    assert pair.aid("right").read_image("ram") == played


async def test_a_write_that_reads_back_wrong_once_is_written_again() -> None:
    pair, server = make_pair(faults={"right": Faults(corrupt_digest=1)}), Server()
    await make_runner(pair).run_offer(make_offer(pair), server.report)
    assert told(server.reports) == HAPPY
    assert pair.aid("right").writes_completed == 2


@pytest.mark.parametrize("corrupt", [2, 3, 4])
async def test_a_write_that_reads_back_wrong_twice_is_undone_and_failed(corrupt: int) -> None:
    pair, server = make_pair(faults={"right": Faults(corrupt_digest=corrupt)}), Server()
    offer, before = make_offer(pair), digests(pair)
    await make_runner(pair).run_offer(offer, server.report)
    assert told(server.reports)[2] == "right failed E_READBACK"
    assert digests(pair)["right"] == before["right"] == server.reports[2].digest


async def test_an_aid_that_never_keeps_what_is_written_is_given_up_with_what_it_holds() -> None:
    pair, server = make_pair(faults={"right": Faults(corrupt_digest=100)}), Server()
    await make_runner(pair, max_writes=5).run_offer(make_offer(pair), server.report)
    assert told(server.reports)[2] == "right failed E_READBACK"
    assert server.reports[2].digest == digests(pair)["right"]
    assert pair.aid("right").writes_completed == 5


async def test_an_aid_that_holds_the_target_already_is_confirmed_without_a_write() -> None:
    pair, server = make_pair(), Server()
    offer = make_offer(pair)
    await pair.aid("right").write_trial(offer.body.right)
    await make_runner(pair).run_offer(offer, server.report)
    assert told(server.reports) == ["received", "left writing", "right confirmed", "left confirmed"]
    assert pair.aid("right").writes_completed == 1


@pytest.mark.parametrize(
    ("change", "reports"),
    [
        (lambda offer: struct_replace(offer, body_hash="sha256:" + "0" * 64), ["rejected E_SIG"]),
        (lambda offer: struct_replace(offer, fence=2), ["rejected E_FENCE"]),
    ],
)
async def test_a_refused_offer_writes_nothing_and_is_refused_the_same_way_again(
    change: Callable[[Offer], Offer], reports: list[str]
) -> None:
    journal, pair, server = MemoryJournal(), make_pair(), Server()
    journal.save(JournalRecord(epoch=EPOCH, fence_max=3))
    offer, before = change(make_offer(pair, fence=3)), digests(pair)
    runner = make_runner(pair, journal)
    await runner.run_offer(offer, server.report)
    await runner.run_offer(again(offer), server.report)
    assert told(server.reports) == reports * 2
    assert server.reports[0] == server.reports[1]
    assert digests(pair) == before
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_a_swapped_aid_is_never_written() -> None:
    pair, server = make_pair(faults={"left": Faults(wrong_serial=True)}), Server()
    await make_runner(pair).run_offer(make_offer(pair), server.report)
    assert told(server.reports) == ["right rejected E_PARTIAL", "left rejected E_DEVICE"]
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]


async def test_an_aid_that_another_app_has_changed_is_not_overwritten() -> None:
    pair, server = make_pair(), Server()
    offer = make_offer(pair)
    await pair.aid("left").write_trial((slot_with(70),))
    await make_runner(pair).run_offer(offer, server.report)
    assert told(server.reports) == ["right rejected E_PARTIAL", "left rejected E_BASE"]
    assert server.reports[1].digest == digests(pair)["left"]


async def test_deliveries_follow_one_another_once_they_are_settled() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair)
    for seq in range(1, 5):
        await runner.run_offer(make_offer(pair, seq=seq, gain_ddb=100 + 10 * seq), server.report)
        runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=seq))
    assert [report.seq for report in server.reports] == [seq for seq in range(1, 5) for _ in HAPPY]
    assert (await runner.attach_claim()).last_terminal == 4
    assert pair.aid("left").writes_completed == 4


async def test_an_offer_that_does_not_follow_asks_for_a_new_attach_and_writes_nothing() -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair)
    good = make_offer(pair)
    for bad in (
        struct_replace(good, epoch="another"),
        struct_replace(good, seq=3, after=2),
        struct_replace(good, device="pair-2"),
    ):
        with pytest.raises(AttachNeeded):
            await runner.run_offer(bad, server.report)
    assert server.reports == []
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    runner.attached(attach_answer(from_seq=3))
    await runner.run_offer(struct_replace(good, seq=3, after=2), server.report)
    assert told(server.reports) == HAPPY


async def test_settled_of_another_device_is_not_ours() -> None:
    runner = make_runner(make_pair())
    runner.settled(Settled(device="pair-2", epoch=EPOCH, seq=9))
    assert runner.record.last_settled == 0


async def test_the_claim_holds_a_read_back_of_each_aid_and_where_the_phone_stands() -> None:
    pair = make_pair()
    fresh = await OfferRunner(pair, MemoryJournal(), device=DEVICE).attach_claim()
    assert (fresh.epoch, fresh.last_terminal, fresh.fence_max, fresh.in_flight) == ("", 0, 0, UNSET)
    assert fresh.right is not UNSET
    assert fresh.right.serial == "R-1"
    assert fresh.right.image == factory_image("right", BANDS_HZ)
    assert fresh.right.ram == fresh.right.nvm == digests(pair)["right"]
    assert fresh.left is not UNSET
    one_ear = await OfferRunner(make_pair(("left",)), MemoryJournal(), device=DEVICE).attach_claim()
    assert one_ear.right is UNSET


async def test_only_so_many_answers_are_kept() -> None:
    pair, server = make_pair(("right",)), Server()
    runner = make_runner(pair, max_ended=2)
    offers = []
    for seq in range(1, 4):
        offers.append(make_offer(pair, seq=seq, gain_ddb=100 + 10 * seq))
        await runner.run_offer(offers[-1], server.report)
        runner.settled(Settled(device=DEVICE, epoch=EPOCH, seq=seq))
    assert [ended.seq for ended in runner.record.ended] == [2, 3]
    server.reports.clear()
    await runner.run_offer(again(offers[1]), server.report)
    assert [report.seq for report in server.reports] == [2, 2, 2]
    with pytest.raises(AttachNeeded):
        await runner.run_offer(again(offers[0]), server.report)
    assert pair.aid("right").writes_completed == 3


async def test_recovering_with_nothing_under_way_does_nothing() -> None:
    journal, pair = MemoryJournal(), make_pair()
    runner = make_runner(pair, journal)
    saves = journal.saves
    await runner.recover()
    assert journal.saves == saves


async def test_an_error_of_ours_in_a_report_is_not_hidden_as_a_lost_link() -> None:
    async def report(_: Report) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await make_runner(make_pair()).run_offer(make_offer(make_pair()), report)


def test_asking_for_work_when_there_is_none_is_a_bug() -> None:
    with pytest.raises(LocalProtocolError, match="no delivery"):
        _ = make_runner(make_pair())._book.entry
