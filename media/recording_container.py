"""The container of a recording: Matroska (RFC 9559) with one stream of Opus for each voice, written from front to back.

Nothing in it is ever gone back to, so that it can be sealed as it is written. Importing this loads FFmpeg. Read
``VoicesWriter``.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import av

from .relay_sound import BLOCK_BYTES, BLOCK_SAMPLES, SAMPLE_RATE

__all__ = ["VoicesWriter"]

_BIT_RATE: Final = 32_000
_SILENCE: Final = bytes(BLOCK_BYTES)


class _Sink:
    """A file that can only be written to."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take

    def write(self, piece: bytes) -> int:
        self._take(bytes(piece))
        return len(piece)


class VoicesWriter:
    """``peers``: whose voices, one stream each in this order. ``take`` is given the container as it grows."""

    def __init__(self, peers: Sequence[int], take: Callable[[bytes], object]) -> None:
        # A cluster a second: so much is lost when the process ends.
        options = {"live": "1", "cluster_time_limit": "1000", "flush_packets": "1"}
        self._container = av.open(_Sink(take), "w", format="matroska", options=options)
        self._streams = {peer: self._stream(peer) for peer in peers}

    def add(self, n: int, blocks: Mapping[int, bytes]) -> None:
        """Block ``n`` of each; who says nothing is silent, so that all voices stay together."""
        for peer, stream in self._streams.items():
            frame = av.AudioFrame(format="s16", layout="stereo", samples=BLOCK_SAMPLES)
            frame.planes[0].update(blocks.get(peer, _SILENCE))
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, n * BLOCK_SAMPLES, Fraction(1, SAMPLE_RATE)
            self._container.mux(stream.encode(frame))

    def close(self) -> None:
        """The end of all streams."""
        for stream in self._streams.values():
            self._container.mux(stream.encode(None))
        self._container.close()

    def _stream(self, peer: int) -> Any:
        stream: Any = self._container.add_stream("libopus", rate=SAMPLE_RATE, layout="stereo", format="s16")
        stream.bit_rate = _BIT_RATE
        stream.metadata["title"] = f"peer {peer}"
        return stream
