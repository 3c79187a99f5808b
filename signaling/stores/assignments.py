"""Who may fit a device, and how people stand to devices and patients: ``policy.Grants`` over what is stored.

A device is registered with those who may fit it, and decisions follow: the newest about a person counts. Whoever was
named in a registration of before there were decisions is assigned until one says otherwise. This module must not know
what anybody is allowed to do: that is in the tables of rules. Read ``Assignments.holds`` first.
"""

from collections.abc import AsyncIterator
from typing import Final

from signaling.auth import Principal
from signaling.policy import Relation

from .decisions import Decision, DecisionStore, standing
from .devices import DeviceRecord, DeviceStore

__all__ = ["DEVICES_PAGE", "Assignments", "DeviceGrants", "PatientGrants", "devices_of"]

# Hardly anybody has had more; those of who has are asked for in several steps.
DEVICES_PAGE: Final = 20


class Assignments:
    """The professionals of each device."""

    def __init__(self, decisions: DecisionStore) -> None:
        self.decisions = decisions

    async def holds(self, record: DeviceRecord, person: str) -> bool:
        """Whether the person is assigned to the device now."""
        decision = await self.decisions.newest(record.clinic, record.device, person)
        return person in record.assignments if decision is None else decision.holds

    async def of(self, record: DeviceRecord) -> dict[str, Decision | None]:
        """Everybody who is assigned now, by id, with the decision that says so; None: since the registration."""
        newest = standing(await self.decisions.history(record.clinic, record.device))
        found: dict[str, Decision | None] = {person: one for person, one in newest.items() if one.holds}
        found |= {person: None for person in record.assignments if person not in newest}
        return dict(sorted(found.items()))

    async def seed(self, record: DeviceRecord, *, by: str, role: str, at_s: float) -> None:
        """Record who was assigned with the registration; done twice it does nothing, whatever was decided since."""
        for person in sorted(record.assignments):
            await self.decisions.begin(
                Decision(record.clinic, record.device, person, True, by, role, "registered", at_s)
            )


class DeviceGrants:
    """``policy.Grants`` over the registered devices."""

    def __init__(self, devices: DeviceStore, assignments: Assignments) -> None:
        self._devices = devices
        self._assignments = assignments

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """Whether the caller is assigned to the device, it is the caller's own, or one of his clinic."""
        record = await self._devices.get(object_id)
        if record is None or record.clinic != principal.clinic:
            return False
        if relation is Relation.OWN:
            return record.patient == principal.user
        if relation is Relation.ASSIGNED:
            return await self._assignments.holds(record, principal.user)
        return relation is Relation.CLINIC


class PatientGrants:
    """``policy.Grants`` over patients, who are known by the devices that they wear.

    Everything about a patient is kept under the clinic of whoever asks, so there is none of another clinic.
    """

    def __init__(self, devices: DeviceStore, assignments: Assignments) -> None:
        self._devices = devices
        self._assignments = assignments

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """Whether the caller is the patient, or is assigned to one of his devices; all are of the caller's clinic."""
        if relation is Relation.OWN:
            return principal.user == object_id
        if relation is not Relation.ASSIGNED:
            return relation is Relation.CLINIC
        async for device in devices_of(self._devices, principal.clinic, object_id):
            record = await self._devices.get(device)
            if record is not None and await self._assignments.holds(record, principal.user):
                return True
        return False


async def devices_of(devices: DeviceStore, clinic: str, patient: str) -> AsyncIterator[str]:
    """Every device that was ever registered for a patient of a clinic. Raises Unavailable."""
    found: tuple[str, ...] = ("",)
    while found:
        found = await devices.of_patient(clinic, patient, DEVICES_PAGE, after=found[-1])
        for device in found:
            yield device
