"""The audiograms of a device's wearer: each is put on file once, never changed, and the newest one counts.

``AudiogramStore`` is the port. What came with the registration stands before all others. Knows nothing of what follows
from a threshold. Read ``AudiogramStore.add`` first, then ``NewestOnFile``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from fitting.audiogram import Audiogram
from protocol.contract.audiograms import AudiogramMethod, AudiogramSource
from protocol.errors import AuricleError, Overloaded

from .devices import DeviceRecord, DeviceStore

__all__ = [
    "REGISTERED",
    "AudiogramRecord",
    "AudiogramStore",
    "MemoryAudiogramStore",
    "NewestOnFile",
    "OlderAudiogram",
    "registered_audiogram",
    "require_newer",
]

# The id of what came with the device; every other id is made by the server and is longer.
REGISTERED: Final = "registered"


class OlderAudiogram(AuricleError):
    """The one that counts was measured later: an old one must not take its place unnoticed."""

    code = "older_audiogram"


@dataclass(frozen=True, slots=True)
class AudiogramRecord:
    """One audiogram on file. ``number`` counts per device from 1; what came with the registration has 0.

    ``measured_on``: ``YYYY-MM-DD``, empty when nobody said. ``recorded_at_s``: Unix time, None when that is not known.
    ``method``: ``in_situ`` when the aids themselves made the tones.
    """

    device: str
    audiogram_id: str
    source: AudiogramSource
    audiogram: Audiogram
    number: int = 0
    recorded_by: str = ""
    recorded_at_s: float | None = None
    measured_on: str = ""
    method: AudiogramMethod = "clinical"


class AudiogramStore(Protocol):
    """Audiograms by device. Every call is atomic."""

    async def add(self, record: AudiogramRecord) -> AudiogramRecord:
        """Put it on file as the newest and return it with its number; the ``number`` that it brings is not looked at.

        An id that the device has already is answered with what stands under it, and nothing changes.

        Raises:
            OlderAudiogram: one that is on file was measured on a later day.
            Overloaded: the device has as many as it may have.
        """
        ...

    async def newest(self, device: str) -> AudiogramRecord | None:
        """The one that counts, None when none was put on file."""
        ...

    async def get(self, device: str, audiogram_id: str) -> AudiogramRecord | None:
        """One of a device, None when there is none under that id."""
        ...

    async def page(self, device: str, *, before: int | None, limit: int) -> tuple[AudiogramRecord, ...]:
        """Newest first, those with a number under ``before``, ``limit`` at most."""
        ...


def require_newer(record: AudiogramRecord, newest_day: str) -> None:
    """Raises OlderAudiogram when something was measured later; ``newest_day`` is empty when that is not known."""
    if "" < record.measured_on < newest_day:
        raise OlderAudiogram("an audiogram that was measured later is on file: put older ones on file first")


def registered_audiogram(record: DeviceRecord) -> AudiogramRecord | None:
    """What came with a device, None when nothing did."""
    if record.audiogram is None:
        return None
    return AudiogramRecord(record.device, REGISTERED, "registration", record.audiogram)


class MemoryAudiogramStore:
    """Audiograms of one process, at most ``max_audiograms`` of a device; ``reached`` is told when there are so many."""

    def __init__(self, *, max_audiograms: int, reached: Callable[[str], None]) -> None:
        self._max_audiograms = max_audiograms
        self._reached = reached
        self._records: dict[str, list[AudiogramRecord]] = {}

    async def add(self, record: AudiogramRecord) -> AudiogramRecord:
        """See ``AudiogramStore``."""
        known = await self.get(record.device, record.audiogram_id)
        if known is not None:
            return known
        records = self._records.get(record.device, [])
        require_newer(record, max((one.measured_on for one in records), default=""))
        if len(records) >= self._max_audiograms:
            self._reached("max_audiograms")
            raise Overloaded("no more audiograms can be put on file for this device")
        added = replace(record, number=len(records) + 1)
        self._records[record.device] = [*records, added]
        return added

    async def newest(self, device: str) -> AudiogramRecord | None:
        """See ``AudiogramStore``."""
        records = self._records.get(device)
        return records[-1] if records else None

    async def get(self, device: str, audiogram_id: str) -> AudiogramRecord | None:
        """See ``AudiogramStore``."""
        return next((one for one in self._records.get(device, ()) if one.audiogram_id == audiogram_id), None)

    async def page(self, device: str, *, before: int | None, limit: int) -> tuple[AudiogramRecord, ...]:
        """See ``AudiogramStore``."""
        newest_first = reversed(self._records.get(device, ()))
        return tuple(one for one in newest_first if before is None or one.number < before)[:limit]


class NewestOnFile:
    """``OnFile`` for whoever judges a change: ``audiogram`` is the one that counts now."""

    def __init__(self, devices: DeviceStore, audiograms: AudiogramStore) -> None:
        self._devices = devices
        self._audiograms = audiograms

    async def get(self, device: str) -> DeviceRecord | None:
        """See ``OnFile``."""
        record = await self._devices.get(device)
        if record is None:
            return None
        newest = await self._audiograms.newest(device)
        return record if newest is None else replace(record, audiogram=newest.audiogram)
