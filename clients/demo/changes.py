"""The changes that the demo asks for, worked out from what the aids hold, so that any audiogram has some.

Pure: knows neither hub nor aid. Read ``some_change`` first.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from fitting.model import band_values, ear_program
from protocol.contract.base import Ear
from protocol.contract.fitting import BandPath, Content, EarProgram, Patch, PatchOp

__all__ = ["GAINS", "gains_65", "program_of", "some_change", "unsafe_raise"]

SLOT: Final = 1
GAINS: Final[tuple[BandPath, ...]] = ("g50Ddb", "g65Ddb", "g80Ddb")
_SPEECH_HZ: Final = 2_000


def program_of(content: Content, ear: Ear) -> EarProgram:
    """The program that the demo fits. Raises KeyError for an ear without an aid."""
    program = ear_program(content.programs[0], ear)
    if program is None:
        raise KeyError(ear)
    return program


def gains_65(content: Content, ear: Ear) -> tuple[int, ...]:
    """Gain for 65 dB SPL per band in tenths of a decibel."""
    return program_of(content, ear).g65_ddb


def some_change(content: Content, ears: Sequence[Ear], by_ddb: int) -> Iterator[tuple[tuple[int, ...], Patch]]:
    """Bands and a patch that changes all their gains by ``by_ddb``, tenths of a decibel, speech first.

    A change downwards never goes below no gain. Which of them is safe for this fit is for the server to say.
    """
    return _raises(content, ears, by_ddb) if by_ddb > 0 else _lowerings(content, ears, -by_ddb)


def _raises(content: Content, ears: Sequence[Ear], by_ddb: int) -> Iterator[tuple[tuple[int, ...], Patch]]:
    for bands in _band_sets(content):
        ops = [
            PatchOp(op="add", ear=ear, path=path, band=band, value=by_ddb)
            for ear in ears
            for band in bands
            for path in GAINS
        ]
        yield bands, Patch(slot=SLOT, ops=tuple(ops))


def _lowerings(content: Content, ears: Sequence[Ear], by_ddb: int) -> Iterator[tuple[tuple[int, ...], Patch]]:
    for bands in _band_sets(content):
        if not all(gains_65(content, ear)[band] >= by_ddb for ear in ears for band in bands):
            continue
        ops = [
            PatchOp(op="set", ear=ear, path=path, band=band, value=max(0, held - by_ddb))
            for ear in ears
            for band in bands
            for path in GAINS
            for held in [band_values(program_of(content, ear), path)[band]]
        ]
        yield bands, Patch(slot=SLOT, ops=tuple(ops))


def unsafe_raise(content: Content, ear: Ear, by_ddb: int) -> tuple[int, Patch]:
    """A patch that raises one band far too much at once, in the band with the least gain."""
    gains = program_of(content, ear).g50_ddb
    band = gains.index(min(gains))
    ops = tuple(PatchOp(op="add", ear=ear, path=path, band=band, value=by_ddb) for path in GAINS)
    return band, Patch(slot=SLOT, ops=ops)


def _band_sets(content: Content) -> list[tuple[int, ...]]:
    near = sorted(range(len(content.bands_hz)), key=lambda band: abs(content.bands_hz[band] - _SPEECH_HZ))
    pairs = [(low, low + 1) for low in sorted(range(len(near) - 1), key=near.index)]
    return [*pairs, *((band,) for band in near)]
