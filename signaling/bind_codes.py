"""The codes that bind a phone: eight characters that can be read out and typed without being mistaken.

Only a keyed hash of one is ever kept, and whether one fits is found out in the same time for every answer. Randomness
is an argument. This module must not know where codes are kept. Read ``new_code`` first.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Final

from signaling.stores.bindings import BindCode

__all__ = ["ALPHABET", "CODE_CHARS", "hash_of", "matching", "new_code", "typed"]

# Without 0 O, 1 I L, 2 Z, 5 S, 8 B and U V, which are taken for each other on paper and on the telephone.
ALPHABET: Final = "34679ACDEFGHJKMNPQRTWXY"
CODE_CHARS: Final = 8
_FAIR: Final = 256 - 256 % len(ALPHABET)


def new_code(randomness: Callable[[int], bytes]) -> str:
    """A code; each character is as likely as any other. ``randomness`` gives that many unpredictable bytes."""
    code = ""
    while len(code) < CODE_CHARS:
        # A byte from the incomplete rest of its range would make the first letters likelier.
        code += "".join(ALPHABET[byte % len(ALPHABET)] for byte in randomness(CODE_CHARS) if byte < _FAIR)
    return code[:CODE_CHARS]


def typed(text: str) -> str | None:
    """The code that somebody has typed, in any case, with spaces or hyphens; None for what cannot be one."""
    code = "".join(text.replace("-", " ").split()).upper()
    return code if len(code) == CODE_CHARS and set(code) <= set(ALPHABET) else None


def hash_of(key: bytes, clinic: str, code: str) -> bytes:
    """What is kept of a code: SHA-256 with a key, so that the few possible codes cannot be tried on what is kept."""
    return hmac.digest(key, f"{clinic}\0{code}".encode(), hashlib.sha256)


def matching(code_hash: bytes, live: Iterable[BindCode]) -> BindCode | None:
    """The live code of this hash. All are compared to the end, so that the time tells nothing."""
    found = None
    for one in live:
        if hmac.compare_digest(one.code_hash, code_hash):
            found = one
    return found
