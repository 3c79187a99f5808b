"""What can go wrong with an aid, as switches and as errors with the codes that a phone reports.

Must not know what a phone makes of a fault. Read ``Faults`` first.
"""

from dataclasses import dataclass
from typing import ClassVar

from protocol.errors import AuricleError

__all__ = [
    "AidError",
    "AidRebooted",
    "AidRefused",
    "BatteryLow",
    "CommitFailed",
    "Faults",
    "LinkLost",
    "LinkUnavailable",
]


@dataclass(frozen=True, slots=True)
class Faults:
    """Switches of one aid. Chunks count from 0 (before the first byte) to 8 (all written, not acknowledged).

    Those that name a chunk or count something are used up as they strike. ``time_scale`` multiplies every
    delay of the capability sheet, 0 for none; ``slow_link`` does so for writes to RAM alone.
    """

    drop_link_after_chunk: int | None = None
    reboot_after_chunk: int | None = None
    corrupt_digest: int = 0
    """How many of the next writes leave one value wrong, so that the digest read back differs."""
    refuse_connects: int = 0
    """How many of the next attempts to connect fail: the aid is out of range."""
    nvm_verify_fails: bool = False
    wrong_serial: bool = False
    battery_percent: int = 80
    time_scale: float = 1.0
    slow_link: float = 1.0


class AidError(AuricleError):
    """An operation on an aid failed; ``code`` is what the phone reports."""

    code: ClassVar[str] = "E_TIMEOUT"


class LinkUnavailable(AidError):
    """There is no link to the aid: not one byte of this operation has reached it."""

    code = "E_BLE_BEFORE"


class LinkLost(AidError):
    """The link ended within a write: nobody knows what the aid holds until it is read back."""

    code = "E_BLE_DURING"


class AidRebooted(AidError):
    """The aid restarted: its RAM is a copy of its NVM again."""

    code = "E_REBOOT"


class CommitFailed(AidError):
    """NVM did not read back as written; it holds what it held before."""

    code = "E_NVM"


class BatteryLow(AidError):
    """Too little charge for a commit."""

    code = "E_BATTERY"


class AidRefused(AidError):
    """The values are outside what this aid can do; nothing was written."""

    code = "E_CAPABILITY"
