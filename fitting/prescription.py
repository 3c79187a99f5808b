"""First fits by published formulas, quantised to the aid and trimmed to what the safety kernel passes.

A reference computation from an audiogram alone: no clinical claim. CAMFIT (Moore 1998; Moore, Glasberg
and Stone 1999) gives gains for three input levels, NAL-R/NAL-RP (Byrne and Dillon 1986; Byrne, Parkinson
and Newall 1990) one linear gain. This module must not know devices beyond their capability sheet. Read
``prescribe`` first; ``trim`` does the trimming.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from msgspec import UNSET

from protocol.contract.audiograms import Rationale
from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import Content, EarProgram, Finding, Program
from protocol.errors import BadArgument

from .audiogram import Audiogram, EarThresholds, threshold_db
from .capability import CapabilitySheet
from .limits import KERNEL_LIMITS, ClinicLimits
from .model import PerBand
from .trim import trim

__all__ = ["Gains", "Prescription", "Rationale", "camfit", "nal_r", "prescribe", "sspl_3fa_db"]


@dataclass(frozen=True, slots=True)
class Gains:
    """Insertion gains in dB per band, for narrow-band inputs of 50, 65 and 80 dB SPL."""

    g50_db: tuple[float, ...]
    g65_db: tuple[float, ...]
    g80_db: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prescription:
    """A first fit. ``targets`` are what the formula wants on the aid's steps, ``content`` what was left of it.

    ``trims`` has one finding per value that was lowered: ``value`` is the target, ``limit`` what is given.
    """

    rationale: Rationale
    content: Content
    targets: Mapping[Ear, EarProgram]
    trims: tuple[Finding, ...]


def prescribe(
    audiogram: Audiogram,
    sheets: Mapping[Ear, CapabilitySheet],
    rationale: Rationale = "camfit",
    *,
    limits: ClinicLimits = KERNEL_LIMITS,
    loudness_ddb: Mapping[Ear, PerBand] = MappingProxyType({}),
    max_stable_gain_ddb: Mapping[Ear, PerBand] = MappingProxyType({}),
) -> Prescription:
    """One program, slot 1 "Universal", for every ear of ``sheets``.

    Gains are rounded to the nearest step (halves down), MPO down to a step: it is a ceiling. What was measured at
    an ear, uncomfortable levels and stable gains in tenths per band, and the limits of the clinic are kept by
    trimming. Raises BadArgument: no ear, an ear without thresholds, or two aids with different bands.
    """
    ears = tuple(ear for ear in EARS if ear in sheets)
    if not ears:
        raise BadArgument("a prescription needs the capability sheet of at least one ear")
    for ear in ears:
        if ear not in audiogram.ears:
            raise BadArgument(f"the audiogram has no thresholds for the {ear} ear, which wears an aid")
    bands_hz = sheets[ears[0]].bands_hz
    if any(sheets[ear].bands_hz != bands_hz for ear in ears):
        raise BadArgument("the two aids have different bands, one content cannot hold both")
    targets = {ear: _target(audiogram.ears[ear], sheets[ear], rationale) for ear in ears}
    trimmed = {
        ear: trim(
            ear,
            targets[ear],
            sheets[ear],
            limits,
            loudness_ddb=loudness_ddb.get(ear, ()),
            max_stable_gain_ddb=max_stable_gain_ddb.get(ear, ()),
        )
        for ear in ears
    }
    programs = {ear: program for ear, (program, _) in trimmed.items()}
    left, right = programs.get("left", UNSET), programs.get("right", UNSET)
    program = Program(slot=1, name="Universal", left=left, right=right)
    content = Content(bands_hz=bands_hz, programs=(program,))
    trims = tuple(finding for _, findings in trimmed.values() for finding in findings)
    return Prescription(rationale, content, MappingProxyType(targets), trims)


def _target(thresholds: EarThresholds, sheet: CapabilitySheet, rationale: Rationale) -> EarProgram:
    if rationale == "camfit":
        gains = camfit(thresholds, sheet.bands_hz)
    else:
        linear = nal_r(thresholds, sheet.bands_hz)
        gains = Gains(linear, linear, linear)
    mpo_ddb = round(sspl_3fa_db(thresholds) * 10)
    mpo_ddb -= (mpo_ddb - sheet.mpo_min_ddb) % sheet.mpo_step_ddb
    return EarProgram(
        g50_ddb=_on_steps(gains.g50_db, sheet),
        g65_ddb=_on_steps(gains.g65_db, sheet),
        g80_ddb=_on_steps(gains.g80_db, sheet),
        mpo_ddb=(mpo_ddb,) * len(sheet.bands_hz),
    )


def _on_steps(gains_db: Sequence[float], sheet: CapabilitySheet) -> tuple[int, ...]:
    low, step = sheet.gain_min_ddb, sheet.gain_step_ddb
    # In integer tenths, so that a half is a half: nearest step, halves down.
    return tuple(low + -(-(2 * (round(gain * 10) - low) - step) // (2 * step)) * step for gain in gains_db)


def sspl_3fa_db(thresholds: EarThresholds) -> float:
    """The maximum output to aim at, dB SPL in a 2 cc coupler, from the mean threshold at 500, 1000 and 2000 Hz.

    Dillon and Storey 1998, Ear and Hearing 19: the procedure that needs thresholds only.
    """
    average = _three_frequency_average(thresholds)
    return 89 + 0.3 * average if average <= 60 else 75 + 0.53 * average


def _three_frequency_average(thresholds: EarThresholds) -> float:
    return sum(threshold_db(thresholds, frequency) for frequency in (500, 1000, 2000)) / 3


_NAL_HZ: Final = (250, 500, 1000, 1500, 2000, 3000, 4000, 6000)
_NAL_K_DB: Final = (-17, -8, 1, 1, -1, -2, -2, -2)
# NAL-RP: what to add for a severe loss at 2000 Hz, a row per threshold there (95, 100, ... 120 dB HL).
_NAL_RP_HTL: Final = (95, 100, 105, 110, 115, 120)
_NAL_RP_DB: Final = (
    (4, 3, 0, -1, -2, -2, -2, -2),
    (6, 4, 0, -2, -3, -3, -3, -3),
    (8, 5, 0, -3, -5, -5, -5, -5),
    (11, 7, 0, -3, -6, -6, -6, -6),
    (13, 8, 0, -4, -8, -8, -8, -8),
    (15, 9, 0, -5, -9, -9, -9, -9),
)


def nal_r(thresholds: EarThresholds, bands_hz: Sequence[int]) -> tuple[float, ...]:
    """NAL-R insertion gain in dB per band, with the NAL-RP terms for severe losses; never below 0.

    Defined at 250 to 6000 Hz; between these the gain is interpolated over log frequency, above 6000 Hz
    that frequency's constants hold.
    """
    average = _three_frequency_average(thresholds)
    common = 0.15 * average + 0.2 * max(0.0, average - 60)
    severe = threshold_db(thresholds, 2000)

    def gain_db(frequency: float, column: int) -> float:
        extra = 0.0
        if severe >= _NAL_RP_HTL[0]:
            extra = _interpolate(severe, _NAL_RP_HTL, [row[column] for row in _NAL_RP_DB])
        return max(0.0, common + 0.31 * threshold_db(thresholds, frequency) + _NAL_K_DB[column] + extra)

    table = [gain_db(frequency, column) for column, frequency in enumerate(_NAL_HZ)]
    logs = [math.log(frequency) for frequency in _NAL_HZ]
    return tuple(
        gain_db(band, -1) if band > _NAL_HZ[-1] else _interpolate(math.log(band), logs, table) for band in bands_hz
    )


_CAMFIT_HZ: Final = (125, 250, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000)
_CAMFIT_C_DB: Final = (-11, -10, -8, -6, 0, -1, 1, -1, 0, 1)
# Third-octave levels of speech at 70 dB SPL overall: Byrne et al. 1994, JASA 96, the long-term average.
_LTASS_HZ: Final = (
    *(63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000),
    *(1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000, 10000, 12500, 16000),
)
_LTASS_DB: Final = (
    *(38.6, 43.5, 54.4, 57.7, 56.8, 60.2, 60.3, 59.0, 62.1, 62.1, 60.5, 56.8, 53.7),
    *(53.0, 52.0, 48.7, 48.1, 46.8, 45.6, 44.5, 44.3, 43.7, 43.4, 41.3, 40.7),
)
# Threshold of hearing in a free field, frontal incidence: ISO 226:2003, table 1.
_FREE_FIELD_HZ: Final = (
    *(125, 160, 200, 250, 315, 400, 500, 630, 800, 1000),
    *(1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000, 10000, 12500),
)
_FREE_FIELD_DB: Final = (
    *(22.1, 17.9, 14.4, 11.4, 8.6, 6.2, 4.4, 3.0, 2.2, 2.4),
    *(3.5, 1.7, -1.3, -4.2, -6.0, -5.4, -1.5, 6.0, 12.6, 13.9, 12.3),
)
_SPEECH_RANGE_DB: Final = 38
_MIN_OUTPUT_RANGE_DB: Final = 13
_MAX_BAND_OUTPUT_DB: Final = 100


def camfit(thresholds: EarThresholds, bands_hz: Sequence[int]) -> Gains:
    """The Cambridge compressive formula: gains in dB per band at three narrow-band levels, never below 0.

    Speech from 38 dB under its level in the band upwards is fitted between threshold and the level of
    the linear Cambridge gain; no band is driven above 100 dB SPL.
    """
    speech = _speech_levels_db(bands_hz)
    curves = [_camfit_band(thresholds, band, level) for band, level in zip(bands_hz, speech, strict=True)]
    return Gains(*(tuple(curve[i] for curve in curves) for i in range(3)))


def _camfit_band(thresholds: EarThresholds, band_hz: int, speech_db: float) -> tuple[float, ...]:
    threshold = threshold_db(thresholds, band_hz)
    logs = [math.log(frequency) for frequency in _CAMFIT_HZ]
    linear = max(0.0, 0.48 * threshold + _interpolate(math.log(band_hz), logs, _CAMFIT_C_DB))
    softest = speech_db - _SPEECH_RANGE_DB
    softest_gain = threshold + _interpolate(band_hz, _FREE_FIELD_HZ, _FREE_FIELD_DB) - softest
    output_range = max(speech_db + linear - softest - softest_gain, _MIN_OUTPUT_RANGE_DB)
    ratio = max(1.0, _SPEECH_RANGE_DB / output_range)
    return tuple(
        min(
            max(0.0, (level - softest) / ratio + softest + softest_gain - level),
            _MAX_BAND_OUTPUT_DB - level,
        )
        for level in (50, 65, 80)
    )


def _speech_levels_db(bands_hz: Sequence[int]) -> list[float]:
    """The level in each band of speech at 65 dB overall: third octaves added by power as they overlap.

    Bands meet at geometric means; the lowest reaches to 0 Hz, the highest a third above its centre.
    """
    inner = [math.sqrt(low * high) for low, high in pairwise(bands_hz)]
    edges = [0.0, *inner, bands_hz[-1] * 4 / 3]
    middles = [math.sqrt(low * high) for low, high in pairwise(_LTASS_HZ)]
    thirds = [_LTASS_HZ[0] * 2 ** (-1 / 6), *middles, _LTASS_HZ[-1] * 2 ** (1 / 6)]
    levels = []
    for low, high in pairwise(edges):
        power = sum(
            10 ** (level / 10) * max(0.0, min(high, above) - max(low, below)) / (above - below)
            for level, (below, above) in zip(_LTASS_DB, pairwise(thirds), strict=True)
        )
        levels.append(10 * math.log10(power) - 5)
    return levels


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Linear between the points, the ends held."""
    if x <= xs[0]:
        return ys[0]
    for index in range(1, len(xs)):
        if x <= xs[index]:
            part = (x - xs[index - 1]) / (xs[index] - xs[index - 1])
            return ys[index - 1] + (ys[index] - ys[index - 1]) * part
    return ys[-1]
