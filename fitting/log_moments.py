"""What NVM held, as far as the budget of a week looks back, within a bound: the lowest of it is never forgotten.

A first fit that has come about begins the count anew, so all before it may go. What is not lower anywhere than all that
came after it says nothing. Whatever more must go is put together with what followed it, each value the lower of both:
budgets are then counted from less for longer, never from more. What was taken back after an ear may have kept it counts
too, and what ears keep that belongs to no pair, made up likewise, so that nobody takes it for something that was worn.
This module must not know where moments are kept. Read ``bounded`` first.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import BAND_PATHS, BandPath, Content, EarProgram, Program

from .budgets import Levels, Place, least, level_at, levels_of, lowest
from .limits import WEEK_S
from .log_parts import read_revision
from .log_values import Moment, Revision
from .model import band_values, ear_program

__all__ = ["bounded", "counted", "kept_meanwhile", "was_held"]

# Read-backs have no author: this tells what was put together from what was read.
_AUTHOR: Final = "server"
_REASON: Final = "not held by the aids: the lowest of what was active before"
_MEANWHILE: Final = "kept by an ear for a while, and not what both keep: the lowest of it and of what was counted from"


def counted(active: Sequence[Moment], now_s: float) -> tuple[Moment, ...]:
    """Without what budgets do not look at any more.

    What was the last when the week began was still in force then. A first fit is in RAM only, and what was made up was
    never held as it is, so what both aids kept before stays as well.
    """
    before = [moment for moment in active if moment.at_s <= now_s - WEEK_S]
    stay = _newest(before)
    return tuple(m for m in active if m.at_s > now_s - WEEK_S or any(m is one for one in stay))


def bounded(
    active: Sequence[Moment], limit: int, new_id: Callable[[], str], now_s: float
) -> tuple[tuple[Moment, ...], tuple[Revision, ...]]:
    """At most so many moments that are as safe to count from, and the revisions that had to be made for them."""
    kept, made = list(active), []
    if len(kept) > limit:
        kept = _telling(kept)
    while len(kept) > limit and (pair := _first_pair(kept)) is not None:
        at, to = pair
        older, newer = kept[at].revision, kept[to].revision
        both = read_revision(_lowest_of(older.content, newer.content), new_id(), newer.revision_id, _REASON, now_s)
        both = msgspec.structs.replace(both, author=_AUTHOR)
        kept[to] = Moment(kept[to].at_s, both)
        del kept[at]
        made.append(both)
    named = {moment.revision.revision_id for moment in kept}
    return tuple(kept), tuple(one for one in made if one.revision_id in named)


def kept_meanwhile(
    brought: Revision,
    ears: Collection[Ear],
    active: Sequence[Moment],
    *,
    before: Revision,
    new_id: Callable[[], str],
    now_s: float,
) -> Revision | None:
    """What is to be counted now that NVM of ``ears`` may have kept something, beside ``before``: what was counted.
    None when it was nowhere lower, or cannot be compared.

    It is nowhere above ``before``, so that nothing is counted from more. A slot that was new is as low as the ear's
    others, for that is what a new one is counted from.
    """
    if before.content.bands_hz != brought.content.bands_hz:
        return None
    counted_from = levels_of(before.content)
    of_week = lowest([*(moment.revision.content for moment in active), before.content])
    levels: dict[Place, EarProgram] = {}
    for place, part in levels_of(brought.content).items():
        known = counted_from.get(place) or level_at(of_week, place)
        if known is None:
            return None
        levels[place] = least((known, part)) if place[1] in ears else known
    if all(counted_from.get(place) == part for place, part in levels.items()):
        return None
    programs = tuple(_with(program, levels) for program in brought.content.programs)
    content = msgspec.structs.replace(brought.content, programs=programs)
    made = read_revision(content, new_id(), before.revision_id, _MEANWHILE, now_s)
    return msgspec.structs.replace(made, author=_AUTHOR)


def was_held(moment: Moment) -> bool:
    """Whether the aids held exactly that, and it was not put together."""
    return moment.revision.origin != "readback" or moment.revision.author != _AUTHOR


def _newest(active: Sequence[Moment]) -> tuple[Moment, ...]:
    """What is in force at the end of it, the last first fit, and what both aids are known to have kept last."""
    fits = [moment for moment in active if _is_first_fit(moment)]
    held = [moment for moment in active if was_held(moment) and not _is_first_fit(moment)]
    return (*active[-1:], *fits[-1:], *held[-1:])


def _telling(active: Sequence[Moment]) -> list[Moment]:
    """Without the moments that change nothing that is counted, as what came after them is as low everywhere."""
    kept: list[Moment] = []
    later: list[Content] = []
    stay, is_void = _newest(active), False
    for moment in reversed(active):
        stays = any(moment is one for one in stay)
        if stays or not (is_void or _says_nothing(moment.revision.content, later)):
            kept.append(moment)
            later = [_lowest_of(moment.revision.content, *later)]
        # Nothing before a first fit is counted.
        is_void = is_void or _is_first_fit(moment)
    return kept[::-1]


def _says_nothing(content: Content, later: Sequence[Content]) -> bool:
    if not later or later[0].bands_hz != content.bands_hz:
        return False
    held, least = levels_of(content), levels_of(later[0])
    return held.keys() <= least.keys() and all(_is_as_low(least, held, path) for path in BAND_PATHS)


def _is_as_low(least: Levels, held: Levels, path: BandPath) -> bool:
    return all(
        low <= value
        for place, part in held.items()
        for low, value in zip(band_values(least[place], path), band_values(part, path), strict=True)
    )


def _first_pair(active: Sequence[Moment]) -> tuple[int, int] | None:
    """The oldest two of the same bands that may be put together: no first fit, and not what NVM holds now."""
    stay = _newest(active)
    others = [at for at, m in enumerate(active) if not _is_first_fit(m) and all(m is not one for one in stay)]
    bands = [active[at].revision.content.bands_hz for at in others]
    pairs = ((others[n], others[bands.index(one, n + 1)]) for n, one in enumerate(bands) if one in bands[n + 1 :])
    return next(pairs, None)


def _lowest_of(older: Content, newer: Content | None = None) -> Content:
    """The newer one with each value the lower of both. Of other bands nothing can be compared, nor is it counted."""
    if newer is None or older.bands_hz != newer.bands_hz:
        return newer or older
    levels = lowest((older, newer))
    programs = {program.slot: program for program in (*older.programs, *newer.programs)}
    return msgspec.structs.replace(newer, programs=tuple(_with(programs[slot], levels) for slot in sorted(programs)))


def _with(program: Program, levels: Levels) -> Program:
    ears = {ear: levels.get((program.slot, ear), ear_program(program, ear) or UNSET) for ear in EARS}
    return msgspec.structs.replace(program, **ears)


def _is_first_fit(moment: Moment) -> bool:
    return moment.revision.origin == "first_fit"
