"""What the phone makes of an offer before it writes anything."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec import UNSET
from msgspec.structs import replace as struct_replace

from clients.journal import Ended, JournalEntry, JournalRecord
from clients.phone_core import AidFacts, Place, Refused, examine, place, refusal_report, report_on
from clients.virtual_aid.memory import with_slots
from clients.virtual_aid.pair import VirtualPair
from fitting.capability import SHEETS
from fitting.digest import body_hash, ear_digest
from protocol.contract.base import Ear
from protocol.contract.devices import Offer, OfferBody, Target, Targets
from protocol.contract.fitting import Base
from tests.clients.offers import EPOCH, FIRMWARE, SERIALS, again, make_offer, make_pair, slot_with

READY = JournalRecord(epoch=EPOCH)


def facts_of(pair: VirtualPair) -> dict[Ear, AidFacts | None]:
    return {
        ear: AidFacts(SERIALS[ear], FIRMWARE, SHEETS["ref10"], pair.aid(ear).read_image("ram")) for ear in pair.ears
    }


def signed(offer: Offer, body: OfferBody) -> Offer:
    return struct_replace(offer, body=body, body_hash=body_hash(body))


def refused(offer: Offer, facts: dict[Ear, AidFacts | None], record: JournalRecord = READY) -> list[Refused]:
    examined = examine(offer, record, facts)
    assert examined.plans == ()
    return list(examined.refusals)


def test_where_an_offer_stands() -> None:
    offer = make_offer(make_pair())
    entry = JournalEntry(offer, ())
    ended = READY.finished(entry, max_ended=4)
    other_body = struct_replace(offer, body_hash="sha256:" + "0" * 64)
    cases: list[tuple[Offer, JournalRecord, Place]] = [
        (offer, READY, Place.NEW),
        (offer, JournalRecord(), Place.ATTACH),
        (offer, replace(READY, last_settled=3), Place.ATTACH),
        (struct_replace(offer, seq=3, after=2), READY, Place.ATTACH),
        (struct_replace(offer, seq=3, after=2), replace(READY, last_settled=2), Place.NEW),
        (struct_replace(offer, seq=5, after=2), replace(READY, last_settled=2), Place.NEW),
        (struct_replace(offer, seq=2, after=2), replace(READY, last_settled=2), Place.ATTACH),
        (offer, READY.begun(entry), Place.RESUME),
        (again(offer), READY.begun(entry), Place.RESUME),
        (other_body, READY.begun(entry), Place.ATTACH),
        (other_body, READY.begun(entry).put_aside(), Place.ATTACH),
        (struct_replace(offer, seq=2, after=0), READY.begun(entry), Place.ATTACH),
        (again(offer), ended, Place.REPLAY),
        (other_body, ended, Place.OTHER),
        (offer, READY.remembering(Ended(EPOCH, 1, ()), max_ended=4), Place.REPLAY),
        (again(offer), replace(ended, last_settled=1), Place.REPLAY),
        (offer, replace(ended, epoch="another"), Place.ATTACH),
    ]
    for number, (offered, record, expected) in enumerate(cases):
        assert place(offered, record) is expected, number


def test_a_good_offer_gives_a_plan_for_each_ear_that_changes() -> None:
    pair = make_pair()
    for ears in (("right", "left"), ("left",), ("right",)):
        offer = make_offer(pair, ears=ears)
        examined = examine(offer, READY, facts_of(pair))
        assert examined.refusals == ()
        assert tuple(plan.ear for plan in examined.plans) == ears
        for plan in examined.plans:
            assert plan.before == pair.aid(plan.ear).read_image("ram")
            assert plan.before_digest == pair.aid(plan.ear).read_digest("ram")
            assert plan.target_digest == getattr(offer.body.expect, plan.ear)


def test_a_body_that_is_not_what_its_hash_says_is_refused() -> None:
    pair = make_pair()
    offer = make_offer(pair)
    louder = struct_replace(offer.body, right=(slot_with(300),))
    assert refused(struct_replace(offer, body=louder), facts_of(pair)) == [Refused("E_SIG")]


def test_a_lower_fence_than_seen_is_refused_and_the_same_one_is_not() -> None:
    pair = make_pair()
    offer = make_offer(pair, fence=5)
    assert refused(offer, facts_of(pair), replace(READY, fence_max=6)) == [Refused("E_FENCE")]
    assert examine(offer, replace(READY, fence_max=5), facts_of(pair)).plans


def test_what_this_phone_cannot_do_is_refused() -> None:
    pair = make_pair()
    offer = make_offer(pair)
    empty = signed(offer, struct_replace(offer.body, left=(), right=()))
    assert refused(empty, facts_of(pair)) == [Refused("E_RANGE")]


def _other_serial(offer: Offer) -> Offer:
    return struct_replace(offer, target=struct_replace(offer.target, right=Target(serial="R-2", firmware="2.3.1")))


def _other_firmware(offer: Offer) -> Offer:
    return struct_replace(offer, target=struct_replace(offer.target, right=Target(serial="R-1", firmware="2.4.0")))


def _no_target(offer: Offer) -> Offer:
    return struct_replace(offer, target=Targets(left=offer.target.left))


def _other_bands(offer: Offer) -> Offer:
    return signed(offer, struct_replace(offer.body, bands_hz=(250, 500)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_other_serial, "E_DEVICE"),
        (_no_target, "E_DEVICE"),
        (_other_firmware, "E_FIRMWARE"),
        (_other_bands, "E_CAPABILITY"),
    ],
)
def test_another_aid_than_the_one_it_is_for_is_refused(change: Callable[[Offer], Offer], code: str) -> None:
    pair = make_pair()
    refusals = refused(change(make_offer(pair)), facts_of(pair))
    assert Refused(code, "right") in refusals


def test_one_ear_that_cannot_be_written_keeps_the_other_from_it() -> None:
    pair = make_pair()
    assert refused(_other_serial(make_offer(pair)), facts_of(pair)) == [
        Refused("E_DEVICE", "right"),
        Refused("E_PARTIAL", "left"),
    ]


def test_an_ear_without_an_aid_and_an_aid_out_of_reach_are_told_apart() -> None:
    pair = make_pair()
    offer, facts = make_offer(pair), facts_of(pair)
    assert Refused("E_DEVICE", "right") in refused(offer, {"left": facts["left"]})
    assert Refused("E_BLE_BEFORE", "right", state="failed") in refused(offer, facts | {"right": None})


def test_a_model_without_a_sheet_is_refused() -> None:
    pair = make_pair()
    facts = facts_of(pair)
    right = facts["right"]
    assert right is not None
    facts["right"] = replace(right, sheet=None)
    assert Refused("E_CAPABILITY", "right") in refused(make_offer(pair), facts)


@pytest.mark.parametrize(
    "change",
    [
        {"g50_ddb": (610,) + (200,) * 9},
        {"g65_ddb": (-10,) + (180,) * 9},
        {"g80_ddb": (165,) + (160,) * 9},
        {"mpo_ddb": (1_330,) + (1_050,) * 9},
        {"mpo_ddb": (790,) + (1_050,) * 9},
        {"mpo_ddb": (1_055,) + (1_050,) * 9},
        {"g50_ddb": (200,) * 9},
        {"nr_ddb": 130},
    ],
)
def test_the_phone_itself_refuses_values_outside_the_sheet(change: dict[str, object]) -> None:
    """Even when server and signature agree on them."""
    pair = make_pair(("right",))
    slot = slot_with(200)
    bad = struct_replace(slot, program=struct_replace(slot.program, **change))
    offer = make_offer(pair)
    expected = ear_digest(with_slots(pair.aid("right").read_image("ram"), (bad,)))
    expect = struct_replace(offer.body.expect, right=expected)
    held = pair.aid("right").read_digest("ram")
    assert refused(signed(offer, struct_replace(offer.body, right=(bad,), expect=expect)), facts_of(pair)) == [
        Refused("E_RANGE", "right", digest=held)
    ]


def test_a_slot_that_the_aid_does_not_have_is_refused() -> None:
    pair = make_pair(("right",))
    offer = make_offer(pair)
    body = struct_replace(offer.body, right=(slot_with(200, slot=5),))
    assert [refusal.code for refusal in refused(signed(offer, body), facts_of(pair))] == ["E_RANGE"]


async def test_an_aid_that_holds_something_else_is_refused_with_its_digest() -> None:
    pair = make_pair()
    offer = make_offer(pair)
    await pair.aid("left").write_trial((slot_with(60),))
    assert refused(offer, facts_of(pair)) == [
        Refused("E_PARTIAL", "right"),
        Refused("E_BASE", "left", digest=pair.aid("left").read_digest("ram")),
    ]


def test_an_offer_without_the_digests_of_its_ears_is_refused() -> None:
    pair = make_pair(("right",))
    offer = make_offer(pair)
    no_base = struct_replace(offer, base=Base(revision="rev-0"))
    no_target = signed(offer, struct_replace(offer.body, expect=struct_replace(offer.body.expect, right=UNSET)))
    for bad in (no_base, no_target):
        assert [refusal.code for refusal in refused(bad, facts_of(pair))] == ["E_BASE"]


async def test_an_aid_that_already_holds_the_target_is_no_refusal() -> None:
    pair = make_pair()
    offer = make_offer(pair)
    await pair.aid("right").write_trial(offer.body.right)
    examined = examine(offer, READY, facts_of(pair))
    assert [plan.ear for plan in examined.plans] == ["right", "left"]
    assert examined.plans[0].before_digest == examined.plans[0].target_digest


def test_an_offer_whose_values_do_not_give_the_digest_it_expects_is_refused() -> None:
    pair = make_pair(("right",))
    offer = make_offer(pair)
    other = signed(offer, struct_replace(offer.body, right=(slot_with(210),)))
    assert [refusal.code for refusal in refused(other, facts_of(pair))] == ["E_RANGE"]


def test_reports_are_numbered_over_attempts() -> None:
    offer = make_offer(make_pair())
    first = report_on(offer, (), "received")
    second = report_on(again(offer), (first,), "writing", "right")
    assert [(report.n, report.attempt, report.state) for report in (first, second)] == [
        (1, 1, "received"),
        (2, 2, "writing"),
    ]
    assert first.ear is UNSET
    assert second.digest is UNSET


def test_a_refusal_is_reported_with_what_the_aid_holds() -> None:
    offer = make_offer(make_pair())
    report = refusal_report(offer, (), Refused("E_BASE", "left", digest="sha256:" + "0" * 64))
    assert (report.state, report.ear, report.code, report.source) == ("rejected", "left", "E_BASE", "ram")
    assert report.digest == "sha256:" + "0" * 64
    assert refusal_report(offer, (), Refused("E_FENCE")).ear is UNSET
