"""Keeps the leases of one fitter: renews them by itself, asks for them again on a new link, and tells when one is lost.

One task for each device that is held, ended with the lease or with the hub client. What is lost when is decided in
``held_lease``. It must not know what a lease is for. Read ``LeaseKeeper.keep`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from clients.held_lease import LOST_CODES, HeldLease, renewed, restored
from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import AcquireLease, LeaseAnswer
from protocol.contract.sessions import Done, Hold, LeaseLost, LeaseRenewed, ReleaseLease
from protocol.errors import AuricleError

__all__ = ["LeaseKeeper", "LeaseTimes"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """``renew_every_s``: between two renewals, and how long one of them may take. A lease lives three times as long."""

    renew_every_s: float = 5.0


class LeaseKeeper:
    """``on_lost`` is called once for each lease that ends otherwise than by ``drop``; it must not raise. ``on_watched``
    is called when a device whose lease could not be asked for at once is told of again.
    """

    def __init__(
        self,
        hub: HubClient,
        *,
        times: LeaseTimes,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        on_lost: Callable[[LeaseLost], None],
        on_watched: Callable[[], Awaitable[None]],
    ) -> None:
        self._hub, self._times, self._clock, self._sleep = hub, times, clock, sleep
        self._on_lost, self._on_watched = on_lost, on_watched
        self._held: dict[str, HeldLease] = {}
        self._unwatched: set[str] = set()
        self._renewing: dict[str, asyncio.Task[None]] = {}
        hub.on_closed(self._end)

    def get(self, device: str) -> HeldLease | None:
        """The lease of a device, None when it is not held."""
        return self._held.get(device)

    def keep(self, device: str, session: str, granted: LeaseAnswer, *, asked_at_s: float) -> None:
        """Renew this lease from now on."""
        self._held[device] = HeldLease(device, session, granted.fence, asked_at_s, granted.lease_for_ms / 1_000)
        if device not in self._renewing:
            self._renewing[device] = asyncio.get_running_loop().create_task(self._keep_up(device))

    def drop(self, device: str) -> None:
        """It was given back."""
        self._held.pop(device, None)
        self._unwatched.discard(device)
        task = self._renewing.pop(device, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def told(self, message: LeaseLost) -> None:
        """The server tells everybody who watches; whether this fitter is the one who has lost it, it is asked."""
        lease = self._held.get(message.device)
        if lease is not None:
            await self._renew(lease, news=message)

    async def restore(self) -> None:
        """On a new link: watch every device that was held, and see whether it still is."""
        for lease in tuple(self._held.values()):
            await self._restore(lease)

    async def _restore(self, lease: HeldLease) -> None:
        request = AcquireLease(device=lease.device, session=lease.session)
        asked_at_s = self._clock()
        answer = await self._asked("AcquireLease", request, LeaseAnswer)
        if answer is None:
            self._unwatched.add(lease.device)
        else:
            self._unwatched.discard(lease.device)
        if isinstance(answer, LeaseAnswer) and answer.fence != lease.fence:
            # Nobody has asked for a new session: the next one who wants the device must not wait for it.
            unwanted = ReleaseLease(device=lease.device, session=lease.session, fence=answer.fence)
            await self._asked("ReleaseLease", unwanted, Done)
        self._settle(lease, restored(lease, answer, asked_at_s=asked_at_s, now_s=self._clock()))

    async def _keep_up(self, device: str) -> None:
        while True:
            await self._sleep(self._times.renew_every_s)
            lease = self._held.get(device)
            if lease is None:
                continue
            if device not in self._unwatched:
                await self._renew(lease)
                continue
            await self._restore(lease)
            if device not in self._unwatched:
                await self._on_watched()

    async def _renew(self, lease: HeldLease, *, news: LeaseLost | None = None) -> None:
        hold = Hold(device=lease.device, session=lease.session, fence=lease.fence)
        asked_at_s = self._clock()
        answer = await self._asked("RenewLease", hold, LeaseRenewed)
        self._settle(lease, renewed(lease, answer, asked_at_s=asked_at_s, now_s=self._clock()), news=news)

    async def _asked(self, target: str, payload: object, answer: type[T]) -> T | Failure | None:
        """The answer, None when there was none that counts."""
        try:
            async with asyncio.timeout(self._times.renew_every_s):
                found: T | Failure = await self._hub.ask(target, payload, answer=answer)
        except HubCallError as error:
            refusal = Refusal(code=error.code, message=error.message)
            found = Failure(error=refusal, errors=(refusal,))
        except (ConnectionError, TimeoutError, AuricleError):
            return None
        return None if isinstance(found, Failure) and found.error.code not in LOST_CODES else found

    def _settle(self, lease: HeldLease, outcome: HeldLease | LeaseLost, *, news: LeaseLost | None = None) -> None:
        if self._held.get(lease.device) is not lease:
            return  # while the server was asked it was given back, or taken anew
        if isinstance(outcome, HeldLease):
            self._held[lease.device] = outcome
            return
        self.drop(lease.device)
        self._on_lost(news or outcome)

    async def _end(self) -> None:
        self._held.clear()
        tasks = [task for task in self._renewing.values() if task is not asyncio.current_task()]
        self._renewing.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
