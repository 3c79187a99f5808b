"""Sliders on a live device: moves go in as fast as the hand, patches come out as the aids can take them.

``coalescing`` decides what is sent when; this sends it on the newest revision, waits for its end, and tells how it
ended. A move that was refused or rolled back is told, never tried again by itself. It must not know a screen. Read
``LiveEdits.move`` first, then ``run``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec import UNSET

from clients.coalescing import Moves, Pace
from clients.fitter import Change, Fitter
from protocol.contract.base import Failure
from protocol.contract.devices import DeliveryState
from protocol.contract.fitting import Base, Patch, SubmitAnswer
from protocol.errors import NotFound

__all__ = ["Edited", "LiveEdits"]


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of one patch: refused, or accepted and ended as ``state``; None: it had no end in time."""

    patch: Patch
    answer: SubmitAnswer | Failure
    state: DeliveryState | None = None


class LiveEdits:
    """The edits of one device under the lease ``fence``. ``base`` is the revision that the sliders show.

    ``on_edited`` is called for every patch, in order. ``end_s``: how long the end of a patch is waited for before the
    next one is sent.
    """

    def __init__(
        self,
        fitter: Fitter,
        device: str,
        fence: int,
        base: Base,
        *,
        reason: str = "live fitting",
        pace: Pace | None = None,
        end_s: float = 30.0,
        on_edited: Callable[[Edited], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fitter, self._device, self._fence, self._reason = fitter, device, fence, reason
        self._base: Base | None = base
        self._end_s, self._on_edited = end_s, on_edited or (lambda _: None)
        self._clock, self._sleep = clock, sleep
        self._moves = Moves(pace or Pace())
        self._poke, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    def move(self, patch: Patch) -> None:
        """A slider has moved. Raises BadArgument for what cannot be added, Overloaded when too much waits."""
        self._moves = self._moves.moved(patch, self._clock())
        self._idle.clear()
        self._poke.set()

    async def idle(self) -> None:
        """Wait until nothing waits and nothing is on its way."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send what is due, until cancelled. Raises what ``Fitter.submit`` raises."""
        while True:
            due_s = self._moves.due_s
            if due_s is None:
                self._idle.set()
                await self._poke.wait()
                self._poke.clear()
                continue
            wait_s = due_s - self._clock()
            if wait_s > 0:
                await self._sleep(wait_s)
                continue
            patch, self._moves = self._moves.taken(self._clock())
            if patch is None:
                continue
            try:
                self._on_edited(await self._send(patch))
            finally:
                self._moves = self._moves.settled()

    async def _send(self, patch: Patch) -> Edited:
        base = self._base or await self._newest()
        answer = await self._fitter.submit(Change(self._device, self._fence, base, self._reason, patch=patch))
        if isinstance(answer, Failure):
            self._base = None if answer.error.code == "base_mismatch" else base
            return Edited(patch, answer)
        try:
            state = await self._fitter.wait_until(self._device, answer, timeout_s=self._end_s)
        except TimeoutError:
            state = None
        digests = answer.digests
        accepted = Base(revision=answer.revision_id, left=digests.left, right=digests.right)
        # What did not come about is not the newest revision any more.
        self._base = accepted if state == "confirmed" else None
        return Edited(patch, answer, state)

    async def _newest(self) -> Base:
        device = await self._fitter.get_device(self._device)
        if device.head is UNSET:
            raise NotFound("the device has no revision any more")
        return Base(revision=device.head.revision, left=device.head.digests.left, right=device.head.digests.right)
