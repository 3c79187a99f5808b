"""Synthetic sound for calls: a sine that never stops, so that the other end has something to decode."""

import math
import struct
from typing import cast

from aiortc.mediastreams import AudioStreamTrack
from av import AudioFrame

__all__ = ["ToneTrack"]

_AMPLITUDE = 8_000


class ToneTrack(AudioStreamTrack):
    """``frequency_hz`` at a quarter of full scale, 16 bits, one channel, 20 ms a frame."""

    def __init__(self, frequency_hz: float) -> None:
        super().__init__()
        self._frequency_hz = frequency_hz
        self._sample = 0

    async def recv(self) -> AudioFrame:
        """The next frame, when it is due."""
        frame = cast("AudioFrame", await super().recv())
        step = 2 * math.pi * self._frequency_hz / frame.sample_rate
        values = [round(_AMPLITUDE * math.sin(step * (self._sample + n))) for n in range(frame.samples)]
        self._sample += frame.samples
        frame.planes[0].update(struct.pack(f"<{frame.samples}h", *values))
        return frame
