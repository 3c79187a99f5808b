"""How two configurations differ, leaf by leaf and in tenths of a decibel, and where three of them disagree.

Pure, over whole contents; revisions are compared as a programmer compares commits. This module must not know where a
revision is kept. Read ``differences`` first, then ``three_way``.
"""

from collections.abc import Iterator

from msgspec import UNSET

from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import BAND_PATHS, Content, EarProgram, Path, Program
from protocol.contract.history import Difference, ThreeWay

from .model import band_values, ear_program

__all__ = ["differences", "three_way"]

_Leaf = tuple[int, Ear, Path, int | None]


def differences(before: Content, after: Content) -> tuple[Difference, ...]:
    """What ``after`` changes of ``before``, by slot, right ear first.

    A slot or an ear that only one of them has is one difference of path ``program``.
    """
    found: list[Difference] = []
    old = {program.slot: program for program in before.programs}
    new = {program.slot: program for program in after.programs}
    for slot in sorted(old.keys() | new.keys()):
        if slot not in old or slot not in new:
            names = (old[slot].name if slot in old else UNSET, new[slot].name if slot in new else UNSET)
            found.append(Difference(slot=slot, path="program", before=names[0], after=names[1]))
            continue
        found += _of_program(old[slot], new[slot], after.bands_hz)
    return tuple(found)


def three_way(base: Content, aid: Content, wanted: Content) -> tuple[ThreeWay, ...]:
    """The leaves on which the three do not agree, of the slots and ears that all of them have.

    A conflict: aid and wanted both moved away from base, and apart.
    """
    leaves = [dict(_leaves(content)) for content in (base, aid, wanted)]
    found = []
    for leaf in leaves[0]:
        if not all(leaf in each for each in leaves):
            continue
        first, held, asked = (each[leaf] for each in leaves)
        if first == held == asked:
            continue
        slot, ear, path, band_hz = leaf
        found.append(
            ThreeWay(
                slot=slot,
                ear=ear,
                path=path,
                band_hz=UNSET if band_hz is None else band_hz,
                base=first,
                aid=held,
                wanted=asked,
                conflict=first not in (held, asked) and held != asked,
            )
        )
    return tuple(found)


def _of_program(old: Program, new: Program, bands_hz: tuple[int, ...]) -> Iterator[Difference]:
    if old.name != new.name:
        yield Difference(slot=new.slot, path="name", before=old.name, after=new.name)
    if old.category != new.category:
        yield Difference(slot=new.slot, path="category", before=old.category, after=new.category)
    for ear in EARS:
        before, after = ear_program(old, ear), ear_program(new, ear)
        if before is None or after is None:
            if before is not after:
                yield Difference(slot=new.slot, path="program", ear=ear)
            continue
        earlier, later = dict(_values(before, bands_hz)), dict(_values(after, bands_hz))
        for (path, band_hz), value in later.items():
            was = earlier.get((path, band_hz), UNSET)
            if was == value:
                continue
            is_level = isinstance(was, int) and isinstance(value, int)
            yield Difference(
                slot=new.slot,
                ear=ear,
                path=path,
                band_hz=UNSET if band_hz is None else band_hz,
                before=was,
                after=value,
                ddb=value - was if is_level else UNSET,  # type: ignore[operator]  # both are integers
            )


def _leaves(content: Content) -> Iterator[tuple[_Leaf, int | str]]:
    for program in content.programs:
        for ear in EARS:
            part = ear_program(program, ear)
            if part is not None:
                for (path, band_hz), value in _values(part, content.bands_hz):
                    yield (program.slot, ear, path, band_hz), value


def _values(program: EarProgram, bands_hz: tuple[int, ...]) -> Iterator[tuple[tuple[Path, int | None], int | str]]:
    for path in BAND_PATHS:
        for band_hz, value in zip(bands_hz, band_values(program, path), strict=True):
            yield (path, band_hz), value
    yield ("nrDdb", None), program.nr_ddb
    yield ("mic", None), program.mic
