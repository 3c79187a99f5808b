"""The numbers of the safety kernel, in one room, in tenths of a decibel.

K2's are regulation: 132 dB SPL is where special care in fitting begins (21 CFR 801.422), 111 and 117 dB SPL
limit over-the-counter aids (21 CFR 800.30). The others are engineering choices; those of K7 follow the
smallest differences that people notice, about 3 dB in one band and 2 dB over all (Caswell-Midwinter and
Whitmer 2019). A clinic may tighten each of them, never loosen it. This module must not know how they are
applied. Read ``ClinicLimits`` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final, cast

from protocol.contract.fitting import BandPath
from protocol.errors import BadArgument

from .capability import CapabilitySheet

__all__ = [
    "ENGINEERING",
    "GAIN_PATHS",
    "KERNEL_LIMITS",
    "LEVEL_STEP_DDB",
    "LIMITER_MARGIN_DDB",
    "LIMIT_FIELDS",
    "SESSION_WINDOW_S",
    "WEEK_S",
    "ClinicLimits",
    "decibel",
    "mpo_ceiling_ddb",
    "mpo_ceiling_name",
    "path_range",
]

GAIN_PATHS: Final[tuple[BandPath, ...]] = ("g50Ddb", "g65Ddb", "g80Ddb")

# The source of a number that no authority gives.
ENGINEERING: Final = "engineering choice"
# The inputs at which gain is given lie 15 dB apart.
LEVEL_STEP_DDB: Final = 150
# From 1 dB under the MPO the limiter works, and a limiter has no ratio.
LIMITER_MARGIN_DDB: Final = 10
# K8 counts over the last 10 s; K8 and K9 from the lowest active value of the last 7 days.
SESSION_WINDOW_S: Final = 10.0
WEEK_S: Final = 7 * 24 * 3600.0

# These grow when they are tightened; all others shrink.
_LEAST: Final = frozenset({"feedback_margin_ddb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicLimits:
    """The numbers of K2 to K11; the defaults are the kernel's own, and the loosest that there are.

    ``mpo_ceiling_ddb``, ``otc_ceiling_ddb``, ``otc_compressing_ceiling_ddb``: K2, tenths of dB SPL.
    ``loudness_margin_ddb``, ``loudness_margin_reasoned_ddb``: K3, over the prescribed maximum; the second in
    Advanced with a typed reason.
    ``max_fall_ddb``, ``max_ratio_tenths``, ``warn_ratio_tenths``, ``max_neighbour_ddb``: K4.
    ``clipping_margin_ddb``: K5, how far loud speech may be driven into the limiter before there is a warning.
    ``feedback_margin_ddb``: K6, how far gain stays under the measured maximum stable gain.
    ``live_rise_ddb``, ``live_rise_all_bands_ddb``, ``live_mpo_rise_ddb``: K7, per change.
    ``window_rise_ddb`` (in 10 s), ``session_rise_ddb``, ``session_mpo_rise_ddb``: K8;
    ``unreverted_rise_ddb``: the same for a session on an aid that keeps what it was given when its link is lost.
    ``package_rise_ddb`` per band, ``package_mean_rise_ddb``: K9. ``lowering_ddb``: K10, more needs a reason.
    ``ear_difference_ddb``: K11.

    Raises BadArgument for a number that is not an integer, is negative, or would loosen; it names the field.
    """

    mpo_ceiling_ddb: int = 1_320
    otc_ceiling_ddb: int = 1_110
    otc_compressing_ceiling_ddb: int = 1_170
    loudness_margin_ddb: int = 60
    loudness_margin_reasoned_ddb: int = 120
    max_fall_ddb: int = 150
    max_ratio_tenths: int = 40
    warn_ratio_tenths: int = 30
    max_neighbour_ddb: int = 200
    clipping_margin_ddb: int = 150
    feedback_margin_ddb: int = 30
    live_rise_ddb: int = 30
    live_rise_all_bands_ddb: int = 20
    live_mpo_rise_ddb: int = 30
    window_rise_ddb: int = 60
    session_rise_ddb: int = 120
    session_mpo_rise_ddb: int = 60
    unreverted_rise_ddb: int = 30
    package_rise_ddb: int = 50
    package_mean_rise_ddb: int = 30
    lowering_ddb: int = 100
    ear_difference_ddb: int = 60

    def __post_init__(self) -> None:
        for name, loosest in _LOOSEST.items():
            value = getattr(self, name)
            if type(value) is not int:
                raise BadArgument(f"{name}: a limit is an integer, tenths of its unit")
            if name in _LEAST:
                if value < loosest:
                    raise BadArgument(f"{name}: a clinic may only tighten, at least {loosest}, not {value}")
            elif not (10 if name.endswith("_tenths") else 0) <= value <= loosest:
                raise BadArgument(f"{name}: a clinic may only tighten, at most {loosest}, not {value}")

    @property
    def max_ratio_fall_ddb(self) -> int:
        """The fall of gain over 15 dB that is the greatest compression ratio: 11.2 dB are a ratio of 4."""
        return _fall_of_ratio(self.max_ratio_tenths)

    @property
    def warn_ratio_fall_ddb(self) -> int:
        """The fall of gain over 15 dB from which a ratio is called high: 10 dB are a ratio of 3."""
        return _fall_of_ratio(self.warn_ratio_tenths)

    def source(self, name: str, otherwise: str) -> str:
        """Where the number of a field comes from: the clinic when it has tightened it, else ``otherwise``."""
        return otherwise if getattr(self, name) == _LOOSEST[name] else "clinic policy"


_LOOSEST: Final[Mapping[str, int]] = MappingProxyType(
    {field.name: cast("int", field.default) for field in fields(ClinicLimits)}
)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


# As they are called outside of the program: ``liveRiseDdb`` is the field ``live_rise_ddb``.
LIMIT_FIELDS: Final[Mapping[str, str]] = MappingProxyType({_camel(name): name for name in _LOOSEST})


def _fall_of_ratio(tenths: int) -> int:
    return LEVEL_STEP_DDB * (tenths - 10) // tenths


KERNEL_LIMITS: Final = ClinicLimits()


def mpo_ceiling_ddb(sheet: CapabilitySheet, limits: ClinicLimits = KERNEL_LIMITS) -> int:
    """The output ceiling of one aid (K2), tenths of dB SPL, whatever its sheet allows."""
    return int(getattr(limits, mpo_ceiling_name(sheet)))


def mpo_ceiling_name(sheet: CapabilitySheet) -> str:
    """The field of ``ClinicLimits`` that holds the ceiling of one aid."""
    if not sheet.otc:
        return "mpo_ceiling_ddb"
    return "otc_compressing_ceiling_ddb" if sheet.input_controlled_compression else "otc_ceiling_ddb"


def path_range(sheet: CapabilitySheet, path: BandPath) -> tuple[int, int, int]:
    """Least, greatest and step of a band path on one aid, in tenths of a decibel (K1)."""
    if path == "mpoDdb":
        return sheet.mpo_min_ddb, sheet.mpo_max_ddb, sheet.mpo_step_ddb
    return sheet.gain_min_ddb, sheet.gain_max_ddb, sheet.gain_step_ddb


def decibel(tenths: int) -> str:
    """Tenths as a person reads them: 185 is ``18.5``."""
    return f"{'-' if tenths < 0 else ''}{abs(tenths) // 10}.{abs(tenths) % 10}"
