"""What the budgets of K8 and K9 are counted from: the levels that a device held, and the lowest of them.

Sessions and packages must not ratchet: what may be raised is counted from where the session began, from the
last 10 seconds, and from the lowest value that was active in the last 7 days. This module turns a history of
(time, content) into those levels. It must not know where a history is kept, nor what a budget is. Read
``budgets`` first.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import UNSET

from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import Content, EarProgram, Program

from .limits import SESSION_WINDOW_S, WEEK_S
from .model import BAND_FIELDS, ear_image, ear_program, ears_of

__all__ = [
    "NOTHING_KNOWN",
    "Budgets",
    "Held",
    "Levels",
    "Place",
    "budgets",
    "least",
    "level_at",
    "levels_of",
    "lowest",
    "lowest_since",
    "was_active",
    "was_worn",
]

Place = tuple[int, Ear]
Levels = Mapping[Place, EarProgram]


class Held(msgspec.Struct, frozen=True):
    """A content that the aids were given, or found to hold, at ``at_s``, until the next one.

    ``begins``: it was set as a first fit that has come about, so earlier, lower values no longer count. A
    read-back never begins anew: a fault or a foreign application could otherwise wind a budget up.
    """

    at_s: float
    content: Content
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Budgets:
    """What K8 and K9 count from, per slot and ear; None where nothing is known, and then nothing may rise."""

    session_base: Levels | None = None
    lowest_10s: Levels | None = None
    active: Levels | None = None
    lowest_active_7d: Levels | None = None


NOTHING_KNOWN: Final = Budgets()


def budgets(
    now_s: float,
    *,
    session: Sequence[Held] = (),
    active: Sequence[Held] = (),
) -> Budgets:
    """The levels to count from at ``now_s``. Both histories are in the order of time, oldest first.

    ``session``: what RAM held when the session began, then every content that was accepted since; empty when
    there is no session. Of the contents in between only those of the last 10 seconds, and the one before them,
    are looked at. ``active``: every content that NVM held in the last 7 days, the one in force at their
    beginning included.
    """
    begun = _from_last_beginning(session)
    in_nvm = _from_last_beginning(active)
    return Budgets(
        session_base=levels_of(begun[0].content) if begun else None,
        lowest_10s=_lowest_since(begun, now_s - SESSION_WINDOW_S),
        active=levels_of(in_nvm[-1].content) if in_nvm else None,
        lowest_active_7d=_lowest_since(in_nvm, now_s - WEEK_S),
    )


def lowest_since(history: Sequence[Held], since_s: float) -> Levels | None:
    """The lowest value of every level that was held at ``since_s`` or later; None without a history.

    ``history`` is in the order of time and must reach back to ``since_s``, or to the beginning of everything.
    """
    return _lowest_since(_from_last_beginning(history), since_s)


def _lowest_since(begun: Sequence[Held], since_s: float) -> Levels | None:
    first = max(0, bisect_right(begun, since_s, key=attrgetter("at_s")) - 1)
    return lowest([held.content for held in begun[first:]]) if begun else None


def lowest(contents: Sequence[Content]) -> Levels:
    """The lowest value of each level over some contents, per slot and ear, of those with the last one's bands.

    Other bands mean other aids: their levels cannot be compared.
    """
    by_slot: dict[int, list[Program]] = {}
    for content in contents:
        if content.bands_hz == contents[-1].bands_hz:
            for program in content.programs:
                by_slot.setdefault(program.slot, []).append(program)
    lowest_of: dict[Place, EarProgram] = {}
    for slot, programs in by_slot.items():
        for ear in EARS:
            # By identity: what a change leaves alone is the same object before and after it.
            held = {id(part): part for part in map(attrgetter(ear), programs) if part is not UNSET}
            if held:
                lowest_of[slot, ear] = least(tuple(held.values()))
    return MappingProxyType(lowest_of)


def levels_of(content: Content) -> Levels:
    """What one content holds, per slot and ear."""
    return MappingProxyType(
        {
            (program.slot, ear): part
            for program in content.programs
            for ear in EARS
            if (part := ear_program(program, ear)) is not None
        }
    )


def level_at(levels: Levels, place: Place) -> EarProgram | None:
    """What a rise at a place is measured from; None when that ear is not known at all.

    A slot that is new is measured from the lowest of the ear's other programs: whichever of them was being
    heard, the new one is not louder by more than the rise.
    """
    if place in levels:
        return levels[place]
    others = [program for (_, ear), program in levels.items() if ear == place[1]]
    return least(others) if others else None


def was_active(history: Iterable[Held], candidate: Content) -> bool:
    """Whether each ear of ``candidate`` is to hold exactly what it held in one of the contents of ``history``."""
    known = [held.content for held in history]
    return all(
        any(ear in ears_of(content) and ear_image(content, ear) == ear_image(candidate, ear) for content in known)
        for ear in ears_of(candidate)
    )


def was_worn(history: Iterable[Held], candidate: Content) -> bool:
    """Whether both ears of ``candidate`` are to hold what they held together in one of the contents of ``history``."""
    return any(was_active((held,), candidate) for held in history)


def least(programs: Sequence[EarProgram]) -> EarProgram:
    """The first one with the lowest level of them all in each band."""
    if len(programs) == 1:
        return programs[0]
    # In one go over all of them: a session that is worked on has forty within ten seconds.
    return msgspec.structs.replace(programs[0], **{name: _lowest_of(programs, name) for name in BAND_FIELDS.values()})


def _from_last_beginning(history: Sequence[Held]) -> Sequence[Held]:
    begins = [index for index, held in enumerate(history) if held.begins]
    return history[begins[-1] :] if begins else history


def _lowest_of(programs: Sequence[EarProgram], field: str) -> tuple[int, ...]:
    levels = set(map(attrgetter(field), programs))
    return tuple(map(min, *levels)) if len(levels) > 1 else levels.pop()
