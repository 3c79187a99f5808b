"""Faults of virtual aids as words of a command line: ``drop@3``, ``left:nvm@2``, ``busy@5``.

Must not know what a phone makes of them. Read ``parse_fault`` first.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from clients.virtual_aid.memory import factory_image
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import EARS, Ear

__all__ = ["FaultSpec", "parse_fault"]

# What a number after the @ sets, from the start on.
_SWITCHES: Final[Mapping[str, str]] = {
    "drop": "drop_link_after_chunk",
    "reboot": "reboot_after_chunk",
    "drop-commit": "drop_link_in_commit",
    "corrupt": "corrupt_digest",
    "nvm": "nvm_failures",
    "away": "refuse_connects",
    "battery": "battery_percent",
}
_CHUNKED: Final = frozenset({"drop", "reboot", "drop-commit"})
# What happens so many seconds after the start.
_TIMED: Final = ("busy", "free", "restart", "foreign", "button")


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One fault; ``ear`` None for both. A timed one strikes ``number`` seconds after the start."""

    HELP: ClassVar[str] = (
        "drop@CHUNK and reboot@CHUNK of the next write, drop-commit@CHUNK, corrupt@WRITES, nvm@COPIES, away@CONNECTS, "
        "battery@PERCENT; after so many seconds: busy@S, free@S, restart@S, foreign@S (another app writes), button@S"
    )

    kind: str
    number: float
    ear: Ear | None = None

    @property
    def is_timed(self) -> bool:
        """Whether it strikes later."""
        return self.kind in _TIMED

    def switches(self) -> dict[str, Any]:
        """What it sets of the ``Faults`` of an aid."""
        return {_SWITCHES[self.kind]: int(self.number)}

    async def strike_later(self, pair: VirtualPair) -> None:
        """Wait for its time, then let it happen."""
        await asyncio.sleep(self.number)
        for ear in pair.ears:
            if self.ear in (None, ear):
                _strike(self.kind, pair, ear)


def _strike(kind: str, pair: VirtualPair, ear: Ear) -> None:
    aid = pair.aid(ear)
    if kind in ("busy", "free"):
        aid.faults = replace(aid.faults, busy=kind == "busy")
    elif kind == "restart":
        aid.reboot()
    elif kind == "foreign":
        aid.write_by_another_app(factory_image(ear, aid.sheet.bands_hz).slots)
    else:
        aid.turn_volume(-60)


def parse_fault(text: str) -> FaultSpec:
    """``[EAR:]KIND@NUMBER``. Raises ValueError."""
    word, found, number = text.rpartition("@")
    before, _, kind = word.rpartition(":")
    ear = next((ear for ear in EARS if ear == before), None)
    if not found or (before and ear is None) or kind not in (*_SWITCHES, *_TIMED):
        raise ValueError(f"{text!r} is no fault: {FaultSpec.HELP}")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"{number!r} in {text!r} is no number") from None
    if value < 0 or (kind in _SWITCHES and value != int(value)) or (kind in _CHUNKED and value > 8):
        raise ValueError(f"{number!r} in {text!r} is out of range")
    return FaultSpec(kind, value, ear)
