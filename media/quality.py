"""What the numbers of a link mean for people who talk over it, and what they may do about it.

Thresholds are those of ITU-T G.114 (a one-way delay above 400 ms is unacceptable, 150 ms is hardly noticed) and of
common practice for Opus (loss up to some 3 % is concealed, above 10 % words are lost). This module must not know where
the numbers come from. Read ``judge``.
"""

from dataclasses import dataclass
from typing import Final

from protocol.contract.calls import Advice, Grade

__all__ = ["LinkNumbers", "judge"]

_GOOD_RTT_MS: Final = 300
_BAD_RTT_MS: Final = 800
_GOOD_LOSS_PERMILLE: Final = 30
_BAD_LOSS_PERMILLE: Final = 100
_BAD_JITTER_MS: Final = 50
# Below it lips cannot be read.
_GOOD_FRAMES_PER_S: Final = 10


@dataclass(frozen=True, slots=True)
class LinkNumbers:
    """``rtt_ms``: there and back, None while it is not known. ``loss_permille``: of a thousand packets. ``jitter_ms``:
    mean deviation of the time between packets (RFC 3550, 6.4.1). ``frames_per_s``: of video that was decoded, None
    without video. ``may_use_tcp``: packets go over UDP, and might go over TCP instead.
    """

    rtt_ms: int | None
    loss_permille: int
    jitter_ms: int
    has_audio: bool
    has_video: bool
    frames_per_s: int | None = None
    may_use_tcp: bool = False


def judge(link: LinkNumbers) -> tuple[Grade, tuple[Advice, ...]]:
    """How good it is to talk over, and what would help, the most helpful first."""
    if not link.has_audio:
        return "bad", ("check_microphone",)
    rtt_ms, advice = link.rtt_ms or 0, list[Advice]()
    if link.loss_permille > _BAD_LOSS_PERMILLE:
        advice.append("audio_only" if link.has_video else _another_way(link))
    elif link.loss_permille > _GOOD_LOSS_PERMILLE:
        advice.append("lower_video" if link.has_video else "better_network")
    elif link.frames_per_s is not None and link.frames_per_s < _GOOD_FRAMES_PER_S:
        advice.append("lower_video")
    if link.jitter_ms > _BAD_JITTER_MS and "better_network" not in advice:
        advice.append("better_network")
    is_bad = link.loss_permille > _BAD_LOSS_PERMILLE or rtt_ms > _BAD_RTT_MS
    if rtt_ms > _BAD_RTT_MS or (is_bad and not link.has_video):
        # Whoever says stop must be heard at once.
        advice.append("no_live_tuning")
    if is_bad:
        return "bad", tuple(advice)
    return ("fair" if advice or rtt_ms > _GOOD_RTT_MS else "good"), tuple(advice)


def _another_way(link: LinkNumbers) -> Advice:
    """Networks that throttle UDP often leave TCP alone."""
    return "turn_tcp" if link.may_use_tcp else "better_network"
