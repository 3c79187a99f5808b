"""Fit a prescription to an aid and to the safety kernel by lowering, never by raising.

The rule is simple so that it can be explained: lower to the greatest values that keep K1, K2 and K4, by
going round until nothing moves. Every round lowers only, so it ends. This module must not know where the
targets come from. Read ``trim`` first.
"""

from itertools import pairwise

from protocol.contract.base import Ear
from protocol.contract.fitting import BAND_PATHS, BandPath, EarProgram, Finding

from .capability import CapabilitySheet
from .limits import (
    GAIN_PATHS,
    MAX_FALL_DDB,
    MAX_NEIGHBOUR_DDB,
    MAX_RATIO_FALL_DDB,
    decibel,
    mpo_ceiling_ddb,
    path_range,
)
from .model import band_values
from .slopes import has_ratio

__all__ = ["trim"]


def trim(ear: Ear, target: EarProgram, sheet: CapabilitySheet) -> tuple[EarProgram, tuple[Finding, ...]]:
    """The greatest program that is nowhere above ``target`` and keeps the rules, and what was lowered.

    ``target`` must be on the aid's steps. A value under the aid's least is left alone: the kernel refuses
    it, for there is nothing lower to give.
    """
    table = _Table(target, sheet)
    for path in BAND_PATHS:
        for band in range(len(sheet.bands_hz)):
            table.lower(path, band, path_range(sheet, path)[1], "K1")
    for band in range(len(sheet.bands_hz)):
        table.lower("mpoDdb", band, mpo_ceiling_ddb(sheet), "K2")
    while _shape(table):
        pass
    return table.program(), table.findings(ear)


def _shape(table: "_Table") -> bool:
    """One round of K4: order first, then the fall between levels from loud to soft, then neighbours."""
    moved = False
    bands = range(len(table.values["g50Ddb"]))
    for soft, loud in pairwise(GAIN_PATHS):
        for band in bands:
            moved |= table.lower(loud, band, table.values[soft][band], "K4")
    for loud, soft in pairwise(reversed(GAIN_PATHS)):
        for band in bands:
            moved |= table.lower(soft, band, table.values[loud][band] + MAX_FALL_DDB, "K4")
            if table.has_ratio(soft, band):
                moved |= table.lower(soft, band, table.values[loud][band] + MAX_RATIO_FALL_DDB, "K4")
    for path in GAIN_PATHS:
        for one, other in pairwise(bands):
            moved |= table.lower(path, one, table.values[path][other] + MAX_NEIGHBOUR_DDB, "K4")
            moved |= table.lower(path, other, table.values[path][one] + MAX_NEIGHBOUR_DDB, "K4")
    return moved


class _Table:
    """The values while they are being lowered, and the rule that lowered each of them last."""

    def __init__(self, target: EarProgram, sheet: CapabilitySheet) -> None:
        self._target = target
        self._sheet = sheet
        self._rules: dict[tuple[BandPath, int], str] = {}
        self.values = {path: list(band_values(target, path)) for path in BAND_PATHS}

    def lower(self, path: BandPath, band: int, limit: int, rule: str) -> bool:
        """Lower one value to the highest step that is not above ``limit``; whether it moved."""
        if self.values[path][band] <= limit:
            return False
        low, _, step = path_range(self._sheet, path)
        self.values[path][band] = limit - (limit - low) % step
        self._rules[path, band] = rule
        return True

    def has_ratio(self, soft: BandPath, band: int) -> bool:
        return has_ratio(self.program(), soft, band)

    def program(self) -> EarProgram:
        lists = (tuple(self.values[path]) for path in BAND_PATHS)
        g50, g65, g80, mpo = lists
        return EarProgram(g50_ddb=g50, g65_ddb=g65, g80_ddb=g80, mpo_ddb=mpo)

    def findings(self, ear: Ear) -> tuple[Finding, ...]:
        return tuple(self._finding(ear, path, band, rule) for (path, band), rule in self._rules.items())

    def _finding(self, ear: Ear, path: BandPath, band: int, rule: str) -> Finding:
        wanted, given = band_values(self._target, path)[band], self.values[path][band]
        where = f"{ear} {self._sheet.bands_hz[band]} Hz {path}"
        return Finding(
            rule=rule,
            severity="trim",
            message=f"{rule}: {where} trimmed from {decibel(wanted)} to {decibel(given)} dB",
            ear=ear,
            band=band,
            value=wanted,
            limit=given,
        )
