"""The fitting memory of an aid while it is written: old and new values side by side, chunk by chunk.

Pure. Read ``after_chunk`` first.
"""

from msgspec.structs import replace

from protocol.contract.base import Ear
from protocol.contract.devices import EarImage, SlotImage
from protocol.contract.fitting import EarProgram

__all__ = ["CHUNKS", "after_chunk", "factory_image", "with_slots"]

CHUNKS = 8


def factory_image(ear: Ear, bands_hz: tuple[int, ...]) -> EarImage:
    """What an aid holds before anybody fitted it: no gain, and 100 dB SPL at most."""
    flat = (0,) * len(bands_hz)
    program = EarProgram(g50_ddb=flat, g65_ddb=flat, g80_ddb=flat, mpo_ddb=(1_000,) * len(bands_hz))
    slot = SlotImage(slot=1, name="Universal", category="universal", program=program)
    return EarImage(ear=ear, bands_hz=bands_hz, slots=(slot,))


def with_slots(image: EarImage, slots: tuple[SlotImage, ...]) -> EarImage:
    """``image`` with these slots put in place, in the order of their numbers."""
    by_number = _by_number(image) | {slot.slot: slot for slot in slots}
    return replace(image, slots=tuple(by_number[number] for number in sorted(by_number)))


def after_chunk(before: EarImage, target: EarImage, chunk: int) -> EarImage:
    """What the memory holds when ``chunk`` of the 8 chunks of a write have arrived.

    Values arrive output limit first, then the gain for loud sounds, then for soft ones: a limit that goes
    down is in place before a gain goes up. Names, scalars and slots that come or go follow in the last chunk.
    """
    if chunk >= CHUNKS:
        return target
    wanted = _by_number(target)
    slots = (_partly(slot, wanted[slot.slot], chunk) if slot.slot in wanted else slot for slot in before.slots)
    return replace(before, slots=tuple(slots))


def _by_number(image: EarImage) -> dict[int, SlotImage]:
    return {slot.slot: slot for slot in image.slots}


def _partly(before: SlotImage, target: SlotImage, chunk: int) -> SlotImage:
    old, new = _values(before.program), _values(target.program)
    arrived = len(new) * chunk // CHUNKS
    values = new[:arrived] + old[arrived:]
    bands = len(values) // 4
    mpo, g80, g65, g50 = (values[start : start + bands] for start in range(0, len(values), bands))
    program = replace(before.program, mpo_ddb=mpo, g80_ddb=g80, g65_ddb=g65, g50_ddb=g50)
    return replace(before, program=program)


def _values(program: EarProgram) -> tuple[int, ...]:
    return program.mpo_ddb + program.g80_ddb + program.g65_ddb + program.g50_ddb
