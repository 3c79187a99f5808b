"""How fast what is on its way may become louder, and what of it may still fall away unnoticed.

The kernel judges a rise when it is asked for; a phone that is slow would bring many of them about at once. So K8's 10
seconds hold again when a rise is offered, over what was heard. This module must not know how a rise is judged when it
is asked for. Read ``is_too_soon`` first, then ``droppable``.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from protocol.contract.base import EARS, Ear
from protocol.contract.fitting import Content, EarProgram

from .budgets import level_at, levels_of
from .limits import GAIN_PATHS, KERNEL_LIMITS, SESSION_WINDOW_S
from .log_parts import held_since
from .log_values import Delivery, LiveSession, Moment
from .mode import only_lowers
from .model import band_values, ear_program

__all__ = ["droppable", "hears", "is_rise", "is_too_soon"]


def hears(live: LiveSession, moment: Moment) -> LiveSession:
    """The session after the aids were given, or found to hold, something else."""
    return replace(live, heard=held_since(live.heard, moment, SESSION_WINDOW_S))


def is_rise(delivery: Delivery) -> bool:
    """Whether something becomes louder with it, for as long as RAM holds it."""
    return delivery.kind == "volatile" and not only_lowers(delivery.base.content, delivery.revision.content)


def is_too_soon(live: LiveSession | None, delivery: Delivery, now_s: float) -> bool:
    """Whether a change that K8 bounds rises over what was heard in the last 10 seconds by more than it was allowed.

    Only time makes it possible; what only lowers is never too soon.
    """
    safety = delivery.revision.safety
    if live is None or delivery.kind != "volatile" or "K8" not in safety.rules:
        return False
    limit = safety.limits.get("windowRiseDdb", KERNEL_LIMITS.window_rise_ddb)
    base, heard = delivery.base.content, None
    for program in delivery.revision.content.programs:
        for ear in EARS:
            new, old = ear_program(program, ear), _level(base, program.slot, ear)
            if new is None or old is None or new == old:
                continue
            heard = heard or [base, *_since(live.heard, now_s - SESSION_WINDOW_S)]
            levels = [level for held in heard if (level := _level(held, program.slot, ear)) is not None]
            if any(value > min(before) + limit for value, before in _rising(new, old, levels)):
                return True
    return False


def droppable(entries: Sequence[Delivery], live: LiveSession | None, now_s: float) -> tuple[Delivery, ...]:
    """The newest of those without an end that may fall away without anybody noticing, oldest first.

    Volatile, never offered, and behind another. The first in line may be on its way already, told by a server that has
    not recorded it yet; unless it is too soon for it, for then it was too soon ever since it became the first.
    """
    found: list[Delivery] = []
    for index in reversed(range(len(entries))):
        delivery = entries[index]
        is_sure = index > 0 or is_too_soon(live, delivery, now_s)
        if delivery.kind != "volatile" or delivery.attempt or not is_sure:
            break
        found.insert(0, delivery)
    return tuple(found)


def _since(heard: Sequence[Moment], since_s: float) -> Iterator[Content]:
    first = max((index for index, moment in enumerate(heard) if moment.at_s <= since_s), default=0)
    return (moment.revision.content for moment in heard[first:])


def _level(content: Content, slot: int, ear: Ear) -> EarProgram | None:
    for program in content.programs:
        if program.slot == slot:
            return ear_program(program, ear)
    # As when it was judged: a slot that is new is measured from the lowest of the others.
    return level_at(levels_of(content), (slot, ear))


def _rising(new: EarProgram, old: EarProgram, levels: Sequence[EarProgram]) -> Iterator[tuple[int, list[int]]]:
    """Each gain that rises, with what it was in each of ``levels``."""
    for path in GAIN_PATHS:
        before = [band_values(level, path) for level in levels]
        for band, (value, held) in enumerate(zip(band_values(new, path), band_values(old, path), strict=True)):
            if value > held:
                yield value, [one[band] for one in before]
