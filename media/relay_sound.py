"""Sound on its way through the server: blocks of 20 ms, each listener hears the sum of all others.

Blocks are 960 samples of 48 kHz, two channels, 16 bits, as Opus gives and takes them. This module must not know where
they come from or go to. Read ``Sound`` and ``mixed``.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

__all__ = ["BLOCK_BYTES", "BLOCK_S", "BLOCK_SAMPLES", "SAMPLE_RATE", "Sound", "is_loud", "mixed"]

SAMPLE_RATE: Final = 48_000
BLOCK_SAMPLES: Final = 960
BLOCK_S: Final = BLOCK_SAMPLES / SAMPLE_RATE
BLOCK_BYTES: Final = BLOCK_SAMPLES * 4
_SILENCE: Final = bytes(BLOCK_BYTES)
# Some -30 dB of full scale: speech, not breath.
_LOUD: Final = 1_000
# What is held back so that packets which come unevenly leave no holes.
_HELD_BLOCKS: Final = 2


class Sound:
    """What one person says and nobody has taken yet: at most ``max_lag_s``, the newest of it.

    ``late`` is told when there was more.
    """

    def __init__(self, max_lag_s: float, late: Callable[[], None]) -> None:
        self._max_bytes = max(_HELD_BLOCKS + 1, round(max_lag_s / BLOCK_S)) * BLOCK_BYTES
        self._late = late
        self._waiting = bytearray()
        self._is_filling = True

    def add(self, samples: bytes) -> None:
        """More of it. When it comes faster than it is taken, as after a stall, the oldest is left out."""
        self._waiting += samples
        if len(self._waiting) > self._max_bytes:
            self._late()
            del self._waiting[: len(self._waiting) - _HELD_BLOCKS * BLOCK_BYTES]

    def skip(self, blocks: int) -> None:
        """Nobody has taken so many blocks in time: they are late now."""
        if blocks > 0:
            del self._waiting[: max(0, min(blocks * BLOCK_BYTES, len(self._waiting) - _HELD_BLOCKS * BLOCK_BYTES))]

    def take(self) -> bytes | None:
        """The next block, None when it has not come."""
        if self._is_filling and len(self._waiting) < _HELD_BLOCKS * BLOCK_BYTES:
            return None
        self._is_filling = len(self._waiting) < BLOCK_BYTES
        if self._is_filling:
            return None
        block = bytes(self._waiting[:BLOCK_BYTES])
        del self._waiting[:BLOCK_BYTES]
        return block


def mixed(blocks: Iterable[bytes]) -> bytes:
    """The sum of blocks, cut off at full scale; silence when there are none."""
    first, *more = [*blocks] or [_SILENCE]
    if not more:
        return first
    total = sum(np.frombuffer(block, np.int16).astype(np.int32) for block in (first, *more))
    return np.clip(total, -32_768, 32_767).astype(np.int16).tobytes()


def is_loud(block: bytes) -> bool:
    """Whether somebody speaks in it."""
    return bool(np.abs(np.frombuffer(block, np.int16).astype(np.int32)).max() > _LOUD)
