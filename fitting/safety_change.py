"""What the safety kernel is asked about, as values: a change, and everything that a rule needs to judge it.

The kernel is pure, so whoever asks brings along what is on file, what the aids held before and which clinic's
limits hold. What is not known is judged more strictly, never less. This module must not know a rule. Read
``Change``, then ``SafetyContext``.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from protocol.contract.base import Ear
from protocol.contract.fitting import BandPath, Content, DeliveryKind, EarProgram, Finding, Mode

from .audiogram import Audiogram
from .budgets import NOTHING_KNOWN, Budgets, Levels, Place, level_at, levels_of
from .capability import CapabilitySheet
from .limits import GAIN_PATHS, KERNEL_LIMITS, ClinicLimits
from .model import PerBand, band_values, greatest_rise

__all__ = ["Change", "ChangeOrigin", "Over", "Part", "SafetyContext", "gathered", "whole"]

ChangeOrigin = Literal["fitting", "first_fit", "readback", "rollback"]


@dataclass(frozen=True, slots=True)
class SafetyContext:
    """What is known beside the two contents. The defaults are what nothing is known of.

    ``reason``: what the author typed; blank counts as none. Without it K3 keeps to the smaller margin, and K10
    refuses to take more than 10 dB away.
    ``budgets``: what K8 and K9 count from (``budgets.budgets``). What is None there allows no rise.
    ``audiogram``: on file for the patient. Without it K3 allows no MPO to rise, and K11 no excuse.
    ``loudness_ddb``: measured uncomfortable levels per ear and band, tenths of dB SPL in the reference of the
    MPO; None for a band that was not measured, where the audiogram decides.
    ``max_stable_gain_ddb``: of the newest feedback measurement per slot and ear, per band; None for a band
    that was not measured. Without it what the aid's program holds counts, and without that Standard mode
    raises no gain (K6).
    ``restores_active``: the candidate was active before, exactly (``budgets.was_active``): exempt from K7 to K9.
    ``restores_pair``: both ears of it were active together (``budgets.was_worn``): K11 warns of it at most.
    ``in_ram``: the candidate is what RAM holds, by read-back, and is only to be kept: nobody hears a change, so K7
    and the 10 seconds of K8 do not hold.
    ``red_flags``: signs on file that need a physician and that no professional has dismissed: Standard mode
    raises nothing. The one field whose absence is no unknown: nobody has reported any.
    ``limits``: of the clinic.
    """

    reason: str = ""
    budgets: Budgets = NOTHING_KNOWN
    audiogram: Audiogram | None = None
    loudness_ddb: Mapping[Ear, PerBand] = field(default_factory=lambda: MappingProxyType({}))
    max_stable_gain_ddb: Mapping[Place, PerBand] = field(default_factory=lambda: MappingProxyType({}))
    restores_active: bool = False
    restores_pair: bool = False
    in_ram: bool = False
    red_flags: bool = False
    limits: ClinicLimits = KERNEL_LIMITS


@dataclass(frozen=True)
class Change:
    """What is to become of a device: ``candidate`` in place of ``base``.

    ``base`` is what the change is written over: the newest accepted content, for a ``Save`` what NVM holds; None
    when that is not known. ``kind`` is ``volatile`` for RAM only, ``persist`` when NVM is written.
    """

    base: Content | None
    candidate: Content
    sheets: Mapping[Ear, CapabilitySheet]
    origin: ChangeOrigin
    mode: Mode
    kind: DeliveryKind = "persist"
    context: SafetyContext = field(default_factory=SafetyContext)

    @cached_property
    def parts(self) -> "tuple[Part, ...]":
        """Every ear of every program of a well-formed candidate."""
        base = levels_of(self.base) if self.base is not None else {}
        return tuple(
            Part(
                ear=ear,
                slot=slot,
                new=new,
                old=base.get((slot, ear)),
                before=level_at(base, (slot, ear)),
                sheet=self.sheets[ear],
                bands_hz=self.candidate.bands_hz,
            )
            for (slot, ear), new in levels_of(self.candidate).items()
        )


@dataclass(frozen=True, slots=True)
class Over:
    """By how much something is above its ceiling, and whether that is worse than it was."""

    excess: int
    refused: bool


@dataclass(frozen=True)
class Part:
    """One ear of one program: what it is to be, and what it was.

    ``old`` is None for a slot or an ear that was not there. ``before`` is what a rise is measured from: ``old``,
    or for a new slot the lowest of the ear's other programs; None for a new ear.
    """

    ear: Ear
    slot: int
    new: EarProgram
    old: EarProgram | None
    before: EarProgram | None
    sheet: CapabilitySheet
    bands_hz: tuple[int, ...]

    @cached_property
    def changed(self) -> bool:
        """Whether it is to hold anything else than it did."""
        return self.new != self.old

    @property
    def sheet_name(self) -> str:
        """The capability sheet as a source of a limit."""
        return f"capability sheet {self.sheet.model}"

    def at(self, levels: Levels | None) -> EarProgram | None:
        """What ``levels`` hold for this part; None when that is not known, or is of other aids."""
        known = level_at(levels, (self.slot, self.ear)) if levels is not None else None
        return known if known is not None and len(known.mpo_ddb) == len(self.bands_hz) else None

    def rises(self, path: BandPath, band: int) -> bool:
        """Whether a value is higher than it was; what was not there has risen."""
        return self.old is None or band_values(self.new, path)[band] > band_values(self.old, path)[band]

    def exceeds(self, levels: EarProgram, paths: tuple[BandPath, ...], rise: int) -> bool:
        """Whether a value of ``paths`` is above ``levels`` by more than ``rise`` in any band."""
        return any(greatest_rise(band_values(levels, path), band_values(self.new, path)) > rise for path in paths)

    def lowered(self, band: int) -> bool:
        """Whether all three gains are lower than they were, or at the aid's least already, and the MPO no higher."""
        if self.old is None or self.rises("mpoDdb", band):
            return False
        least = self.sheet.gain_min_ddb
        gains = [(band_values(self.old, path)[band], band_values(self.new, path)[band]) for path in GAIN_PATHS]
        return all(new < before or new == before == least for before, new in gains)

    def ceilings(self, levels: EarProgram | None, band: int, rise: int) -> tuple[int, int, int]:
        """The three gains of a band in ``levels``, each with ``rise`` on top; the aid's least when None."""
        if levels is None:
            return (self.sheet.gain_min_ddb,) * 3
        return levels.g50_ddb[band] + rise, levels.g65_ddb[band] + rise, levels.g80_ddb[band] + rise

    def gain_over(self, band: int, ceilings: tuple[int, int, int]) -> "Over | None":
        """How far the gains of a band are above their ceilings, the worst of the three; None when none is.

        A gain that is above its ceiling and not above what it was is no reason to refuse.
        """
        new = self.new
        values = zip((new.g50_ddb[band], new.g65_ddb[band], new.g80_ddb[band]), ceilings, GAIN_PATHS, strict=True)
        found = [Over(value - ceiling, self.rises(path, band)) for value, ceiling, path in values if value > ceiling]
        return max(found, key=lambda over: (over.refused, over.excess), default=None)

    def finding(
        self,
        rule: str,
        text: str,
        source: str,
        *,
        band: int | UnsetType = UNSET,
        value: int | UnsetType = UNSET,
        limit: int | UnsetType = UNSET,
        refused: bool = True,
    ) -> Finding:
        """A refusal, or else a warning, about this part; ``source`` says where its limit comes from."""
        slot = f"slot {self.slot} " if self.slot > 1 else ""
        place = f"{self.ear} " if band is UNSET else f"{self.ear} {self.bands_hz[band]} Hz "
        return Finding(
            rule=rule,
            severity="refuse" if refused else "warn",
            message=f"{rule}: {slot}{place}{text} ({source})",
            source=source,
            slot=self.slot,
            ear=self.ear,
            band=band,
            value=value,
            limit=limit,
        )


def gathered(findings: Iterable[Finding]) -> Iterator[Finding]:
    """All refusals, and of the warnings only the worst, which says in how many bands there is one.

    For findings about one thing in the bands of one part: a limit that stands too high does so in every band, and
    a hundred warnings are read by nobody.
    """
    warnings = []
    for finding in findings:
        if finding.severity == "refuse":
            yield finding
        else:
            warnings.append(finding)
    if warnings:
        worst = max(warnings, key=_excess)
        bands = len({finding.band for finding in warnings})
        more = f"; so in {bands} bands" if bands > 1 else ""
        yield msgspec.structs.replace(worst, message=worst.message + more)


def _excess(finding: Finding) -> float:
    """A value that has no number is beyond all numbers."""
    if isinstance(finding.value, UnsetType) or isinstance(finding.limit, UnsetType):
        return math.inf
    return finding.value - finding.limit


def whole(rule: str, text: str, source: str, *, ear: Ear | UnsetType = UNSET, refused: bool = True) -> Finding:
    """A finding about the change as a whole, or about one ear of it."""
    return Finding(
        rule=rule,
        severity="refuse" if refused else "warn",
        message=f"{rule}: {text} ({source})",
        source=source,
        ear=ear,
    )
