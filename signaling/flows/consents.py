"""What a patient consents to, and what follows when he takes it back.

Live work that goes on is ended from memory first, as when he says so on his phone, and recorded afterwards. This module
must not know how one asks: over the hub or over REST. Read ``ConsentFlow.decide`` first.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from fitting.consents import SCOPES, consent_refusal
from protocol.contract.base import Refusal
from protocol.contract.sessions import ConsentScope
from signaling.stores.assignments import devices_of
from signaling.stores.decisions import Decision, DecisionStore
from signaling.stores.devices import DeviceStore

__all__ = ["ConsentFlow"]

_LIVE: Final[ConsentScope] = "live_tuning"
_PACKAGES: Final[ConsentScope] = "standard_delivery"


class ConsentFlow:
    """Consents of patients, by clinic, patient and scope."""

    def __init__(self, consents: DecisionStore, devices: DeviceStore) -> None:
        self._consents = consents
        self._devices = devices

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

    async def decide(
        self,
        decision: Decision,
        *,
        end_live: Callable[[str], object],
        goes_on: Callable[[str], bool],
        look_again: Callable[[str], Awaitable[None]],
        seen: int | None = None,
    ) -> bool:
        """Record it; False when something newer than ``seen`` (``DecisionStore.decide``) was decided about it.

        ``end_live`` is told each device of the patient when live work must end, and again when ``goes_on`` says that
        some has begun before the decision stood. ``look_again`` is told each when packages that wait must not be begun
        any more. A withdrawal is recorded even when it is the first word about its scope.
        """
        devices: list[str] = []
        if decision.subject == _LIVE and not decision.holds:
            devices = [device async for device in devices_of(self._devices, decision.clinic, decision.owner)]
        were_quiet = [device for device in devices if not goes_on(device)]
        for device in devices:
            end_live(device)
        if await self._consents.decide(decision, seen=seen) is None:
            return False
        for device in filter(goes_on, were_quiet):
            end_live(device)
        if decision.subject == _PACKAGES and not decision.holds:
            async for device in devices_of(self._devices, decision.clinic, decision.owner):
                await look_again(device)
        return True
