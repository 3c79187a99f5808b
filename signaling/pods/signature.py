"""How pods know each other: every request and every answer is signed with a key that only they have. Pure.

A pod numbers what it asks. Connections overtake each other, so a number is good once within a window behind the
highest; what was kept back until nobody remembers its sender is known by its date. An answer is signed together with
the request that it answers, so that none can be put in the place of another. Read ``Verifier.verify`` first.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ANY_POD", "STREAM", "Asked", "Refused", "Signer", "Verifier", "digest_of", "sign_answer"]

# To whoever listens at the address.
ANY_POD: Final = "*"
# In the place of a body's digest: it is not known yet when the head is signed.
STREAM: Final = "stream"
PREFIX: Final = "auricle-"
SIGNATURE: Final = "Auricle-Signature"
# Beside those that begin with PREFIX: what changes what a request means.
_SIGNED: Final = frozenset(
    {"authorization", "content-encoding", "upgrade", "sec-websocket-key", "sec-websocket-version"}
)
WINDOW: Final = 4_096
MAX_SENDERS: Final = 4_096

Refused = Literal["forged", "misdirected", "replayed", "stale", "unreadable"]
Fields = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the pod ``sender`` to a pod, or ANY_POD; ``digest`` of its body, or STREAM.

    ``signature`` is what its answer is bound to.
    """

    sender: str
    to: str
    digest: str
    signature: str


def digest_of(body: bytes) -> str:
    """A body as signatures have it."""
    return hashlib.sha256(body).hexdigest()


def sign_answer(key: bytes, signature: str, status: int, digest: str) -> str:
    """The signature of an answer to the request that has ``signature``."""
    return _tag(key, "answer", signature, str(status), digest)


class Signer:
    """Signs what ``pod`` asks of others. ``clock`` gives Unix seconds."""

    def __init__(self, key: bytes, *, pod: str, clock: Callable[[], float]) -> None:
        self._key = key
        self._pod = pod
        self._clock = clock
        self._number = 0

    def sign(self, method: str, target: str, fields: dict[str, str], *, to: str, digest: str) -> dict[str, str]:
        """``fields`` with who asks whom, when, and the signature over all that counts."""
        self._number += 1
        signed = fields | {
            "Auricle-From": self._pod,
            "Auricle-To": to,
            "Auricle-At": f"{self._clock():.3f}",
            "Auricle-Number": str(self._number),
            "Auricle-Body": digest,
        }
        return signed | {SIGNATURE: _tag(self._key, *_words(method, target, signed.items()))}

    def is_answer(self, tag: str, signature: str, status: int, digest: str) -> bool:
        """Whether one who has the key has answered so."""
        expected = sign_answer(self._key, signature, status, digest)
        return tag.isascii() and hmac.compare_digest(tag, expected)


class Verifier:
    """Knows what was asked of ``pod``. ``skew_s``: by how much dates may differ from ``clock``."""

    def __init__(self, key: bytes, *, pod: str, skew_s: float, clock: Callable[[], float]) -> None:
        self._key = key
        self._pod = pod
        self._skew_s = skew_s
        self._clock = clock
        # Of each sender the highest number, and which of those below it have come, as bits.
        self._senders: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def verify(self, method: str, target: str, fields: Fields) -> Asked | Refused:
        """Who asks, or why nobody does. A request is good once."""
        given = list(fields)
        found = {name.lower(): value for name, value in given}
        signature = found.get(SIGNATURE.lower(), "")
        if not signature.isascii() or not hmac.compare_digest(
            signature, _tag(self._key, *_words(method, target, given))
        ):
            return "forged"
        try:
            sender, to, digest = found["auricle-from"], found["auricle-to"], found["auricle-body"]
            at_s, number = float(found["auricle-at"]), int(found["auricle-number"])
        except (KeyError, ValueError):
            return "unreadable"
        if number < 1:
            return "unreadable"
        if to not in (self._pod, ANY_POD):
            return "misdirected"
        if not abs(self._clock() - at_s) <= self._skew_s:
            return "stale"
        return Asked(sender, to, digest, signature) if self._is_new(sender, number) else "replayed"

    def sign(self, signature: str, status: int, digest: str) -> str:
        """The signature of an answer of ours."""
        return sign_answer(self._key, signature, status, digest)

    def _is_new(self, sender: str, number: int) -> bool:
        highest, seen = self._senders.get(sender, (0, 0))
        if number > highest:
            seen = ((seen << (number - highest)) | 1) & ((1 << WINDOW) - 1) if number - highest < WINDOW else 1
            highest = number
        else:
            bit = 1 << (highest - number) if 0 <= highest - number < WINDOW else 0
            if not bit or seen & bit:
                return False
            seen |= bit
        self._senders[sender] = highest, seen
        self._senders.move_to_end(sender)
        if len(self._senders) > MAX_SENDERS:
            self._senders.popitem(last=False)
        return True


def _words(method: str, target: str, fields: Fields) -> list[str]:
    counted = sorted(
        (name.lower(), value)
        for name, value in fields
        if name.lower() in _SIGNED or (name.lower().startswith(PREFIX) and name.lower() != SIGNATURE.lower())
    )
    return [method, target, *(word for pair in counted for word in pair)]


def _tag(key: bytes, *words: str) -> str:
    # Of each word the length first, so that no two lists of words are the same bytes.
    parts = [word.encode("utf-8", "surrogateescape") for word in words]
    return hmac.digest(key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256").hex()
