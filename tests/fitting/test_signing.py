"""Signed offers: the signature of RFC 8032's own vector, and every signed field."""

from typing import Any

import msgspec
import pytest

from fitting.digest import body_hash, content_digests
from fitting.model import offer_body
from fitting.signing import OfferSigner, is_genuine, key_id_of
from protocol.contract.devices import Offer, Target, Targets
from protocol.contract.fitting import Base, Content
from tests.contracts.device_log_bench import FRESH, louder

SEED = bytes(range(32))


def offer(after: Content = louder(FRESH)) -> Offer:  # noqa: B008  # frozen: a shared default cannot change
    digests = content_digests(after)
    body = offer_body(FRESH, after, digests)
    return Offer(
        device="d-1",
        epoch="e-1",
        seq=7,
        after=6,
        attempt=1,
        revision_id="r-7",
        mode="advanced",
        kind="volatile",
        fence=3,
        base=Base(revision="r-6", right=content_digests(FRESH).right),
        target=Targets(right=Target(serial="right-1", firmware="1.0")),
        body=body,
        body_hash=body_hash(body),
        expires_in_s=60,
    )


def test_the_public_key_is_that_of_the_standards_first_vector() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert OfferSigner(seed).public_key == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


def test_a_signed_offer_is_genuine_and_for_its_own_key_only() -> None:
    signer, other = OfferSigner(SEED), OfferSigner(bytes(32))
    signed = signer.sign(offer())
    assert is_genuine(signed, signer.public_key)
    assert not is_genuine(signed, other.public_key)
    assert signed.key_id == key_id_of(signer.public_key) == signer.key_id


@pytest.mark.parametrize(
    "changed",
    [
        {"device": "d-2"},
        {"epoch": "e-2"},
        {"seq": 8},
        {"revision_id": "r-8"},
        {"mode": "standard"},
        {"kind": "persist"},
        {"fence": 4},
        {"base": Base(revision="r-5")},
        {"target": Targets(right=Target(serial="right-2", firmware="1.0"))},
        {"body_hash": "sha256:" + "0" * 64},
        {"key_id": "another"},
        {"sig": ""},
        {"sig": "no base64!"},
    ],
)
def test_an_offer_that_was_changed_afterwards_is_not_genuine(changed: dict[str, Any]) -> None:
    signer = OfferSigner(SEED)
    assert not is_genuine(msgspec.structs.replace(signer.sign(offer()), **changed), signer.public_key)


def test_another_attempt_keeps_the_signature() -> None:
    signer = OfferSigner(SEED)
    again = msgspec.structs.replace(signer.sign(offer()), attempt=2, after=5, expires_in_s=1)
    assert is_genuine(again, signer.public_key)


@pytest.mark.parametrize("key", ["", "AAAA", "no base64!", "é"])
def test_what_is_no_key_makes_nothing_genuine(key: str) -> None:
    assert not is_genuine(OfferSigner(SEED).sign(offer()), key)
