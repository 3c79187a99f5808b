"""Louder again, but not at once: an image that is restored comes back in steps of at most 6 dB.

Falls and everything that is no level come with the first step, gains rise before any limit does, and every step
is judged like a change of its own. This module must not know who restores, nor why. Read ``checked_ramp`` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from msgspec import UNSET

from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import BAND_PATHS, Content, EarProgram

from .budgets import Levels, levels_of
from .capability import CapabilitySheet
from .limits import path_range
from .model import BAND_FIELDS, band_values, ear_program
from .safety import Change, SafetyKernel, SafetyReport

__all__ = ["RAMP_STEP_DDB", "Ramp", "checked_ramp", "ramp"]

RAMP_STEP_DDB: Final = 60


@dataclass(frozen=True, slots=True)
class Ramp:
    """The contents to write one after the other, the last of them is what is restored.

    ``report`` is of the step that was refused, and then there is no step at all; else of the last one.
    """

    steps: tuple[Content, ...]
    report: SafetyReport


def checked_ramp(kernel: SafetyKernel, change: Change, step_ddb: int = RAMP_STEP_DDB) -> Ramp:
    """Split ``change`` into steps and have each of them judged on the one before.

    A change without a base, or one that is malformed, is judged as it is.
    """
    whole = kernel.check(change)
    if change.base is None or not whole.accepted:
        return Ramp((change.candidate,) if whole.accepted else (), whole)
    held, report = change.base, whole
    steps = ramp(change.base, change.candidate, change.sheets, step_ddb)
    for step in steps:
        report = kernel.check(replace(change, base=held, candidate=step))
        if not report.accepted:
            return Ramp((), report)
        held = step
    return Ramp(steps, report)


def ramp(
    held: Content, wanted: Content, sheets: Mapping[Ear, CapabilitySheet], step_ddb: int = RAMP_STEP_DDB
) -> tuple[Content, ...]:
    """The contents that lead from ``held`` to ``wanted``, each at most ``step_ddb`` tenths of a decibel higher.

    Every step has the order, slopes and neighbours of its two ends at worst, because each gain is the lower of
    where it goes and where it was plus the same amount, and no limit rises before all gains have. Values are on the
    aid's steps; an aid with coarser steps than ``step_ddb`` goes up by one of its own. Nothing to ramp gives one
    step. A slot or an ear that was not there comes with the last step.
    """
    steps: list[Content] = []
    current = held
    while not steps or current != wanted:
        before = levels_of(current)
        following = _toward(before, wanted, sheets, _Rise(gain_ddb=step_ddb, mpo_ddb=0))
        if following == current:
            following = _toward(before, wanted, sheets, _Rise(gain_ddb=0, mpo_ddb=step_ddb))
        # Nothing rises any more: what is left is what was not there before.
        current = wanted if following == current else following
        steps.append(current)
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class _Rise:
    gain_ddb: int
    mpo_ddb: int


def _toward(before: Levels, wanted: Content, sheets: Mapping[Ear, CapabilitySheet], rise: _Rise) -> Content:
    """``wanted`` where it was before, no value higher than it was by more than ``rise``."""
    programs = []
    for program in wanted.programs:
        ears = {
            ear: _lower(old, new, sheets[ear], rise)
            for ear in EARS
            if (old := before.get((program.slot, ear))) is not None and (new := ear_program(program, ear)) is not None
        }
        if ears:
            left, right = ears.get("left", UNSET), ears.get("right", UNSET)
            programs.append(msgspec.structs.replace(program, left=left, right=right))
    return msgspec.structs.replace(wanted, programs=tuple(programs))


def _lower(old: EarProgram, new: EarProgram, sheet: CapabilitySheet, rise: _Rise) -> EarProgram:
    levels = {}
    for path in BAND_PATHS:
        low, _, grid = path_range(sheet, path)
        wished = rise.mpo_ddb if path == "mpoDdb" else rise.gain_ddb
        step = max(wished // grid, 1) * grid if wished else 0
        before = band_values(old, path)
        raised = [_on_grid(value + step, low, grid) for value in before] if step else before
        levels[BAND_FIELDS[path]] = tuple(min(pair) for pair in zip(raised, band_values(new, path), strict=True))
    return msgspec.structs.replace(new, **levels)


def _on_grid(value: int, low: int, grid: int) -> int:
    return value - (value - low) % grid
