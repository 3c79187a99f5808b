"""What is heard: the aids of the demo measured by the sound meter, never asked. Read ``measure`` first."""

import asyncio
from typing import Final

from clients.meter import measure_gain_db
from clients.virtual_aid.aid import VirtualAid
from clients.virtual_aid.pair import VirtualPair
from protocol.contract.base import Ear
from protocol.contract.fitting import EarProgram

__all__ = ["LEVEL_DB", "TOLERANCE_DB", "Heard", "expected_db", "measure", "worst_error_db"]

LEVEL_DB: Final = 65
TOLERANCE_DB: Final = 0.5

Heard = dict[Ear, tuple[float, ...]]


async def measure(pair: VirtualPair) -> Heard:
    """Gain in dB of a tone of 65 dB SPL at every band's frequency, per ear."""
    return {ear: await asyncio.to_thread(_gains_db, pair.aid(ear)) for ear in pair.ears}


def expected_db(program: EarProgram) -> tuple[float, ...]:
    """The gain in dB that a 65 dB tone should get: the table's, or what the maximum output leaves of it."""
    return tuple(
        min(gain, mpo - LEVEL_DB * 10) / 10 for gain, mpo in zip(program.g65_ddb, program.mpo_ddb, strict=True)
    )


def worst_error_db(heard: tuple[float, ...], wanted: tuple[float, ...]) -> float:
    """The largest distance between what is heard and what is wanted, in dB."""
    return max(abs(is_db - should_db) for is_db, should_db in zip(heard, wanted, strict=True))


def _gains_db(aid: VirtualAid) -> tuple[float, ...]:
    return tuple(measure_gain_db(aid.process, band_hz, LEVEL_DB, aid.rate_hz).gain_db for band_hz in aid.sheet.bands_hz)
