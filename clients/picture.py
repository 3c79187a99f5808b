"""Synthetic pictures for calls: a bar that moves, small and slow, so that the other end has something to decode."""

import numpy as np
from aiortc.mediastreams import VideoStreamTrack
from av import VideoFrame

__all__ = ["PictureTrack"]

_WIDTH, _HEIGHT = 160, 120
_BAR_WIDTH = 16
_GREY, _WHITE = 96, 235
# aiortc's clock ticks 30 times a second.
_TICKS_PER_FRAME = 3


class PictureTrack(VideoStreamTrack):
    """160 by 120, ten a second."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def recv(self) -> VideoFrame:
        """The next picture, when it is due."""
        for _ in range(_TICKS_PER_FRAME):
            pts, time_base = await self.next_timestamp()
        luma = np.full((_HEIGHT, _WIDTH), _GREY, np.uint8)
        left = self._count * 4 % (_WIDTH - _BAR_WIDTH)
        luma[:, left : left + _BAR_WIDTH] = _WHITE
        self._count += 1
        colourless = np.full((_HEIGHT // 2, _WIDTH), 128, np.uint8)
        frame = VideoFrame.from_ndarray(np.vstack((luma, colourless)), format="yuv420p")
        frame.pts, frame.time_base = pts, time_base
        return frame
