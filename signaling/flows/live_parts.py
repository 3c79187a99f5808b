"""What everything about live work is made with, beside what it is for."""

from dataclasses import dataclass

from fitting.log import DeviceLog
from fitting.mode import ModeLimits, SessionTimes
from signaling.flows.endings import Endings
from signaling.flows.far_phones import FarPhones
from signaling.flows.phones import Phones
from signaling.flows.watch import Watch

__all__ = ["LiveParts"]


@dataclass(frozen=True, slots=True)
class LiveParts:
    """``watched`` are the sessions that this pod knows of, by device."""

    watched: dict[str, Watch]
    log: DeviceLog
    phones: Phones
    far: FarPhones
    ends: Endings
    limits: ModeLimits
    times: SessionTimes
