"""What a patient consents to, and what follows when he takes it back.

Live work that goes on is ended from memory first, as when he says so on his phone, and recorded afterwards. This module
must not know how one asks: over the hub or over REST. Read ``ConsentFlow.decide`` first.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

from fitting.consents import SCOPES, consent_refusal
from protocol.contract.base import Refusal
from protocol.contract.sessions import ConsentScope
from signaling.stores.assignments import devices_of
from signaling.stores.decisions import Decision, DecisionStore
from signaling.stores.devices import DeviceStore

__all__ = ["ConsentFlow", "LiveWork"]

_LIVE: Final[ConsentScope] = "live_tuning"
_PACKAGES: Final[ConsentScope] = "standard_delivery"


class LiveWork(Protocol):
    """Live work as far as it is known here without a store."""

    def worn_by(self, clinic: str, patient: str) -> Collection[str]:
        """The devices that the phones of a patient carry now."""
        ...

    def goes_on(self, device: str) -> bool:
        """Whether there is any."""
        ...

    def end(self, device: str) -> None:
        """Have what is worn given back, and end it."""
        ...

    async def look_again(self, device: str) -> None:
        """Take back packages that wait and must not be begun any more. Raises Unavailable."""
        ...


class ConsentFlow:
    """Consents of patients, by clinic, patient and scope."""

    def __init__(self, consents: DecisionStore, devices: DeviceStore) -> None:
        self._consents = consents
        self._devices = devices
        # Told of a patient of a clinic who has taken a consent back.
        self.on_withdrawn: list[Callable[[str, str, str], Awaitable[None]]] = []

    async def refusal(self, device: str, scope: ConsentScope) -> Refusal | None:
        """Why something of this scope may not be done with a device now. Raises Unavailable."""
        record = await self._devices.get(device)
        if record is None:
            return None
        newest = await self._consents.newest(record.clinic, record.patient, scope)
        return None if newest is None else consent_refusal({scope: newest.holds}, scope)

    async def live_refusal(self, device: str) -> Refusal | None:
        """``refusal`` of live work."""
        return await self.refusal(device, _LIVE)

    async def package_refusal(self, author: str, device: str) -> Refusal | None:
        """``refusal`` of packages. What the patient takes back he may always."""
        record = await self._devices.get(device)
        is_own = record is not None and record.patient == author
        return None if is_own else await self.refusal(device, _PACKAGES)

    async def history(self, clinic: str, patient: str) -> dict[ConsentScope, tuple[Decision, ...]]:
        """All that was decided, by scope; every scope is there."""
        made = await self._consents.history(clinic, patient)
        return {scope: tuple(one for one in made if one.subject == scope) for scope in SCOPES}

    async def decide(self, decision: Decision, live: LiveWork, *, seen: int | None = None) -> bool:
        """Record it; False when something newer than ``seen`` (``DecisionStore.decide``) was decided about it.

        Where live work must end it ends before anything is asked of a store, and again when some has begun before the
        decision stood. A withdrawal is recorded even when it is the first word about its scope. Raises Unavailable.
        """
        clinic, patient = decision.clinic, decision.owner
        if decision.subject != _LIVE or decision.holds:
            stands = await self._consents.decide(decision, seen=seen) is not None
            if stands and decision.subject == _PACKAGES and not decision.holds:
                async for device in devices_of(self._devices, clinic, patient):
                    await live.look_again(device)
            if stands and not decision.holds:
                for withdrawn in self.on_withdrawn:
                    await withdrawn(clinic, patient, decision.subject)
            return stands
        worn = live.worn_by(clinic, patient)
        quiet = {device for device in worn if not live.goes_on(device)}
        for device in worn:
            live.end(device)
        others = [device async for device in devices_of(self._devices, clinic, patient) if device not in worn]
        quiet |= {device for device in others if not live.goes_on(device)}
        for device in others:
            live.end(device)
        if await self._consents.decide(decision, seen=seen) is None:
            return False
        for device in filter(live.goes_on, quiet):
            live.end(device)
        return True
