"""Fitting software's side of the hub: take a device and keep it, ask for changes, learn what became of them.

Every request returns its answer or the ``Failure`` with which the domain refused it, so that a type
checker makes the caller look at both; only errors of the call itself are raised. A submit whose fate is
unknown, because the link died under it, is sent again with the same idempotency key, so it happens once.
A lease is renewed by itself until it is given back or lost. Sliders are ``live_edits``. It must not know how an aid
works. Read ``Fitter.submit`` and ``Fitter.wait_until`` first. To try it by hand: ``python -m clients.fitter --help``.
"""

import asyncio
import random
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from msgspec import UNSET

from clients.change import Change
from clients.delivery_states import PERSIST_ENDS, VOLATILE_ENDS, DeliveryKey, DeliveryStates
from clients.hub_client import HubClient
from clients.hub_errors import HubCallError, HubOverloaded
from clients.lease_keeper import LeaseKeeper, LeaseTimes
from clients.reconnect import ReconnectPolicy
from clients.token_keeper import keep_token
from protocol.contract import CONTRACT_VERSION
from protocol.contract.base import Failure
from protocol.contract.devices import (
    AcquireLease,
    DeliveryAnswer,
    DeliveryChanged,
    DeliveryQuery,
    DeliveryState,
    DeviceAnswer,
    DeviceQuery,
    InAidChanged,
    LeaseAnswer,
)
from protocol.contract.fitting import CheckAnswer, Digests, Submit, SubmitAnswer
from protocol.contract.history import (
    Compare,
    CompareAnswer,
    GetHistory,
    GetRevision,
    HistoryAnswer,
    HistoryEvent,
    RevisionAnswer,
    WatchDevice,
)
from protocol.contract.packages import PackageAnswered
from protocol.contract.session import Hello, HelloAnswer
from protocol.contract.sessions import (
    Cancel,
    DeviceChanged,
    DeviceHeld,
    Done,
    ExpectedDigests,
    LeaseLost,
    ModeAnswer,
    ModeChanged,
    Relayed,
    ReleaseLease,
    Revert,
    Save,
    SetMode,
    StealLease,
)

__all__ = ["PERSIST_ENDS", "VOLATILE_ENDS", "Change", "Fitter", "FitterNews", "FitterOptions"]

T = TypeVar("T")
_RETRY: Final = ReconnectPolicy(base_s=0.2, cap_s=5.0, max_attempts=8)
_UNSETTLED_CODES: Final = frozenset({"unknown_outcome", "unavailable"})
FitterNews: TypeAlias = LeaseLost | ModeChanged | InAidChanged | DeviceChanged | PackageAnswered


@dataclass(frozen=True, slots=True)
class FitterOptions:
    """``retry``: how a submit of unknown fate is repeated. ``submit_timeout_s``: for all its tries together.
    ``max_tracked``: deliveries whose last state is remembered, oldest forgotten first; of those, the ones
    without an end are asked for after a reconnect. ``lease``: how leases are kept.
    """

    retry: ReconnectPolicy = _RETRY
    submit_timeout_s: float = 60.0
    max_tracked: int = 1_024
    lease: LeaseTimes = field(default_factory=LeaseTimes)


class Fitter:
    """One professional at work. Make it before ``hub.start()``, so that no push is missed.

    ``on_delivery`` hears every step of every change of a device that is or was held, ``on_news`` everything else: a
    ``ModeChanged`` has its ``reason``, and at an end the ``draft``, for ``revision``. What they raise is counted.
    """

    def __init__(
        self,
        hub: HubClient,
        *,
        options: FitterOptions | None = None,
        new_key: Callable[[], str] = lambda: secrets.token_hex(16),
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        on_delivery: Callable[[DeliveryChanged], None] | None = None,
        on_news: Callable[[FitterNews], None] | None = None,
    ) -> None:
        self._hub = hub
        self._options = options or FitterOptions()
        self._new_key, self._uniform, self._sleep, self._clock = new_key, uniform, sleep, clock
        self._on_delivery, self._on_news = on_delivery, on_news or (lambda _: None)
        self._states = DeliveryStates(self._options.max_tracked)
        self._leases = LeaseKeeper(
            hub,
            times=self._options.lease,
            clock=clock,
            sleep=sleep,
            on_lost=self._on_news,
            on_watched=self._catch_up_all,
        )
        hub.on("DeliveryChanged", self._delivery_changed, DeliveryChanged)
        hub.on("LeaseLost", self._leases.told, LeaseLost)
        hub.on("ModeChanged", self._on_news, ModeChanged)
        hub.on("InAidChanged", self._on_news, InAidChanged)
        hub.on("DeviceChanged", self._on_news, DeviceChanged)
        hub.on("PackageAnswered", self._on_news, PackageAnswered)
        hub.on_reconnected(self._restore)
        keep_token(hub)

    @property
    def tracked(self) -> int:
        """How many deliveries are remembered."""
        return len(self._states)

    def fence_of(self, device: str) -> int | None:
        """The fence of the lease on a device, None when it is not held."""
        lease = self._leases.get(device)
        return None if lease is None else lease.fence

    async def hello(self, app: str = "auricle-fitter") -> HelloAnswer:
        """Agree on the contract version."""
        return await self._hub.invoke("Hello", Hello(contract=CONTRACT_VERSION, app=app), result=HelloAnswer)

    # The lease and the live session

    async def acquire_lease(self, device: str, session: str) -> LeaseAnswer | Failure:
        """Become the one who fits ``device``, until ``release`` or the news that it is lost."""
        return await self._take("AcquireLease", AcquireLease(device=device, session=session))

    async def steal(self, device: str, session: str, reason: str) -> LeaseAnswer | Failure:
        """Take the device from whoever holds it, who is told the reason."""
        request = StealLease(device=device, session=session, reason=reason, idempotency_key=self._new_key())
        return await self._take("StealLease", request)

    async def release(self, device: str, session: str, fence: int, *, discard: bool = False) -> Done | Failure:
        """Give the device back. What was tried and not saved is refused, unless ``discard`` says it may be lost."""
        request = ReleaseLease(device=device, session=session, fence=fence, discard=discard)
        answer = await self._hub.ask("ReleaseLease", request, answer=Done)
        if isinstance(answer, Done):
            self._leases.drop(device)
        return answer

    async def go_live(self, device: str, fence: int, reason: str = "live fitting") -> ModeAnswer | Failure:
        """Begin live work under a lease: the patient is asked on the phone, which may take a while."""
        request = SetMode(device=device, mode="advanced", reason=reason, fence=fence)
        return await self._hub.ask("SetMode", request, answer=ModeAnswer)

    async def leave(
        self, device: str, fence: int, *, discard: bool = False, reason: str = "live fitting is over"
    ) -> ModeAnswer | Failure:
        """End live work; the lease stays. ``discard`` as in ``release``."""
        request = SetMode(device=device, mode="standard", reason=reason, fence=fence, discard=discard)
        return await self._hub.ask("SetMode", request, answer=ModeAnswer)

    async def revert(self, device: str, fence: int) -> Relayed | Failure:
        """Back to what the session began with, on both ears; the session goes on."""
        return await self._relay("Revert", Revert(device=device, fence=fence, idempotency_key=self._new_key()))

    async def undo(self, device: str) -> Relayed | Failure:
        """As ``revert``, for whoever may quieten the aids: it needs no lease."""
        return await self._relay("Undo", Revert(device=device, idempotency_key=self._new_key()))

    async def stop(self, device: str) -> Relayed | Failure:
        """As ``undo``, and live work ends."""
        return await self._relay("Stop", Revert(device=device, idempotency_key=self._new_key()))

    async def read_back(self, device: str) -> Relayed | Failure:
        """Have both aids read now; what they hold is news."""
        return await self._relay("ReadBack", DeviceHeld(device=device))

    # Changes

    async def check(self, change: Change) -> CheckAnswer | Failure:
        """What ``submit`` would answer now; changes nothing."""
        return await self._hub.ask("Check", change.submit(self._new_key()), answer=CheckAnswer)

    async def submit(self, change: Change) -> SubmitAnswer | Failure:
        """Ask for a change, live or as a package, once, however often the link dies.

        Raises:
            HubCallError: the call itself was wrong.
            ConnectionError, TimeoutError: all tries are used up; what became of the change is not known.
        """
        return await self._once("Submit", change.submit(self._new_key()), persist=change.package)

    async def save(self, device: str, fence: int, expect: Digests, reason: str = "saved") -> SubmitAnswer | Failure:
        """Have both aids keep what they hold in RAM, which must be what ``expect`` names; raises as ``submit``.

        It ends as ``active`` when both were read to hold it in NVM, and in neither when one does not keep it.
        """
        request = Save(
            device=device,
            fence=fence,
            expect=ExpectedDigests(left=expect.left, right=expect.right),
            reason=reason,
            idempotency_key=self._new_key(),
        )
        return await self._once("Save", request, persist=True)

    async def cancel(self, device: str, accepted: SubmitAnswer) -> DeliveryAnswer | Failure:
        """Take a change back that has not begun."""
        request = Cancel(device=device, epoch=accepted.epoch, seq=accepted.seq)
        return await self._hub.ask("Cancel", request, answer=DeliveryAnswer)

    async def wait_until(
        self,
        device: str,
        accepted: SubmitAnswer,
        states: Collection[DeliveryState] | None = None,
        *,
        timeout_s: float = 30.0,
    ) -> DeliveryState:
        """Wait until a delivery is in one of ``states``, by default at its end, and return it.

        News that was lost with a link is made up for: the server is asked here, and after every reconnect.

        Raises:
            HubCallError: the server did not say, for one because the device is not this fitter's to see.
            TimeoutError: it did not come to that, or the server's log does not hold the delivery any more.
        """
        key = (device, accepted.epoch, accepted.seq)
        self._states.track(key)
        wanted = self._states.ends(key) if states is None else states
        async with asyncio.timeout(timeout_s):
            if self._states[key] not in wanted:
                with suppress(ConnectionError, TimeoutError):  # it is asked again after the reconnect
                    await self._catch_up(key)
            return await self._states.reached(key, wanted)

    # What is, and what was

    async def get_device(self, device: str) -> DeviceAnswer:
        """What is worn, what was wanted, what is in the aids. Raises HubCallError ``not_found``."""
        return await self._hub.invoke("GetDevice", DeviceQuery(device=device), result=DeviceAnswer)

    async def history(self, device: str, *, before: str | None = None, limit: int = 20) -> HistoryAnswer | Failure:
        """Who changed what by how many dB, newest first; ``before`` is the ``next`` of the page before."""
        request = GetHistory(device=device, before=UNSET if before is None else before, limit=limit)
        return await self._hub.ask("GetHistory", request, answer=HistoryAnswer)

    async def revision(self, device: str, revision: str) -> RevisionAnswer | Failure:
        """One revision with its content. To go back to it: ``Change.revision``."""
        request = GetRevision(device=device, revision=revision)
        return await self._hub.ask("GetRevision", request, answer=RevisionAnswer)

    async def compare(self, device: str, base: str, wanted: str, *, aid: bool = False) -> CompareAnswer | Failure:
        """What revision ``wanted`` changes of ``base``; with ``aid`` also what the aids hold beside them."""
        request = Compare(device=device, base=base, wanted=wanted, aid=aid)
        return await self._hub.ask("CompareRevisions", request, answer=CompareAnswer)

    async def watch(self, device: str, after: int = 0) -> AsyncGenerator[HistoryEvent, None]:
        """The recorded events of a device after number ``after``, then new ones as they come, for ever.

        It goes on over reconnects, each event once. Leave it with ``contextlib.aclosing``. Raises HubCallError, and
        NotConnected when the client is closed.
        """
        attempt = 0
        while True:
            request = WatchDevice(device=device, after=after)
            try:
                async with aclosing(self._hub.stream("WatchDevice", request, item=HistoryEvent)) as events:
                    async for event in events:
                        attempt, after = 0, event.n
                        yield event
            except (ConnectionError, HubOverloaded):
                await self._hub.connected()
            # A server that ends the stream, or cannot begin it, is not asked again at once.
            await self._sleep(self._options.retry.delay_s(attempt, self._uniform))
            attempt += 1

    # Within

    async def _take(self, target: str, request: AcquireLease | StealLease) -> LeaseAnswer | Failure:
        asked_at_s = self._clock()
        lease = await self._hub.ask(target, request, answer=LeaseAnswer)
        if isinstance(lease, LeaseAnswer):
            self._leases.keep(request.device, request.session, lease, asked_at_s=asked_at_s)
        return lease

    async def _relay(self, target: str, request: Revert | DeviceHeld) -> Relayed | Failure:
        return await self._hub.ask(target, request, answer=Relayed)

    async def _once(self, target: str, request: Submit | Save, *, persist: bool) -> SubmitAnswer | Failure:
        """Ask again until it is known what became of it; the key of the request sees to it that it happens once."""
        attempt = 0
        async with asyncio.timeout(self._options.submit_timeout_s):
            while True:
                last = self._options.retry.gives_up(attempt + 1)
                answer = await self._try(target, request, last=last)
                if isinstance(answer, SubmitAnswer):
                    self._states.track((request.device, answer.epoch, answer.seq), persist=persist)
                if answer is not None:
                    return answer
                await self._sleep(self._options.retry.delay_s(attempt, self._uniform))
                await self._hub.connected()
                attempt += 1

    async def _try(self, target: str, request: Submit | Save, *, last: bool) -> SubmitAnswer | Failure | None:
        try:
            answer = await self._hub.ask(target, request, answer=SubmitAnswer)
        except (ConnectionError, TimeoutError):
            if last:
                raise
            return None
        except HubCallError as error:
            if last or error.code not in _UNSETTLED_CODES:
                raise
            return None
        unsettled = isinstance(answer, Failure) and answer.error.code in _UNSETTLED_CODES
        return None if unsettled and not last else answer

    async def _restore(self) -> None:
        await self.hello()
        # A lease makes the server tell of a device, so it comes before the question what was missed. A device that
        # is refused now keeps no other from its turn.
        await self._leases.restore()
        await self._catch_up_all()

    async def _catch_up_all(self) -> None:
        for key in self._states.without_end():
            with suppress(HubCallError, ConnectionError, TimeoutError):  # a new link asks again
                await self._catch_up(key)

    async def _catch_up(self, key: DeliveryKey) -> None:
        """Ask the server where a delivery is; one that it does not know stays as it is."""
        device, epoch, seq = key
        known = self._states[key]
        query = DeliveryQuery(device=device, epoch=epoch, seq=seq)
        answer = await self._hub.ask("GetDelivery", query, answer=DeliveryAnswer)
        # News that came meanwhile may be newer than the answer, and what is newer than the news will be told.
        if isinstance(answer, DeliveryAnswer) and self._states[key] == known:
            self._states.settle(key, answer.state)

    def _delivery_changed(self, change: DeliveryChanged) -> None:
        if change.ear is UNSET:
            self._states.settle((change.device, change.epoch, change.seq), change.state)
        if self._on_delivery is not None:
            self._on_delivery(change)


if __name__ == "__main__":
    from clients.by_hand import run_fitter

    sys.exit(run_fitter())
