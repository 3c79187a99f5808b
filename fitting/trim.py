"""Fit a prescription to an aid and to the safety kernel by lowering, never by raising.

The rule is simple so that it can be explained: lower to the greatest values that keep K1, K2 and K4, by
going round until nothing moves. Every round lowers only, so it ends. This module must not know where the
targets come from. Read ``trim`` first.
"""

from itertools import pairwise

import msgspec

from protocol.contract.base import Ear
from protocol.contract.fitting import BAND_PATHS, BandPath, EarProgram, Finding

from .capability import CapabilitySheet
from .limits import (
    ENGINEERING,
    GAIN_PATHS,
    KERNEL_LIMITS,
    ClinicLimits,
    decibel,
    mpo_ceiling_ddb,
    mpo_ceiling_name,
    path_range,
)
from .model import BAND_FIELDS, PerBand, band_values
from .slopes import has_ratio

__all__ = ["trim"]


def trim(
    ear: Ear,
    target: EarProgram,
    sheet: CapabilitySheet,
    limits: ClinicLimits = KERNEL_LIMITS,
    *,
    loudness_ddb: PerBand = (),
    max_stable_gain_ddb: PerBand = (),
) -> tuple[EarProgram, tuple[Finding, ...]]:
    """The greatest program that is nowhere above ``target`` and keeps the rules, and what was lowered.

    ``target`` must be on the aid's steps. A value under the aid's least is left alone: the kernel refuses
    it, for there is nothing lower to give. ``loudness_ddb`` and ``max_stable_gain_ddb`` are what was measured at
    this ear, per band, None where nothing was.
    """
    table = _Table(target, sheet)
    for path in BAND_PATHS:
        for band in range(len(sheet.bands_hz)):
            table.lower(path, band, path_range(sheet, path)[1], ("K1", f"capability sheet {sheet.model}"))
    law = "21 CFR 800.30" if sheet.otc else "21 CFR 801.422"
    for band in range(len(sheet.bands_hz)):
        ceiling = ("K2", limits.source(mpo_ceiling_name(sheet), law))
        table.lower("mpoDdb", band, mpo_ceiling_ddb(sheet, limits), ceiling)
    for band, loud in enumerate(loudness_ddb):
        if loud is not None:
            table.lower("mpoDdb", band, loud, ("K3", "loudness level on file"))
    for band, stable in enumerate(max_stable_gain_ddb):
        if stable is not None:
            measured = ("K6", limits.source("feedback_margin_ddb", "feedback measurement"))
            for path in GAIN_PATHS:
                table.lower(path, band, stable - limits.feedback_margin_ddb, measured)
    while _shape(table, limits):
        pass
    return table.program(), table.findings(ear)


def _shape(table: "_Table", limits: ClinicLimits) -> bool:
    """One round of K4: order first, then the fall between levels from loud to soft, then neighbours."""
    moved = False
    bands = range(len(table.values["g50Ddb"]))
    fall, ratio, near = (
        ("K4", limits.source(name, ENGINEERING)) for name in ("max_fall_ddb", "max_ratio_tenths", "max_neighbour_ddb")
    )
    for soft, loud in pairwise(GAIN_PATHS):
        for band in bands:
            moved |= table.lower(loud, band, table.values[soft][band], ("K4", "compression"))
    for loud, soft in pairwise(reversed(GAIN_PATHS)):
        for band in bands:
            moved |= table.lower(soft, band, table.values[loud][band] + limits.max_fall_ddb, fall)
            if table.has_ratio(soft, band):
                moved |= table.lower(soft, band, table.values[loud][band] + limits.max_ratio_fall_ddb, ratio)
    for path in GAIN_PATHS:
        for one, other in pairwise(bands):
            moved |= table.lower(path, one, table.values[path][other] + limits.max_neighbour_ddb, near)
            moved |= table.lower(path, other, table.values[path][one] + limits.max_neighbour_ddb, near)
    return moved


class _Table:
    """The values while they are being lowered, and the rule and source that lowered each of them last."""

    def __init__(self, target: EarProgram, sheet: CapabilitySheet) -> None:
        self._target = target
        self._sheet = sheet
        self._rules: dict[tuple[BandPath, int], tuple[str, str]] = {}
        self.values = {path: list(band_values(target, path)) for path in BAND_PATHS}

    def lower(self, path: BandPath, band: int, limit: int, rule: tuple[str, str]) -> bool:
        """Lower one value to the highest step that is not above ``limit``; whether it moved.

        The aid's least stays: there is nothing lower to give.
        """
        low, _, step = path_range(self._sheet, path)
        given = max(limit - (limit - low) % step, low)
        if self.values[path][band] <= max(limit, low):
            return False
        self.values[path][band] = given
        self._rules[path, band] = rule
        return True

    def has_ratio(self, soft: BandPath, band: int) -> bool:
        return has_ratio(self.program(), soft, band)

    def program(self) -> EarProgram:
        levels = {BAND_FIELDS[path]: tuple(values) for path, values in self.values.items()}
        return msgspec.structs.replace(self._target, **levels)

    def findings(self, ear: Ear) -> tuple[Finding, ...]:
        return tuple(self._finding(ear, path, band, *rule) for (path, band), rule in self._rules.items())

    def _finding(self, ear: Ear, path: BandPath, band: int, rule: str, source: str) -> Finding:
        wanted, given = band_values(self._target, path)[band], self.values[path][band]
        where = f"{ear} {self._sheet.bands_hz[band]} Hz {path}"
        return Finding(
            rule=rule,
            severity="trim",
            message=f"{rule}: {where} trimmed from {decibel(wanted)} to {decibel(given)} dB ({source})",
            source=source,
            ear=ear,
            band=band,
            value=wanted,
            limit=given,
        )
