"""The worked vector in docs/phone.md is what this code computes: another language can trust it."""

from pathlib import Path

from fitting.digest import body_hash, canonical_of, ear_digest, pair_digest
from fitting.signing import OfferSigner, is_genuine, signed_bytes
from protocol.contract.devices import EarImage, Offer, OfferBody, SlotImage, Target, Targets
from protocol.contract.fitting import Base, Digests, EarProgram, References

DOC = Path(__file__).parents[2] / "docs" / "phone.md"


def test_the_worked_vector_is_what_is_computed() -> None:
    block = DOC.read_text().split("```text\n")[1].split("```")[0]
    told = {name: value.strip() for name, value in (line.split(" ", 1) for line in block.splitlines())}
    program = EarProgram(g50_ddb=(200,), g65_ddb=(180,), g80_ddb=(160,), mpo_ddb=(950,))
    slots = (SlotImage(slot=1, name="Universal", category="universal", program=program),)
    image = EarImage(ear="right", bands_hz=(1000,), refs=References(), slots=slots)
    digest = ear_digest(image)
    expect = Digests(pair=pair_digest({"right": digest}), right=digest)
    body = OfferBody(bands_hz=(1000,), refs=References(), expect=expect, right=slots)
    signer = OfferSigner(bytes(range(32)))
    offer = signer.sign(
        Offer(
            device="d1",
            epoch="e1",
            seq=7,
            after=6,
            attempt=1,
            revision_id="r7",
            mode="advanced",
            kind="volatile",
            fence=3,
            base=Base(revision="r6", right="sha256:" + "0" * 64),
            target=Targets(right=Target(serial="R-1", firmware="2.3.1")),
            body=body,
            body_hash=body_hash(body),
            expires_in_s=30,
        )
    )
    assert told == {
        "ear": canonical_of(image).decode(),
        "digest": digest,
        "body": canonical_of(body).decode(),
        "bodyHash": offer.body_hash,
        "signed": signed_bytes(offer).decode(),
        "publicKey": signer.public_key,
        "keyId": offer.key_id,
        "sig": offer.sig,
    }
    assert is_genuine(offer, told["publicKey"])
