"""The numbers of the safety kernel, in one room, in tenths of a decibel.

K2's are regulation: 132 dB SPL is where special care in fitting begins (21 CFR 801.422), 111 and 117 dB SPL
limit over-the-counter aids (21 CFR 800.30). Those of K4 and K7 are engineering choices; K7's follow the
smallest differences that people notice, about 3 dB in one band and 2 dB over all (Caswell-Midwinter and
Whitmer 2019). This module must not know how they are applied. Read the constants.
"""

from typing import Final

from protocol.contract.fitting import BandPath

from .capability import CapabilitySheet

__all__ = [
    "GAIN_PATHS",
    "LEVEL_STEP_DDB",
    "LIMITER_MARGIN_DDB",
    "LIVE_RISE_ALL_BANDS_DDB",
    "LIVE_RISE_DDB",
    "MAX_FALL_DDB",
    "MAX_NEIGHBOUR_DDB",
    "MAX_RATIO_FALL_DDB",
    "RATIO_LIMIT_TENTHS",
    "RATIO_WARNING_TENTHS",
    "WARN_RATIO_FALL_DDB",
    "decibel",
    "mpo_ceiling_ddb",
    "path_range",
]

GAIN_PATHS: Final[tuple[BandPath, ...]] = ("g50Ddb", "g65Ddb", "g80Ddb")

# K4. Gain may fall by 15 dB while the input rises by 15: the output then stands still.
LEVEL_STEP_DDB: Final = 150
MAX_FALL_DDB: Final = 150
RATIO_LIMIT_TENTHS: Final = 40
RATIO_WARNING_TENTHS: Final = 30
# A ratio of 4 is a fall of 11.25 dB per 15 dB, a ratio of 3 one of 10 dB.
MAX_RATIO_FALL_DDB: Final = 112
WARN_RATIO_FALL_DDB: Final = 100
# From 1 dB under the MPO the limiter works, and a limiter has no ratio.
LIMITER_MARGIN_DDB: Final = 10
MAX_NEIGHBOUR_DDB: Final = 200

# K7
LIVE_RISE_DDB: Final = 30
LIVE_RISE_ALL_BANDS_DDB: Final = 20

_MPO_CEILING_DDB: Final = 1_320
_OTC_CEILING_DDB: Final = 1_110
_OTC_COMPRESSING_CEILING_DDB: Final = 1_170


def mpo_ceiling_ddb(sheet: CapabilitySheet) -> int:
    """The absolute output ceiling of one aid (K2), tenths of dB SPL, whatever its sheet allows."""
    if not sheet.otc:
        return _MPO_CEILING_DDB
    return _OTC_COMPRESSING_CEILING_DDB if sheet.input_controlled_compression else _OTC_CEILING_DDB


def path_range(sheet: CapabilitySheet, path: BandPath) -> tuple[int, int, int]:
    """Least, greatest and step of a band path on one aid, in tenths of a decibel (K1)."""
    if path == "mpoDdb":
        return sheet.mpo_min_ddb, sheet.mpo_max_ddb, sheet.mpo_step_ddb
    return sheet.gain_min_ddb, sheet.gain_max_ddb, sheet.gain_step_ddb


def decibel(tenths: int) -> str:
    """Tenths as a person reads them: 185 is ``18.5``."""
    return f"{'-' if tenths < 0 else ''}{abs(tenths) // 10}.{abs(tenths) % 10}"
