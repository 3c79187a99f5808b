"""The shape of the gain curves of one ear, as safety rule K4 sees it: where it breaks, and by how much.

Each breach has an excess, so that "worse than before" is a comparison of two integers. This module must
not know what the configuration was before, nor what a breach leads to. Read ``breaches`` first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import sub

from msgspec import UNSET, UnsetType

from protocol.contract.fitting import BandPath, EarProgram

from .limits import GAIN_PATHS, LEVEL_STEP_DDB, LIMITER_MARGIN_DDB, ClinicLimits, decibel
from .model import band_values

__all__ = ["Breach", "breaches", "has_ratio", "steep_ratios"]

_LEVELS_DB = {"g50Ddb": 50, "g65Ddb": 65, "g80Ddb": 80}


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken limit. ``excess`` is by how much, in tenths of a decibel, always positive.

    ``limit_name`` is the field of ``ClinicLimits`` that was broken, "" for the order of the gains.
    ``path`` and ``low_band`` are set between neighbouring bands only: the level at which they differ, and
    the band with the smaller gain; ``band`` has the greater one.
    """

    key: tuple[str, str, int]
    band: int
    excess: int
    value: int | UnsetType
    limit: int
    text: str
    limit_name: str
    path: BandPath | None = None
    low_band: int | None = None


def breaches(part: EarProgram, limits: ClinicLimits) -> Iterator[Breach]:
    """Every breach of K4 in one ear's program."""
    harmless = min(limits.max_fall_ddb, limits.max_ratio_fall_ddb)
    for soft, loud in pairwise(GAIN_PATHS):
        falls = _falls(part, soft, loud)
        if min(falls) >= 0 and max(falls) <= harmless:
            continue
        for band, fall in enumerate(falls):
            if not 0 <= fall <= harmless:
                yield from _between_levels(part, (soft, loud), band, fall, limits)
    for path in GAIN_PATHS:
        values = band_values(part, path)
        if max(map(abs, map(sub, values, values[1:])), default=0) > limits.max_neighbour_ddb:
            yield from _between_neighbours(part, path, limits.max_neighbour_ddb)


def _between_neighbours(part: EarProgram, path: BandPath, limit: int) -> Iterator[Breach]:
    for left, (one, other) in enumerate(pairwise(band_values(part, path))):
        difference = abs(one - other)
        if difference > limit:
            high, low = (left, left + 1) if one > other else (left + 1, left)
            yield Breach(
                key=("neighbours", path, left),
                band=high,
                excess=difference - limit,
                value=difference,
                limit=limit,
                text=(
                    f"gain at {_LEVELS_DB[path]} dB SPL may differ from its neighbour's by at most "
                    f"{decibel(limit)} dB, here {decibel(difference)} dB"
                ),
                limit_name="max_neighbour_ddb",
                path=path,
                low_band=low,
            )


def _between_levels(
    part: EarProgram, levels: tuple[BandPath, BandPath], band: int, fall: int, limits: ClinicLimits
) -> Iterator[Breach]:
    soft, loud = levels
    most = limits.max_fall_ddb
    span = f"from {_LEVELS_DB[soft]} to {_LEVELS_DB[loud]} dB SPL"
    if fall < 0:
        text = f"gain must not rise {span}, here by {decibel(-fall)} dB"
        yield Breach(("order", soft, band), band, -fall, -fall, 0, text, "")
    if fall > most:
        text = f"gain may fall by at most {decibel(most)} dB {span}, here {decibel(fall)} dB"
        yield Breach(("fall", soft, band), band, fall - most, fall, most, text, "max_fall_ddb")
    if fall > limits.max_ratio_fall_ddb and has_ratio(part, soft, band):
        ratio, limit = _ratio_tenths(fall), limits.max_ratio_tenths
        shown = "without end" if ratio is UNSET else decibel(ratio)
        text = f"compression ratio {span} may be at most {decibel(limit)}, here {shown}"
        excess = fall - limits.max_ratio_fall_ddb
        yield Breach(("ratio", soft, band), band, excess, ratio, limit, text, "max_ratio_tenths")


def steep_ratios(part: EarProgram, limits: ClinicLimits) -> Iterator[tuple[int, int]]:
    """Bands whose compression ratio is allowed but high, with the ratio in tenths."""
    high, highest = limits.warn_ratio_fall_ddb, limits.max_ratio_fall_ddb
    for soft, loud in pairwise(GAIN_PATHS):
        falls = _falls(part, soft, loud)
        if max(falls) <= high:
            continue
        for band, fall in enumerate(falls):
            if high < fall <= highest and has_ratio(part, soft, band):
                yield band, -(-10 * LEVEL_STEP_DDB // (LEVEL_STEP_DDB - fall))


def has_ratio(part: EarProgram, soft: BandPath, band: int) -> bool:
    """Whether both ends of a segment, ``soft`` and the next level, lie under the limiter."""
    index = GAIN_PATHS.index(soft)
    return all(
        10 * _LEVELS_DB[path] + band_values(part, path)[band] < part.mpo_ddb[band] - LIMITER_MARGIN_DDB
        for path in GAIN_PATHS[index : index + 2]
    )


def _falls(part: EarProgram, soft: BandPath, loud: BandPath) -> tuple[int, ...]:
    return tuple(map(sub, band_values(part, soft), band_values(part, loud)))


def _ratio_tenths(fall: int) -> int | UnsetType:
    rise_of_output = LEVEL_STEP_DDB - fall
    # Rounded up, so that a ratio just over the limit does not read as the limit.
    return -(-10 * LEVEL_STEP_DDB // rise_of_output) if rise_of_output > 0 else UNSET
