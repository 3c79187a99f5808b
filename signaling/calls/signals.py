"""What one connection says to the peers of its call, on its way out: not too much of it, and in an order that works.

A candidate is of no use to an end that has no description of its sender yet, so it is held until there is one. Knows
neither the call nor where signals go. Read ``Signals.hold`` first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.contract.calls import SendSignal

__all__ = ["SignalLimits", "Signals"]


@dataclass(frozen=True, slots=True)
class SignalLimits:
    """``max_candidates`` of one negotiation. ``max_signals``: at once; in the long run one every ``signal_every_s``."""

    max_candidates: int
    max_signals: int
    signal_every_s: float


@dataclass(slots=True)
class _Towards:
    """What was said to one peer since the last description."""

    is_described: bool = False
    candidates: int = 0
    held: list[SendSignal] = field(default_factory=list)


class Signals:
    """The signals of one connection in one call. ``now_s`` is any time that only rises."""

    def __init__(self, limits: SignalLimits, reached: Callable[[str], None], now_s: float) -> None:
        self._limits = limits
        self._reached = reached
        self._towards: dict[int, _Towards] = {}
        self._left = float(limits.max_signals)
        self._at_s = now_s

    def admits(self, now_s: float) -> bool:
        """Whether one more may be sent now."""
        limits = self._limits
        self._left = min(limits.max_signals, self._left + (now_s - self._at_s) / limits.signal_every_s)
        self._at_s = now_s
        if self._left < 1:
            self._reached("max_signals")
            return False
        self._left -= 1
        return True

    def described(self, to: int) -> list[SendSignal]:
        """A description goes to this peer: the candidates that were held for it may go now, behind it."""
        towards = self._towards.setdefault(to, _Towards())
        held, towards.held = towards.held, []
        towards.is_described, towards.candidates = True, len(held)
        return held

    def hold(self, signal: SendSignal) -> bool | None:
        """Whether this candidate must wait for a description; None: there are too many."""
        towards = self._towards.setdefault(signal.to, _Towards())
        if towards.candidates >= self._limits.max_candidates:
            self._reached("max_candidates")
            return None
        towards.candidates += 1
        if towards.is_described:
            return False
        towards.held.append(signal)
        return True

    def anew(self, peer: int) -> None:
        """That peer has another connection, and knows nothing of what was said to the one before."""
        self._towards.pop(peer, None)
