"""What was measured at a patient's ears, checked against the aids before it is kept, because limits follow from it.

A list that fits the wrong aid would say something about other frequencies, so it is refused rather than cut. This
module must not know who measured, nor where it is kept. Read ``loudness_of`` first.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import Content
from protocol.contract.registration import Loudness, StableGain
from protocol.errors import BadArgument

from .budgets import Place, levels_of
from .capability import CapabilitySheet
from .model import PerBand

__all__ = ["loudness_of", "lowest_stable_gain", "stable_gain_of"]

_LOUDNESS: Final = "loudnessDdb"
_STABLE_GAIN: Final = "maxStableGainDdb"


def loudness_of(given: Loudness, sheets: Mapping[Ear, CapabilitySheet]) -> Mapping[Ear, PerBand]:
    """Uncomfortable levels per ear and band, tenths of dB SPL; ``sheets`` are those of the aids that are worn.

    Raises BadArgument: no ear at all, an ear without an aid, or another number of values than the aid has bands.
    """
    return _per_ear(_LOUDNESS, given, sheets)


def stable_gain_of(given: tuple[StableGain, ...], sheets: Mapping[Ear, CapabilitySheet]) -> Mapping[Place, PerBand]:
    """Maximum stable gains per slot, ear and band, tenths of dB.

    Raises BadArgument: as ``loudness_of``; a slot that is there twice, or that the aid does not have.
    """
    found: dict[Place, PerBand] = {}
    slots = [entry.slot for entry in given]
    for entry in given:
        if slots.count(entry.slot) > 1:
            raise BadArgument(f"{_STABLE_GAIN}: slot {entry.slot} is there twice")
        where = f"{_STABLE_GAIN}: slot {entry.slot}"
        for ear, values in _per_ear(where, entry, sheets).items():
            if entry.slot > sheets[ear].slots:
                raise BadArgument(f"{where}: the {ear} aid has {sheets[ear].slots} program slots")
            found[entry.slot, ear] = values
    return found


def _per_ear(where: str, given: Loudness | StableGain, sheets: Mapping[Ear, CapabilitySheet]) -> Mapping[Ear, PerBand]:
    pairs: tuple[tuple[Ear, object], ...] = tuple((ear, getattr(given, ear)) for ear in EARS)
    found = {ear: values for ear, values in pairs if isinstance(values, tuple)}
    if not found:
        raise BadArgument(f"{where}: left, right: at least one ear is needed")
    for ear, values in found.items():
        if ear not in sheets:
            raise BadArgument(f"{where}: {ear}: there is no {ear} aid")
        bands = len(sheets[ear].bands_hz)
        if len(values) != bands:
            raise BadArgument(f"{where}: {ear}: needs {bands} values, one per band of the aid, not {len(values)}")
    return found


def lowest_stable_gain(on_file: Mapping[Place, PerBand], held: Content) -> Mapping[Place, PerBand]:
    """``on_file``, lowered to what the aids hold as stable: of two measurements of unknown age the stricter counts.

    What is on file is as old as the registration, while a live session may have measured since.
    """
    levels = levels_of(held)
    found: dict[Place, PerBand] = {}
    for place, values in on_file.items():
        mine = levels[place].max_stable_gain_ddb if place in levels else UNSET
        if isinstance(mine, tuple) and len(mine) == len(values):
            found[place] = tuple(map(_lower, values, mine))
        else:
            # Measured with other aids it stays as it is: the kernel refuses to judge by it.
            found[place] = values
    return found


def _lower(on_file: int | None, held: int) -> int:
    return held if on_file is None else min(on_file, held)
