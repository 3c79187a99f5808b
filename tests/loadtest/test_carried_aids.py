"""The phone's half of a load test judges what it is offered: a server that is wrong is found out, not waved through."""

from msgspec import UNSET
from msgspec.structs import replace

from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.pair import VirtualPair
from fitting.capability import sheet
from fitting.digest import body_hash
from fitting.signing import OfferSigner
from loadtest.carried_aids import FIRMWARE, CarriedAids
from protocol.contract.devices import Offer, Report, Settled
from tests.clients.offers import DEVICE, EPOCH, SERIALS, attach_answer, make_offer, told

DONE = ["received", "right writing", "right confirmed", "left writing", "left confirmed"]


def attached() -> CarriedAids:
    aids = CarriedAids(DEVICE, SERIALS, sheet("ref10"))
    aids.attached(attach_answer())
    return aids


def an_offer() -> Offer:
    """On what new aids hold."""
    pair = VirtualPair(*(VirtualAid(ear, serial, firmware=FIRMWARE) for ear, serial in SERIALS.items()))
    return make_offer(pair)


def reports(aids: CarriedAids, offer: Offer) -> tuple[Report, ...]:
    carried_out = aids.carry_out(offer)
    assert carried_out is not None
    return carried_out


def test_an_offer_that_the_server_of_the_first_attach_has_not_signed_is_rejected() -> None:
    ours, theirs = OfferSigner(b"o" * 32), OfferSigner(b"t" * 32)
    aids, offer = CarriedAids(DEVICE, SERIALS, sheet("ref10")), an_offer()
    for signer in (ours, theirs):
        aids.attached(replace(attach_answer(), key_id=signer.key_id, public_key=signer.public_key))
    assert told(reports(aids, theirs.sign(offer))) == ["rejected E_SIG"]
    assert told(reports(aids, replace(offer, seq=2, after=0))) == ["rejected E_SIG"]
    assert told(reports(aids, ours.sign(replace(offer, seq=3)))) == DONE


def test_what_was_tried_is_told_and_given_up_on_a_restore() -> None:
    aids, offer = attached(), an_offer()
    before = aids.claim()
    assert not before.trial
    reports(aids, offer)
    assert aids.claim().trial
    aids.restore()
    assert not aids.claim().trial
    report = aids.told("revert")
    assert (report.cause, report.left, report.right) == ("revert", before.left, before.right)


def test_reports_are_remembered_for_a_withdrawal_that_comes_too_late() -> None:
    aids, offer = attached(), an_offer()
    assert aids.reports_of(EPOCH, 1) == ()
    assert aids.reports_of(EPOCH, 1) != reports(aids, offer) == aids.reports_of(EPOCH, 1)


def test_an_offer_is_written_and_confirmed_with_what_was_read_back() -> None:
    aids, offer = attached(), an_offer()
    given = reports(aids, offer)
    assert told(given) == DONE
    proofs = {report.ear: report.digest for report in given if report.state == "confirmed"}
    assert proofs == {"right": offer.body.expect.right, "left": offer.body.expect.left}
    held = aids.claim()
    assert held.right is not UNSET
    assert held.left is not UNSET
    assert (held.right.ram, held.left.ram) == (offer.body.expect.right, offer.body.expect.left)
    assert held.right.nvm != held.right.ram


def test_an_offer_that_comes_again_gets_the_same_reports_and_is_not_written_again() -> None:
    aids, offer = attached(), an_offer()
    first = reports(aids, offer)
    assert reports(aids, replace(offer, attempt=2)) == first


def test_a_body_that_was_damaged_on_its_way_is_rejected_and_not_written() -> None:
    aids, offer = attached(), an_offer()
    before = aids.claim()
    slot = replace(offer.body.right[0], name="Other")
    assert told(reports(aids, replace(offer, body=replace(offer.body, right=(slot,))))) == ["rejected E_SIG"]
    assert aids.claim() == before


def test_an_offer_on_another_base_is_rejected() -> None:
    aids, offer = attached(), an_offer()
    wrong = replace(offer.base, right="sha256:" + "0" * 64, left="sha256:" + "0" * 64)
    assert told(reports(aids, replace(offer, base=wrong))) == ["right rejected E_BASE", "left rejected E_BASE"]


def test_a_body_that_does_not_lead_to_the_promised_digest_is_rejected() -> None:
    aids, offer = attached(), an_offer()
    body = replace(offer.body, expect=replace(offer.body.expect, right="sha256:" + "0" * 64))
    given = reports(aids, replace(offer, body=body, body_hash=body_hash(body)))
    assert "right rejected E_RANGE" in told(given)


def test_an_offer_that_does_not_follow_on_what_is_known_asks_for_a_new_attach() -> None:
    offer = an_offer()
    assert attached().carry_out(replace(offer, epoch="epoch-2")) is None
    assert attached().carry_out(replace(offer, seq=3, after=2)) is None
    assert attached().carry_out(replace(offer, device="pair-2")) is None


def test_the_next_offer_follows_once_the_last_one_is_settled() -> None:
    aids, offer = attached(), an_offer()
    reports(aids, offer)
    following = replace(offer, seq=2, after=1)
    assert aids.carry_out(following) is None
    aids.settled(Settled(device="pair-2", epoch=EPOCH, seq=1))
    assert aids.carry_out(following) is None
    aids.settled(Settled(device=DEVICE, epoch=EPOCH, seq=1))
    # Its base is what was held before the first one, and its target what is held already.
    assert told(reports(aids, following)) == DONE
