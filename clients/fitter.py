"""Fitting software's side of the hub: take a device, ask for changes, learn what became of them.

Every request returns its answer or the ``Failure`` with which the domain refused it, so that a type
checker makes the caller look at both; only errors of the call itself are raised. A submit whose fate is
unknown, because the link died under it, is sent again with the same idempotency key, so it happens once.
It must not know how an aid works. Read ``Fitter.submit`` and ``Fitter.wait_until`` first. To try it by
hand: ``python -m clients.fitter --help``.
"""

import asyncio
import random
import secrets
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from clients.reconnect import ReconnectPolicy
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
    LeaseAnswer,
)
from protocol.contract.fitting import Base, CheckAnswer, Content, Patch, Submit, SubmitAnswer
from protocol.contract.session import Hello, HelloAnswer
from protocol.contract.sessions import ModeAnswer, SetMode

__all__ = ["VOLATILE_ENDS", "Change", "Fitter", "FitterOptions"]

VOLATILE_ENDS: Final[frozenset[DeliveryState]] = frozenset(
    {
        "confirmed",
        "active",
        "rejected",
        "declined",
        "superseded",
        "expired",
        "cancelled",
        "rolled_back",
        "failed",
    }
)
_RETRY: Final = ReconnectPolicy(base_s=0.2, cap_s=5.0, max_attempts=8)
_Key = tuple[str, str, int]
_UNSETTLED_CODES: Final = frozenset({"unknown_outcome", "unavailable"})


@dataclass(frozen=True, slots=True)
class FitterOptions:
    """``retry``: how a submit of unknown fate is repeated. ``submit_timeout_s``: for all its tries together.
    ``max_tracked``: deliveries whose last state is remembered, oldest forgotten first; of those, the ones
    without an end are asked for after a reconnect.
    """

    retry: ReconnectPolicy = _RETRY
    submit_timeout_s: float = 60.0
    max_tracked: int = 1_024


@dataclass(frozen=True, slots=True)
class Change:
    """What to ask for: a ``patch`` or a whole ``content`` on ``base``, under the lease ``fence``."""

    device: str
    fence: int
    base: Base
    reason: str
    patch: Patch | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    first_fit: bool = False

    def submit(self, key: str) -> Submit:
        """The request; volatile and live, which is what this first slice of the contract offers."""
        return Submit(
            device=self.device,
            kind="volatile",
            mode="advanced",
            base=self.base,
            reason=self.reason,
            idempotency_key=key,
            fence=self.fence,
            origin="first_fit" if self.first_fit else "fitting",
            patch=self.patch,
            content=self.content,
        )


class Fitter:
    """One professional at work. Make it before ``hub.start()``, so that no push is missed."""

    def __init__(
        self,
        hub: HubClient,
        *,
        options: FitterOptions | None = None,
        new_key: Callable[[], str] = lambda: secrets.token_hex(16),
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_delivery: Callable[[DeliveryChanged], None] | None = None,
    ) -> None:
        self._hub = hub
        self._options = options or FitterOptions()
        self._new_key, self._uniform, self._sleep = new_key, uniform, sleep
        self._on_delivery = on_delivery
        self._sessions: dict[str, str] = {}
        self._states: OrderedDict[_Key, DeliveryState] = OrderedDict()
        self._news = asyncio.Event()
        hub.on("DeliveryChanged", self._delivery_changed, DeliveryChanged)
        hub.on_reconnected(self._restore)

    @property
    def tracked(self) -> int:
        """How many deliveries are remembered."""
        return len(self._states)

    async def hello(self, app: str = "auricle-fitter") -> HelloAnswer:
        """Agree on the contract version."""
        return await self._hub.invoke("Hello", Hello(contract=CONTRACT_VERSION, app=app), result=HelloAnswer)

    async def acquire_lease(self, device: str, session: str) -> LeaseAnswer | Failure:
        """Become the one who fits ``device``, or renew; kept up over reconnects. The answer is a snapshot."""
        lease = await self._hub.ask("AcquireLease", AcquireLease(device=device, session=session), answer=LeaseAnswer)
        if isinstance(lease, LeaseAnswer):
            self._sessions[device] = session
        return lease

    async def go_live(self, device: str, fence: int, reason: str = "live fitting") -> ModeAnswer | Failure:
        """Begin live work under a lease: the patient is asked on the phone, which may take a while."""
        request = SetMode(device=device, mode="advanced", reason=reason, fence=fence)
        return await self._hub.ask("SetMode", request, answer=ModeAnswer)

    async def get_device(self, device: str) -> DeviceAnswer:
        """What is worn, what was wanted, what is in the aids. Raises HubCallError ``not_found``."""
        return await self._hub.invoke("GetDevice", DeviceQuery(device=device), result=DeviceAnswer)

    async def check(self, change: Change) -> CheckAnswer | Failure:
        """What ``submit`` would answer now; changes nothing."""
        return await self._hub.ask("Check", change.submit(self._new_key()), answer=CheckAnswer)

    async def submit(self, change: Change) -> SubmitAnswer | Failure:
        """Ask for a change, once, however often the link dies.

        Raises:
            HubCallError: the call itself was wrong.
            ConnectionError, TimeoutError: all tries are used up; what became of the change is not known.
        """
        request = change.submit(self._new_key())
        attempt = 0
        async with asyncio.timeout(self._options.submit_timeout_s):
            while True:
                last = self._options.retry.gives_up(attempt + 1)
                answer = await self._submit_once(request, last=last)
                if isinstance(answer, SubmitAnswer):
                    self._track((request.device, answer.epoch, answer.seq))
                if answer is not None:
                    return answer
                await self._sleep(self._options.retry.delay_s(attempt, self._uniform))
                await self._hub.connected()
                attempt += 1

    async def wait_until(
        self,
        device: str,
        accepted: SubmitAnswer,
        states: Collection[DeliveryState] = VOLATILE_ENDS,
        *,
        timeout_s: float = 30.0,
    ) -> DeliveryState:
        """Wait until a delivery is in one of ``states``, and return it.

        News that was lost with a link is made up for: the server is asked here, and after every reconnect.

        Raises:
            HubCallError: the server did not say, for one because the device is not this fitter's to see.
            TimeoutError: it did not come to that, or the server's log does not hold the delivery any more.
        """
        key = (device, accepted.epoch, accepted.seq)
        self._track(key)
        async with asyncio.timeout(timeout_s):
            if self._state(key) not in states:
                with suppress(ConnectionError, TimeoutError):  # it is asked again after the reconnect
                    await self._catch_up(key)
            while (state := self._state(key)) not in states:
                await self._news.wait()
        return state

    async def _submit_once(self, request: Submit, *, last: bool) -> SubmitAnswer | Failure | None:
        try:
            answer = await self._hub.ask("Submit", request, answer=SubmitAnswer)
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
        for device, session in tuple(self._sessions.items()):
            with suppress(HubCallError):
                await self.acquire_lease(device, session)
        for key in [key for key, state in self._states.items() if state not in VOLATILE_ENDS]:
            with suppress(HubCallError):
                await self._catch_up(key)

    async def _catch_up(self, key: _Key) -> None:
        """Ask the server where a delivery is; one that it does not know stays as it is."""
        device, epoch, seq = key
        known = self._state(key)
        query = DeliveryQuery(device=device, epoch=epoch, seq=seq)
        answer = await self._hub.ask("GetDelivery", query, answer=DeliveryAnswer)
        # News that came meanwhile may be newer than the answer, and what is newer than the news will be told.
        if isinstance(answer, DeliveryAnswer) and self._state(key) == known:
            self._settle(key, answer.state)

    def _state(self, key: _Key) -> DeliveryState:
        return self._states.get(key, "accepted")

    def _track(self, key: _Key) -> None:
        # The news of a delivery may overtake the answer that names it.
        self._states.setdefault(key, "accepted")
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        if len(self._states) > self._options.max_tracked:
            self._states.popitem(last=False)

    def _delivery_changed(self, change: DeliveryChanged) -> None:
        if change.ear is UNSET:
            self._settle((change.device, change.epoch, change.seq), change.state)
        if self._on_delivery is not None:
            self._on_delivery(change)

    def _settle(self, key: _Key, state: DeliveryState) -> None:
        self._states[key] = state
        self._states.move_to_end(key)
        self._forget_oldest()
        self._news.set()
        self._news.clear()


if __name__ == "__main__":
    from clients.by_hand import run_fitter

    sys.exit(run_fitter())
