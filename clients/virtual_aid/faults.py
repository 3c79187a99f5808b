"""What can go wrong with a virtual aid, as switches. Must not know what a phone makes of a fault."""

from dataclasses import dataclass

__all__ = ["Faults"]


@dataclass(frozen=True, slots=True)
class Faults:
    """Switches of one aid. Chunks count from 0 (before the first byte) to 8 (all written, not acknowledged).

    Those that name a chunk or count something are used up as they strike. ``time_scale`` multiplies every
    delay of the capability sheet, 0 for none; ``slow_link`` does so for writes to RAM alone.
    """

    drop_link_after_chunk: int | None = None
    reboot_after_chunk: int | None = None
    drop_link_in_commit: int | None = None
    """The link goes after that chunk of a copy to NVM: before the 8th it is lost, at the 8th it is made."""
    corrupt_digest: int = 0
    """How many of the next writes leave one value wrong, so that the digest read back differs."""
    lie_readback: int = 0
    """How many of the next readings of RAM tell one value wrong, whatever RAM holds."""
    refuse_connects: int = 0
    """How many of the next attempts to connect fail: the aid is out of range."""
    nvm_failures: int = 0
    """How many of the next copies to NVM do not verify, and leave NVM as it was."""
    busy: bool = False
    """In a call, streaming or charging."""
    wrong_serial: bool = False
    battery_percent: int = 80
    time_scale: float = 1.0
    slow_link: float = 1.0
