"""Phones that attach, many at once: so many of them as can be served, while the others are told when to come back.

A phone whose aids hold what nobody has saved goes first: its wearer is in the middle of something. Must not know how a
phone is attached. Read ``Arrivals.__call__``.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import AttachDevice
from signaling.admission import Gate

__all__ = ["Arrivals"]

_FULL: Final = "more phones attach than can be served: attach later"


class Arrivals:
    """Stands before ``AttachDevice``."""

    def __init__(self, gate: Gate, monotonic: Callable[[], float]) -> None:
        self._gate = gate
        self._monotonic = monotonic

    async def __call__(self, claim: AttachDevice, attach: Callable[[], Awaitable[object]]) -> object:
        """What attaching comes to, or the refusal of a phone for which there is no room now."""
        after_s = self._gate.enter(is_urgent=claim.trial)
        if after_s is not None:
            after_ms = int(after_s * 1_000)
            full = Refusal(code="overloaded", message=_FULL, retryable=True, retry_after_ms=after_ms)
            return Failure(error=full, errors=(full,))
        began_s = self._monotonic()
        try:
            return await attach()
        finally:
            self._gate.leave(self._monotonic() - began_s)
