"""Offers that are not the server's, or not of this time: refused, and nothing is written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from clients.file_journal import FileJournal
from clients.journal import JournalRecord, MemoryJournal
from clients.phone_driver import OfferRunner
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.pair import VirtualPair
from fitting.signing import OfferSigner
from protocol.contract.base import EARS
from protocol.contract.devices import AttachAnswer, Offer
from tests.clients.offers import DEVICE, EPOCH, again, make_offer, make_pair, slot_with, told
from tests.clients.phone_bench import HAPPY, Server, make_runner

SIGNER, STRANGER = OfferSigner(b"s" * 32), OfferSigner(b"x" * 32)


def answer(signer: OfferSigner = SIGNER) -> AttachAnswer:
    return AttachAnswer(
        epoch=EPOCH, from_seq=1, generation=1, resume="ok", key_id=signer.key_id, public_key=signer.public_key
    )


def bound(pair: VirtualPair) -> OfferRunner:
    """A phone that was given the server's key when it first said hello."""
    runner = make_runner(pair)
    runner.attached(answer())
    return runner


async def test_an_offer_signed_by_the_server_is_carried_out() -> None:
    pair, server = make_pair(), Server()
    await bound(pair).run_offer(SIGNER.sign(make_offer(pair)), server.report)
    assert told(server.reports) == HAPPY


@pytest.mark.parametrize(
    "change",
    [
        lambda offer: replace(offer, sig=""),
        lambda offer: replace(offer, sig="AAAA"),
        lambda offer: replace(offer, sig=offer.sig[:-2] + "AA"),
        lambda offer: replace(offer, key_id=STRANGER.key_id),
        STRANGER.sign,
        lambda offer: replace(offer, fence=offer.fence + 1),
        lambda offer: replace(offer, revision_id="rev-9"),
        lambda offer: replace(offer, mode="standard"),
        lambda offer: replace(offer, body=replace(offer.body, right=(slot_with(210),))),
        lambda offer: replace(offer, body_hash="sha256:" + "0" * 64),
    ],
)
async def test_whatever_is_not_signed_by_it_is_refused_and_never_written(change: Callable[[Offer], Offer]) -> None:
    pair, server = make_pair(), Server()
    runner = bound(pair)
    bad = change(SIGNER.sign(make_offer(pair)))
    await runner.run_offer(bad, server.report)
    await runner.run_offer(again(bad), server.report)
    assert told(server.reports) == ["rejected E_SIG"] * 2
    assert [pair.aid(ear).writes_completed for ear in EARS] == [0, 0]
    assert runner.record.fence_max == 0


async def test_the_first_key_is_kept_whatever_comes_later(tmp_path: Path) -> None:
    pair, server, journal = make_pair(), Server(), FileJournal(tmp_path / "journal")
    make_runner(pair, journal).attached(answer())
    reborn = make_runner(pair, journal)
    for later in (answer(STRANGER), AttachAnswer(epoch=EPOCH, from_seq=1, generation=2, resume="ok")):
        reborn.attached(later)
        assert reborn.record.public_key == SIGNER.public_key
    await reborn.run_offer(STRANGER.sign(make_offer(pair)), server.report)
    assert told(server.reports) == ["rejected E_SIG"]


async def test_a_forged_repeat_of_what_is_under_way_changes_nothing_of_it() -> None:
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server()
    runner, offer = bound(pair), SIGNER.sign(make_offer(pair))
    await runner.run_offer(offer, server.report)
    louder = replace(offer, attempt=2, body=replace(offer.body, right=(slot_with(300),), left=(slot_with(300),)))
    pair.aid("left").faults = Faults()
    await runner.run_offer(louder, server.report)
    assert told(server.facts())[-1] == "left confirmed"
    for ear in EARS:
        assert pair.aid(ear).read_image("ram").slots == (slot_with(200),)


@pytest.mark.parametrize(("waited_s", "end"), [(29.9, "left confirmed"), (30.0, "rejected E_EXPIRED")])
async def test_an_offer_whose_time_is_over_when_its_turn_comes_is_refused(waited_s: float, end: str) -> None:
    pair, server = make_pair(), Server()
    runner = make_runner(pair, clock=lambda: 100.0 + waited_s)
    await runner.run_offer(make_offer(pair), server.report, received_at_s=100.0)
    assert told(server.reports)[-1] == end
    assert [pair.aid(ear).writes_completed for ear in EARS] == ([1, 1] if end == "left confirmed" else [0, 0])


async def test_an_offer_that_waits_for_an_aid_does_not_wait_longer_than_its_time() -> None:
    now_s = 0.0
    pair, server = make_pair(faults={"left": Faults(busy=True)}), Server()
    runner = make_runner(pair, clock=lambda: now_s)
    await runner.run_offer(make_offer(pair), server.report)
    assert runner.next_due_s() == 30.0
    now_s = 30.0
    await runner.work(server.report)
    assert told(server.facts()) == ["received", "received E_BUSY", "rejected E_EXPIRED"]
    assert runner.record.in_flight is None
    assert runner.next_due_s() is None


async def test_a_package_is_not_fenced_and_a_live_change_is() -> None:
    for mode, kind, refused in (("standard", "persist", False), ("advanced", "volatile", True)):
        journal, pair, server = MemoryJournal(), make_pair(), Server()
        journal.save(JournalRecord(epoch=EPOCH, fence_max=4))
        offer = make_offer(pair, fence=3, mode=mode, kind=kind)  # type: ignore[arg-type]  # literals of a table
        await make_runner(pair, journal).run_offer(offer, server.report)
        assert (told(server.reports) == ["rejected E_FENCE"]) == refused


def test_a_device_that_was_never_given_a_key_has_none() -> None:
    runner = make_runner(make_pair())
    assert runner.record.public_key == ""
    assert runner.device == DEVICE
