"""Signed offers: a phone writes only what the server that it was bound to has signed for these very aids.

Ed25519 (RFC 8032) over the canonical form of what makes an offer this offer and no other: device, log, number,
fence, kind, base, target aids and the hash of the body. The attempt and the time left are not signed, they change
from offer to offer. This module must not know where keys are kept. Read ``signed_bytes`` first.
"""

import base64
import binascii
import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.contract.devices import Offer
from protocol.errors import BadArgument

from .digest import canonical_of

__all__ = ["OfferSigner", "is_genuine", "key_id_of", "signed_bytes"]


def signed_bytes(offer: Offer) -> bytes:
    """What is signed of an offer, in canonical form (RFC 8785)."""
    return canonical_of(
        {
            "base": offer.base,
            "bodyHash": offer.body_hash,
            "device": offer.device,
            "epoch": offer.epoch,
            "fence": offer.fence,
            "kind": offer.kind,
            "mode": offer.mode,
            "revisionId": offer.revision_id,
            "seq": offer.seq,
            "target": offer.target,
        }
    )


class OfferSigner:
    """Signs offers with one key. ``seed`` is the 32 secret bytes of RFC 8032; it is never shown."""

    __slots__ = ("_key", "key_id", "public_key")

    def __init__(self, seed: bytes) -> None:
        """Raises ValueError for a seed that is not 32 bytes long."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = _encode(self._key.public_key().public_bytes_raw())
        self.key_id = key_id_of(self.public_key)

    def sign(self, offer: Offer) -> Offer:
        """The same offer with ``keyId`` and ``sig``."""
        sig = _encode(self._key.sign(signed_bytes(offer)))
        return msgspec.structs.replace(offer, key_id=self.key_id, sig=sig)


def is_genuine(offer: Offer, public_key: str) -> bool:
    """Whether the offer was signed with that key; False too for what is no signature or no key at all."""
    try:
        key = Ed25519PublicKey.from_public_bytes(_decode(public_key))
        key.verify(_decode(offer.sig), signed_bytes(offer))
    except (InvalidSignature, ValueError, BadArgument):
        return False
    return offer.key_id == key_id_of(public_key)


def key_id_of(public_key: str) -> str:
    """The short name of a public key: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public_key.encode()).hexdigest()[:16]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
