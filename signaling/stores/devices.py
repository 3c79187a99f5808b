"""Registered devices: a pair of aids, the patient who wears it, the professionals who may fit it.

``DeviceStore`` is the port. Knows nothing of what is in the aids: that is the device log's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from fitting.audiogram import Audiogram
from fitting.budgets import Place
from fitting.model import PerBand
from protocol.contract.base import Ear
from protocol.contract.devices import RegisteredAid
from protocol.errors import Overloaded
from signaling.auth import Principal
from signaling.policy import Relation

__all__ = ["DeviceGrants", "DeviceRecord", "DeviceStore", "MemoryDeviceStore"]


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """One registered device of one clinic, and what is on file for its patient.

    ``audiogram``, ``loudness_ddb``, ``max_stable_gain_ddb`` and ``red_flags`` are what ``fitting.safety_change`` calls
    so. Every field after ``aids`` has a default: records that were stored before it was there are read as having it.
    """

    device: str
    clinic: str
    patient: str
    assignments: frozenset[str]
    aids: Mapping[Ear, RegisteredAid]
    audiogram: Audiogram | None = None
    loudness_ddb: Mapping[Ear, PerBand] = field(default_factory=lambda: MappingProxyType({}))
    max_stable_gain_ddb: Mapping[Place, PerBand] = field(default_factory=lambda: MappingProxyType({}))
    red_flags: bool = False


class DeviceStore(Protocol):
    """Registered devices by id. Every call is atomic."""

    async def register(self, record: DeviceRecord) -> bool:
        """Store a new device; False when the id is taken, and nothing changes.

        Raises:
            Overloaded: the store is full.
        """
        ...

    async def get(self, device: str) -> DeviceRecord | None:
        """A device, None when it is unknown."""
        ...


class MemoryDeviceStore:
    """Devices of one process, at most ``max_devices``; ``reached`` is told when there are so many."""

    def __init__(self, *, max_devices: int, reached: Callable[[str], None]) -> None:
        self._max_devices = max_devices
        self._reached = reached
        self._records: dict[str, DeviceRecord] = {}

    async def register(self, record: DeviceRecord) -> bool:
        """See ``DeviceStore``."""
        if record.device in self._records:
            return False
        if len(self._records) >= self._max_devices:
            self._reached("max_devices")
            raise Overloaded("no more devices can be registered")
        self._records[record.device] = record
        return True

    async def get(self, device: str) -> DeviceRecord | None:
        """See ``DeviceStore``."""
        return self._records.get(device)


class DeviceGrants:
    """``policy.Grants`` over the registered devices."""

    def __init__(self, devices: DeviceStore) -> None:
        self._devices = devices

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        """Whether the caller is assigned to the device, or it is the caller's own."""
        record = await self._devices.get(object_id)
        if record is None or record.clinic != principal.clinic:
            return False
        if relation is Relation.OWN:
            return record.patient == principal.user
        return relation is Relation.ASSIGNED and principal.user in record.assignments
