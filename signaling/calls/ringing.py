"""A call for a patient whose phone sleeps: the phone is woken, and rings when it comes in time.

The push is a pointer and nothing else; what rings is told over the hub, by the pod that had it rung, once the phone is
attached anywhere. Whoever has declined, answered elsewhere or been called in vain is not woken any more. Read
``RingingPhones._look`` first.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from fitting.push import Gone, Later, PushNote, PushNotifier
from media.call import Call
from media.telling import Ring, told
from protocol.contract.calls import IncomingCall
from protocol.errors import Unavailable
from signaling.calls.registry import CallRegistry
from signaling.flows.onlookers import PhonesAnywhere
from signaling.flows.phones import Phones
from signaling.stores.push_tokens import PushTokens
from signaling.stores.visits import VisitStore
from signaling.tasks import TaskSet

__all__ = ["RingingParts", "RingingPhones"]


@dataclass(frozen=True, slots=True)
class RingingParts:
    """``max_ringing``: phones that are waited for. ``secret`` keeps what a push points to from telling anything.

    ``now_s`` gives Unix seconds.
    """

    registry: CallRegistry
    visits: VisitStore
    anywhere: PhonesAnywhere
    phones: Phones
    tokens: PushTokens
    notifier: PushNotifier
    secret: bytes
    tasks: TaskSet
    max_ringing: int
    now_s: Callable[[], float]
    reached: Callable[[str], None]


@dataclass(slots=True)
class _Sleeper:
    """Somebody who is rung. ``device``: whose phone sleeps, None before that is known. ``push_at_s``: when it is to be
    woken, None: no more.
    """

    call: Call
    user: str
    until_s: float
    push_at_s: float | None
    device: str | None = None
    is_looked_at: bool = False


class RingingPhones:
    """The phones that this pod has had rung and that were not there."""

    def __init__(self, parts: RingingParts) -> None:
        self._parts = parts
        self._sleepers: dict[tuple[str, str], _Sleeper] = {}

    def made(self, before: Call | None, after: Call) -> None:
        """A call has become another here: whoever is rung by that may have to be woken."""
        for one in told(before, after):
            if isinstance(one, Ring):
                self._ring(after, one)

    async def sweep(self) -> None:
        """Look at all that still ring."""
        for sleeper in tuple(self._sleepers.values()):
            await self._look(sleeper)

    def _ring(self, call: Call, ring: Ring) -> None:
        if len(self._sleepers) >= self._parts.max_ringing:
            self._parts.reached("max_ringing_phones")
            return
        sleeper = _Sleeper(call, ring.user, ring.until_s, push_at_s=self._parts.now_s())
        self._sleepers[call.call_id, ring.user] = sleeper
        self._parts.tasks.spawn(self._look(sleeper))

    async def _look(self, sleeper: _Sleeper) -> None:
        """Whether it still rings, and then whether its phone is there by now."""
        if sleeper.is_looked_at:
            return
        sleeper.is_looked_at = True
        try:
            # With the database away it is looked at again.
            with suppress(Unavailable):
                if not await self._is_waited_for(sleeper):
                    self._sleepers.pop((sleeper.call.call_id, sleeper.user), None)
        finally:
            sleeper.is_looked_at = False

    async def _is_waited_for(self, sleeper: _Sleeper) -> bool:
        parts = self._parts
        if not await self._rings(sleeper):
            return False
        if sleeper.device is None:
            visit = await parts.visits.get(sleeper.call.visit)
            # Of nobody else is it known how he could be woken; and whose phone is there has heard it.
            if visit is None or visit.patient != sleeper.user or await parts.anywhere.is_known_attached(visit.device):
                return False
            sleeper.device = visit.device
        elif await parts.anywhere.is_known_attached(sleeper.device):
            parts.phones.relay(sleeper.device, self._incoming(sleeper))
            return False
        if sleeper.push_at_s is not None and parts.now_s() >= sleeper.push_at_s:
            await self._push(sleeper, sleeper.device)
        return True

    async def _rings(self, sleeper: _Sleeper) -> bool:
        if self._parts.now_s() >= sleeper.until_s:
            return False
        call = await self._parts.registry.get(sleeper.call.visit)
        if call is None or call.call_id != sleeper.call.call_id:
            return False
        number = call.peer_of(sleeper.user)
        return number is not None and call.legs[number].state == "ringing"

    async def _push(self, sleeper: _Sleeper, device: str) -> None:
        parts, sleeper.push_at_s = self._parts, None
        target = await parts.tokens.get(device)
        # What is late is of no use: it must not ring after the call.
        left_s = int(sleeper.until_s - parts.now_s())
        if target is None or left_s <= 0:
            return
        note = PushNote("call", self._opaque("pointer", sleeper), self._opaque("call", sleeper), left_s)
        outcome = await parts.notifier.send(target, note)
        if isinstance(outcome, Gone):
            await parts.tokens.park(device, target, parts.now_s())
        elif isinstance(outcome, Later):
            sleeper.push_at_s = parts.now_s() + outcome.retry_after_s

    def _incoming(self, sleeper: _Sleeper) -> IncomingCall:
        call, left_s = sleeper.call, sleeper.until_s - self._parts.now_s()
        return IncomingCall(
            visit=call.visit,
            call_id=call.call_id,
            caller=call.legs[0].user,
            media=call.media,
            ring_for_ms=max(0, round(left_s * 1_000)),
        )

    def _opaque(self, what: str, sleeper: _Sleeper) -> str:
        """The same for the same call, and nothing to anybody who does not have the secret."""
        named = f"call {what} {sleeper.call.call_id} {sleeper.user}".encode("utf-8", "surrogatepass")
        return (
            base64.urlsafe_b64encode(hmac.digest(self._parts.secret, named, hashlib.sha256)[:16]).decode().rstrip("=")
        )
