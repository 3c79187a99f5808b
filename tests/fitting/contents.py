"""Small configurations for tests: flat curves on the grid of a reference aid."""

from collections.abc import Mapping
from typing import Any

import msgspec

from fitting.capability import SHEETS, CapabilitySheet
from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import Content, EarProgram, Program

REF10 = SHEETS["ref10"]
OTC6 = SHEETS["otc6"]
BOTH: Mapping[Ear, CapabilitySheet] = dict.fromkeys(EARS, REF10)


def flat(sheet: CapabilitySheet = REF10, **values: int) -> EarProgram:
    """One value per path in every band; 20, 15, 10 dB of gain and an MPO of 100 dB SPL unless told."""
    levels = {"g50_ddb": 200, "g65_ddb": 150, "g80_ddb": 100, "mpo_ddb": 1_000} | values
    lists: dict[str, Any] = {path: (value,) * len(sheet.bands_hz) for path, value in levels.items()}
    return EarProgram(**lists)


def content(sheet: CapabilitySheet = REF10, slot: int = 1, **ears: EarProgram) -> Content:
    """One program; both ears flat unless told which."""
    parts: dict[str, Any] = dict(ears) or {ear: flat(sheet) for ear in EARS}
    return Content(bands_hz=sheet.bands_hz, programs=(Program(slot=slot, name="Universal", **parts),))


def with_band(program: EarProgram, band: int, **values: Any) -> EarProgram:
    """The program with other values in one band."""
    changed = {}
    for path, value in values.items():
        levels = list(getattr(program, path))
        levels[band] = value
        changed[path] = tuple(levels)
    return msgspec.structs.replace(program, **changed)
