"""Registered devices: a pair of aids, the patient who wears it, and what is on file of him.

``DeviceStore`` is the port. Knows nothing of what is in the aids, that is the device log's, nor who may
touch them, that is in ``assignments``.
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

__all__ = ["DeviceRecord", "DeviceStore", "MemoryDeviceStore", "OnFile"]


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """One registered device of one clinic, and what is on file for its patient.

    ``audiogram``, ``loudness_ddb``, ``max_stable_gain_ddb`` and ``red_flags`` are what ``fitting.safety_change`` calls
    so. Every field after ``aids`` has a default: records that were stored before it was there are read as having it.
    ``assignments`` are those that it was registered with; what became of them is in ``assignments.Assignments``.
    ``version`` rises by one with each change of what is on file; by whom, why and when (Unix seconds) is that change's.
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
    version: int = 1
    changed_by: str = ""
    changed_because: str = ""
    changed_at_s: float = 0.0


class OnFile(Protocol):
    """What is on file of devices, for whoever judges by it."""

    async def get(self, device: str) -> DeviceRecord | None:
        """A device, None when it is unknown."""
        ...


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

    async def change(self, record: DeviceRecord) -> bool:
        """Store the next version of a record; False when the one that is there is not the version before it."""
        ...

    async def of_patient(self, clinic: str, patient: str, limit: int, *, after: str = "") -> tuple[str, ...]:
        """The devices of a patient of a clinic by their ids, those behind ``after``, at most ``limit``."""
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

    async def change(self, record: DeviceRecord) -> bool:
        """See ``DeviceStore``."""
        before = self._records.get(record.device)
        if before is None or before.version != record.version - 1:
            return False
        self._records[record.device] = record
        return True

    async def of_patient(self, clinic: str, patient: str, limit: int, *, after: str = "") -> tuple[str, ...]:
        """See ``DeviceStore``."""
        mine = (one.device for one in self._records.values() if (one.clinic, one.patient) == (clinic, patient))
        return tuple(sorted(device for device in mine if device > after)[:limit])
