"""Safety rules K7 to K9: how far gain and output may rise, at once, in a session, and by a package.

A part that is not changed has not risen. This module must not know when a rule holds (``safety``), what is too
loud in itself (``safety_levels``), nor where the levels that are counted from are kept. Read ``k7``, then ``k8``
and ``k9``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import sub

from msgspec import UNSET

from protocol.contract.fitting import BAND_PATHS, EarProgram, Finding

from .limits import ENGINEERING, GAIN_PATHS, ClinicLimits, decibel
from .model import band_values
from .safety_change import Change, Over, Part, gathered

__all__ = ["k7", "k8", "k9"]

_WEEK = "lowest active value of the last 7 days"
_NOTICED = "noticeable difference, Caswell-Midwinter and Whitmer 2019"


@dataclass(frozen=True, slots=True)
class _Budget:
    """At most ``limit`` over ``levels``; ``when`` and ``source`` say it to a person."""

    levels: EarProgram
    limit: int
    when: str
    source: str


def k7(change: Change) -> tuple[Finding, ...]:
    """One live change raises gain by at most 3 dB in a band, 2 dB when all bands move, and MPO by 3 dB."""
    limits = change.context.limits
    findings: list[Finding] = []
    for part in _changed(change):
        if part.before is None:
            text = "holds nothing that a rise could be measured from: begin with a first fit"
            findings.append(part.finding("K7", text, "nothing read back"))
            continue
        every = _all_bands_move(part, part.before)
        name = "live_rise_all_bands_ddb" if every else "live_rise_ddb"
        when = "at once when all bands move" if every else "at once"
        limit: int = getattr(limits, name)
        findings += _gain(part, "K7", _Budget(part.before, limit, when, limits.source(name, _NOTICED)))
        name, limit = "live_mpo_rise_ddb", limits.live_mpo_rise_ddb
        findings += _mpo(part, "K7", _Budget(part.before, limit, "at once", limits.source(name, ENGINEERING)))
    return tuple(findings)


def k8(change: Change) -> tuple[Finding, ...]:
    """A session raises gain by at most 6 dB per band in 10 s and 12 dB in all, MPO by 6 dB in all.

    Counted from where the session began, and from the lowest that was active in the last 7 days. An aid that
    keeps what it was given when its link is lost is raised by at most 3 dB in a session.
    """
    findings: list[Finding] = []
    for part in _changed(change):
        known, limits = change.context.budgets, change.context.limits
        window, begun, week = part.at(known.lowest_10s), part.at(known.session_base), part.at(known.lowest_active_7d)
        if window is None or begun is None or week is None:
            findings += _unknown(part, "K8", "as it is not known where the session began and what was active")
            continue
        gain, mpo = (
            (
                _Budget(begun, *_session_limit(part, limits, name)),
                _Budget(week, getattr(limits, name), "in 7 days", limits.source(name, _WEEK)),
            )
            for name in ("session_rise_ddb", "session_mpo_rise_ddb")
        )
        source = limits.source("window_rise_ddb", "last 10 seconds")
        at_once = _Budget(window, limits.window_rise_ddb, "in 10 s", source)
        # What RAM holds already was heard already, however short ago it came there.
        findings += _gain(part, "K8", *gain, *(() if change.context.in_ram else (at_once,)))
        findings += _mpo(part, "K8", *mpo)
    return tuple(findings)


def k9(change: Change) -> tuple[Finding, ...]:
    """A package raises gain by at most 5 dB per band and 3 dB on average over what is active, and no MPO.

    Counted from the lowest that was active in the last 7 days too. Falls do not pay for rises.
    """
    findings: list[Finding] = []
    for part in _changed(change):
        known, limits = change.context.budgets, change.context.limits
        active, week = part.at(known.active), part.at(known.lowest_active_7d)
        if active is None or week is None:
            findings += _unknown(part, "K9", "as it is not known what is active")
            continue
        places = ((active, "by a package", "active in the aid"), (week, "in 7 days", _WEEK))
        for field, judge in (("package_rise_ddb", _gain), ("package_mean_rise_ddb", _mean)):
            limit: int = getattr(limits, field)
            counted = (_Budget(of, limit, when, limits.source(field, origin)) for of, when, origin in places)
            findings += judge(part, "K9", *counted)
        findings += _mpo(part, "K9", *(_Budget(of, 0, when, origin) for of, when, origin in places))
    return tuple(findings)


def _changed(change: Change) -> Iterator[Part]:
    return (part for part in change.parts if part.changed)


def _session_limit(part: Part, limits: ClinicLimits, name: str) -> tuple[int, str, str]:
    limit: int = getattr(limits, name)
    if part.sheet.reverts_on_link_loss or limit <= limits.unreverted_rise_ddb:
        return limit, "in a session", limits.source(name, "session base")
    return limits.unreverted_rise_ddb, "in a session", limits.source("unreverted_rise_ddb", part.sheet_name)


def _all_bands_move(part: Part, before: EarProgram) -> bool:
    by_path = [map(sub, band_values(part.new, path), band_values(before, path)) for path in GAIN_PATHS]
    return all(map(max, *by_path))


def _gain(part: Part, rule: str, *budgets: _Budget) -> Iterator[Finding]:
    """One finding per band, by the budget that is overdrawn most; warnings gathered."""
    over = tuple(budget for budget in budgets if part.exceeds(budget.levels, GAIN_PATHS, budget.limit))
    return gathered(_bands_over(part, rule, "gain", over, _gain_over))


def _mpo(part: Part, rule: str, *budgets: _Budget) -> Iterator[Finding]:
    over = tuple(budget for budget in budgets if part.exceeds(budget.levels, ("mpoDdb",), budget.limit))
    return gathered(_bands_over(part, rule, "maximum output", over, _mpo_over))


def _gain_over(part: Part, budget: _Budget, band: int) -> Over | None:
    return part.gain_over(band, part.ceilings(budget.levels, band, budget.limit))


def _mpo_over(part: Part, budget: _Budget, band: int) -> Over | None:
    excess = part.new.mpo_ddb[band] - budget.levels.mpo_ddb[band] - budget.limit
    return Over(excess, part.rises("mpoDdb", band)) if excess > 0 else None


def _bands_over(
    part: Part, rule: str, name: str, budgets: tuple[_Budget, ...], judge: Callable[[Part, _Budget, int], Over | None]
) -> Iterator[Finding]:
    for band in range(len(part.bands_hz) if budgets else 0):
        found = [(over, budget) for budget in budgets if (over := judge(part, budget, band)) is not None]
        if found:
            over, budget = max(found, key=_worst)
            value, limit = over.excess + budget.limit, budget.limit
            text = f"{name} may rise by at most {decibel(limit)} dB {budget.when}, asked for {decibel(value)} dB"
            yield part.finding(rule, text, budget.source, band=band, value=value, limit=limit, refused=over.refused)


def _worst(found: tuple[Over, _Budget]) -> tuple[bool, int]:
    return found[0].refused, found[0].excess


def _mean(part: Part, rule: str, *budgets: _Budget) -> Iterator[Finding]:
    """At most one finding: the level at which the bands rise most on average. Falls do not pay for rises."""
    bands = len(part.bands_hz)
    found = []
    for budget in budgets:
        for path in GAIN_PATHS:
            held = band_values(budget.levels, path)
            excess = _sum_of_rises(held, band_values(part.new, path)) - budget.limit * bands
            if excess > 0:
                before = None if part.old is None else _sum_of_rises(held, band_values(part.old, path))
                found.append((Over(excess, before is None or excess > before - budget.limit * bands), budget))
    if found:
        over, budget = max(found, key=_worst)
        # Rounded up, so that a mean just over the limit does not read as the limit.
        value, limit = budget.limit - (-over.excess // bands), budget.limit
        text = f"gain may rise by at most {decibel(limit)} dB {budget.when} on average, asked for {decibel(value)} dB"
        yield part.finding(rule, text, budget.source, value=value, limit=limit, refused=over.refused)


def _sum_of_rises(old: tuple[int, ...], new: tuple[int, ...]) -> int:
    return sum(max(0, b - a) for a, b in zip(old, new, strict=True))


def _unknown(part: Part, rule: str, why: str) -> Iterator[Finding]:
    """Nothing may rise: the first band that does, and by how much."""
    for band in range(len(part.bands_hz)):
        if any(part.rises(path, band) for path in BAND_PATHS):
            value = UNSET if part.old is None else max(_rises(part.old, part.new, band))
            yield part.finding(
                rule, f"nothing may be raised, {why}", "nothing on record", band=band, value=value, limit=0
            )
            return


def _rises(old: EarProgram, new: EarProgram, band: int) -> list[int]:
    return [band_values(new, path)[band] - band_values(old, path)[band] for path in BAND_PATHS]
