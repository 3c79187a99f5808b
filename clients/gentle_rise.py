"""How a package becomes louder: what an aid plays on the way, so that nobody is startled by what they have chosen.

What is brought back was worn before, so it may be far above what is heard now. Live it is asked for in steps
(``fitting.ramp``); a package is one thing, so its phone takes the same steps. Pure: no clock, no link. Read
``steps_up``.
"""

from fitting.capability import CapabilitySheet
from fitting.model import BAND_FIELDS, content_from_images, ear_image, greatest_rise
from fitting.ramp import RAMP_STEP_DDB, ramp
from protocol.contract.devices import EarImage

__all__ = ["steps_up"]


def steps_up(held: EarImage, target: EarImage, sheet: CapabilitySheet) -> tuple[EarImage, ...]:
    """What one aid plays between ``held`` and ``target``; nothing when no level rises by more than a step.

    No level is more than ``RAMP_STEP_DDB`` above what it was before, or one step of the aid where that is more. What
    falls does so at once, and a program that was not there comes with the target.
    """
    if not _is_startling(held, target):
        return ()
    before, wanted = (content_from_images({image.ear: image}) for image in (held, target))
    on_the_way = ramp(before, wanted, {held.ear: sheet})[:-1]
    return tuple(ear_image(content, held.ear) for content in on_the_way)


def _is_startling(held: EarImage, target: EarImage) -> bool:
    before = {slot.slot: slot.program for slot in held.slots}
    rises = (
        greatest_rise(getattr(before[slot.slot], field), getattr(slot.program, field))
        for slot in target.slots
        if slot.slot in before
        for field in BAND_FIELDS.values()
    )
    return any(rise > RAMP_STEP_DDB for rise in rises)
