"""How often and how long Azure Communication Services are asked: in turn, within the quota, not while they are away.

A request that must wait waits here, in the order in which it came, as long as its caller is patient; so a crowd is
slowed down and not refused. What fails five times in a row is left alone for a while. Read ``Gate.admit``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from media.acs import Reason, Trouble
from media.acs_quota import Slots
from signaling.push_breaker import Breaker, Happening, State, step, wait_s

__all__ = ["Gate", "GateLimits"]

T = TypeVar("T")
# A held service answers again after its pause; a try that comes too early would be refused, and counted.
_MARGIN_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class GateLimits:
    """``timeout_s``: one request. ``patience_s``: for its turn. ``max_waiting``: for theirs, at a time."""

    timeout_s: float
    patience_s: float
    max_waiting: int


class Gate:
    """One kind of requests. ``translate`` makes a ``Trouble`` of what the SDK raises, None for what is a bug."""

    def __init__(
        self,
        slots: Slots,
        limits: GateLimits,
        *,
        translate: Callable[[BaseException], Trouble | None],
        monotonic: Callable[[], float],
        reached: Callable[[str], None],
        counted: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._slots = slots
        self._limits = limits
        self._translate = translate
        self._monotonic = monotonic
        self._reached = reached
        self._counted = counted
        self._sleep = sleep
        self._breaker = Breaker()
        self._waiting = 0

    async def admit(self, make: Callable[[], Awaitable[T]], *, until_s: float | None = None) -> T:
        """Have ``make`` carried out when it is its turn; again when the service was busy. Raises Trouble."""
        until_s = self._monotonic() + self._limits.patience_s if until_s is None else until_s
        while True:
            await self._turn(until_s)
            try:
                found = await self._attempt(make)
            except Trouble as trouble:
                self._counted(trouble.reason)
                if trouble.reason is not Reason.THROTTLED:
                    raise
                self._slots.hold(self._monotonic(), trouble.retry_after_s + _MARGIN_S)
            else:
                self._counted("done")
                return found

    async def _turn(self, until_s: float) -> None:
        """Wait for it. Raises Trouble when it would come too late, or too many wait."""
        now_s = self._monotonic()
        pause_s = wait_s(self._breaker, now_s)
        if pause_s:
            raise Trouble(Reason.AWAY, pause_s)
        if self._waiting >= self._limits.max_waiting:
            self._reached("max_acs_waiting")
            raise Trouble(Reason.BUSY, 1.0)
        self._waiting += 1
        try:
            at_s = self._reserve(until_s)
            while at_s > self._monotonic():
                await self._sleep(at_s - self._monotonic())
                if self._slots.is_held(self._monotonic()):
                    # It was refused to somebody who was before us.
                    at_s = self._reserve(until_s)
        finally:
            self._waiting -= 1

    def _reserve(self, until_s: float) -> float:
        now_s = self._monotonic()
        at_s = self._slots.when(now_s)
        if at_s > until_s:
            self._reached("acs_patience_s")
            raise Trouble(Reason.THROTTLED, at_s - now_s)
        if at_s > now_s and not self._slots.is_held(now_s):
            self._reached("max_acs_tokens")
        return self._slots.reserve(now_s)

    async def _attempt(self, make: Callable[[], Awaitable[T]]) -> T:
        """One request, and what it says of the service."""
        if self._breaker.state is State.OPEN:
            self._step(Happening.TIME_UP)
        happening = Happening.GIVEN_UP
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                found = await make()
            happening = Happening.ANSWERED
            return found
        except TimeoutError:
            happening = Happening.FAILED
            self._reached("acs_timeout_s")
            raise Trouble(Reason.SLOW, 1.0) from None
        except Exception as error:
            trouble = self._translate(error)
            if trouble is None:
                raise
            happening = Happening.FAILED if trouble.reason is Reason.AWAY else Happening.ANSWERED
            # What the service has said may quote what it was asked.
            raise trouble from None
        finally:
            self._step(happening)

    def _step(self, happening: Happening) -> None:
        self._breaker = step(self._breaker, happening, now_s=self._monotonic())
