"""What a case consists of: steps in order, each with what it must bring about, so that steps can be left out.

It must not know what is fuzzed. Read ``Step`` first.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Meaning", "Step", "Wrong", "chunks", "damage"]


class Wrong(Exception):
    """The subject did what it must not do."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the oracle is to think of some bytes: ``what`` happened, and the ``number`` or ``detail`` that goes with it.

    No meaning at all: damaged bytes, which may be anything.
    """

    what: str
    number: int = 0
    detail: object = None


@dataclass(frozen=True, slots=True)
class Step:
    """``do``: ``data`` arrives, ``tick`` (``seconds`` have passed), or a word that the subject knows."""

    do: str
    data: bytes = b""
    meaning: Meaning | None = None
    seconds: float = 0.0


MAX_CHUNKS: Final = 6


def chunks(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """``data`` in a few pieces, as a network might bring it; now and then byte by byte."""
    if len(data) < 200 and rng.random() < 0.1:
        yield from (data[at : at + 1] for at in range(len(data)))
        return
    places = sorted(rng.randint(0, len(data)) for _ in range(rng.randrange(MAX_CHUNKS)))
    start = 0
    for place in [*places, len(data)]:
        if place > start:
            yield data[start:place]
            start = place


def damage(data: bytes, rng: random.Random) -> bytes:
    """``data`` with a few bytes changed, lost, doubled, moved or added."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randint(0, len(damaged))
        size = rng.choice((1, 1, 2, 4, 16))
        match rng.randrange(6):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[at : at + size]
            case 2:
                damaged[at:at] = damaged[at : at + size]
            case 3:
                damaged[at:at] = rng.randbytes(size)
            case 4:
                damaged[at : at + 1] = rng.choice(INTERESTING)
            case _:
                del damaged[at:]
    return bytes(damaged)


INTERESTING: Final = (
    *(bytes((byte,)) for byte in b'\x00\x1e"[]{}:,\\0123456789-+eE.\x7f\x80\x81\x90\x91\xa0\xc0\xc1\xd9\xff'),
    *(b"null", b"NaN", b"1e999", b"\\ud800", b'"type":', b'"__proto__"', b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\x7f\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\xff",
        b"\xd6\xff",
    ),
    *(b"\xff\xff\xff\xff\x08", b"\x80\x80\x80\x80\x80", b"\x89\x00", b"\x88\x82", b"\x81\xff", b"\x81\xfe"),
)
