"""Audiograms: hearing thresholds per ear and frequency, parsed strictly because gain follows from them.

Thresholds are integer tenths of dB HL. This module must not know how a gain is made of a threshold
(``prescription``), nor where an audiogram comes from. Read ``audiogram_of`` first, then ``parse_audiogram``.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from protocol.contract.base import EARS, Ear
from protocol.errors import AuricleError

__all__ = [
    "FREQUENCIES_HZ",
    "STANDARD_AUDIOGRAMS",
    "Audiogram",
    "AudiogramError",
    "EarThresholds",
    "Frequencies",
    "audiogram_of",
    "parse_audiogram",
    "strict_json",
    "threshold_db",
    "threshold_ddb",
    "with_marks",
]

EarThresholds = tuple[tuple[int, int], ...]
Frequencies = tuple[int, ...]

FREQUENCIES_HZ: Final = (125, 250, 375, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000, 8000)
_REQUIRED_HZ: Final = (500, 1000, 2000, 4000)
_MIN_FREQUENCIES: Final = 4
_MIN_DDB: Final = -100
_MAX_DDB: Final = 1_200
_MAX_BYTES: Final = 65_536


class AudiogramError(AuricleError):
    """The audiogram cannot be used; ``public_message`` is one line that says why."""

    code = "bad_audiogram"


@dataclass(frozen=True, slots=True)
class Audiogram:
    """Air-conduction thresholds: per ear ``((frequency_hz, threshold_ddb), ...)``, frequencies rising.

    ``masked``: per ear the frequencies that were measured with noise on the other ear.
    ``no_response``: those at which the loudest tone was not heard; the threshold is that tone, and the true one above.
    """

    ears: Mapping[Ear, EarThresholds]
    name: str = ""
    masked: Mapping[Ear, Frequencies] = field(default_factory=lambda: MappingProxyType({}))
    no_response: Mapping[Ear, Frequencies] = field(default_factory=lambda: MappingProxyType({}))


def parse_audiogram(data: bytes) -> Audiogram:
    """Read ``{"right": {"500": 35, ...}, "left": {...}, "name": "..."}``, thresholds in dB HL.

    One ear is enough; ``name`` is optional. Raises AudiogramError: not JSON or over 64 KiB, an unknown or
    repeated key, a frequency that audiometers do not have, a threshold that is no number, off the 0.1 dB
    grid or outside -10 to 120 dB, fewer than four frequencies, or 500, 1000, 2000 or 4000 Hz missing.
    """
    document = strict_json(data, "audiogram")
    if not isinstance(document, dict):
        raise AudiogramError('the audiogram must be an object like {"right": {"500": 35, ...}}')
    for key in document:
        if key not in (*EARS, "name"):
            raise AudiogramError(f'unknown key {_shown(key)}, use "right", "left" and "name"')
    name = document.get("name", "")
    if not isinstance(name, str) or len(name) > 200:
        raise AudiogramError("the name must be text of at most 200 characters")
    return audiogram_of({ear: _points(ear, document[ear]) for ear in EARS if ear in document}, name)


def audiogram_of(ears: Mapping[Ear, Mapping[int, int]], name: str = "") -> Audiogram:
    """An audiogram of tenths of dB HL by frequency in Hz, per ear.

    Raises AudiogramError: no ear, or an ear without 500, 1000, 2000 and 4000 Hz.
    """
    if not ears:
        raise AudiogramError("the audiogram is empty: it needs the thresholds of at least one ear")
    for ear, points in ears.items():
        missing = [frequency for frequency in _REQUIRED_HZ if frequency not in points]
        if missing:
            listed = ", ".join(str(frequency) for frequency in missing)
            raise AudiogramError(
                f"{ear}: too few frequencies, {listed} Hz missing (at least {_MIN_FREQUENCIES} are needed)"
            )
    checked = {ear: tuple(sorted(ears[ear].items())) for ear in EARS if ear in ears}
    return Audiogram(ears=MappingProxyType(checked), name=name)


def with_marks(
    audiogram: Audiogram,
    *,
    masked: Mapping[Ear, Collection[int]],
    no_response: Mapping[Ear, Collection[int]],
) -> Audiogram:
    """The audiogram with marks at some of its frequencies.

    Raises AudiogramError: a mark at a frequency that has no threshold, or one that is there twice.
    """
    return replace(
        audiogram,
        masked=_marks("masked", audiogram, masked),
        no_response=_marks("noResponse", audiogram, no_response),
    )


def _marks(what: str, audiogram: Audiogram, marks: Mapping[Ear, Collection[int]]) -> Mapping[Ear, Frequencies]:
    for ear, frequencies in marks.items():
        known = {frequency for frequency, _ in audiogram.ears.get(ear, ())}
        for frequency in frequencies:
            if frequency not in known:
                raise AudiogramError(f"{what}: {ear}: there is no threshold at {frequency} Hz")
        if len(set(frequencies)) != len(frequencies):
            raise AudiogramError(f"{what}: {ear}: a frequency is there twice")
    return MappingProxyType({ear: tuple(sorted(marks[ear])) for ear in EARS if marks.get(ear)})


def strict_json(data: bytes, what: str) -> Any:
    """A JSON text with every key once. Raises AudiogramError, which calls it ``what``: no JSON, or over 64 KiB."""
    if len(data) > _MAX_BYTES:
        raise AudiogramError(f"the {what} is larger than {_MAX_BYTES} bytes")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique)
    except AudiogramError:
        raise
    # An integer of thousands of digits is a ValueError, deep nesting a RecursionError.
    except (ValueError, RecursionError):
        raise AudiogramError(f"the {what} is not JSON") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise AudiogramError(f"the key {_shown(key)} is there twice")
        found[key] = value
    return found


def _shown(key: str) -> str:
    return json.dumps(key[:40])


def _points(ear: Ear, points: Any) -> Mapping[int, int]:
    if not isinstance(points, dict) or not points:
        raise AudiogramError(f'{ear}: thresholds must be an object like {{"500": 35, "1000": 40, ...}}')
    known = {str(frequency): frequency for frequency in FREQUENCIES_HZ}
    found: dict[int, int] = {}
    for key, value in points.items():
        if key not in known:
            raise AudiogramError(f"{ear}: unknown frequency {_shown(key)}, use {', '.join(known)} (in Hz, as text)")
        found[known[key]] = threshold_ddb(f"{ear} {key} Hz", value)
    return found


def threshold_ddb(where: str, value: Any) -> int:
    """A threshold in dB HL as tenths. Raises AudiogramError, which names ``where``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AudiogramError(f"{where}: the threshold must be a number")
    # Before any arithmetic: an integer may be too long for a float, and NaN fails both comparisons.
    if not _MIN_DDB // 10 <= value <= _MAX_DDB // 10:
        raise AudiogramError(f"{where}: the threshold must be from -10 to 120 dB HL")
    tenths = round(value * 10)
    if abs(value * 10 - tenths) > 1e-6:
        raise AudiogramError(f"{where}: the threshold must be a multiple of 0.1 dB")
    return tenths


def threshold_db(ear_thresholds: EarThresholds, frequency_hz: float) -> float:
    """The threshold at a frequency in dB HL: linear over log frequency, the ends held."""
    first, last = ear_thresholds[0], ear_thresholds[-1]
    if frequency_hz <= first[0]:
        return first[1] / 10
    for (low_hz, low), (high_hz, high) in pairwise(ear_thresholds):
        if frequency_hz <= high_hz:
            part = math.log(frequency_hz / low_hz) / math.log(high_hz / low_hz)
            return (low + (high - low) * part) / 10
    return last[1] / 10


def _standard(name: str, *thresholds_ddb: int) -> Audiogram:
    frequencies = (250, 375, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000)
    points = tuple(zip(frequencies, thresholds_ddb, strict=True))
    return Audiogram(ears=MappingProxyType(dict.fromkeys(EARS, points)), name=name)


# Bisgaard, Vlaming and Dahlquist 2010, Trends in Amplification 14(2); also in IEC 60118-15.
STANDARD_AUDIOGRAMS: Final[Mapping[str, Audiogram]] = MappingProxyType(
    {
        audiogram.name: audiogram
        for audiogram in (
            _standard("N1", 100, 100, 100, 100, 100, 100, 150, 200, 300, 400),
            _standard("N2", 200, 200, 200, 225, 250, 300, 350, 400, 450, 500),
            _standard("N3", 350, 350, 350, 350, 400, 450, 500, 550, 600, 650),
            _standard("N4", 550, 550, 550, 550, 550, 600, 650, 700, 750, 800),
            _standard("N5", 650, 675, 700, 725, 750, 800, 800, 800, 800, 800),
            _standard("N6", 750, 775, 800, 825, 850, 900, 900, 950, 1000, 1000),
            _standard("N7", 900, 925, 950, 1000, 1050, 1050, 1050, 1050, 1050, 1050),
            _standard("S1", 100, 100, 100, 100, 100, 100, 150, 300, 550, 700),
            _standard("S2", 200, 200, 200, 225, 250, 350, 550, 750, 950, 950),
            _standard("S3", 300, 300, 350, 475, 600, 700, 750, 800, 800, 850),
        )
    }
)
