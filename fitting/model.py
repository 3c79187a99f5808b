"""Configurations as values: patch them, take them apart by ear, put them together, compare them.

Everything is a frozen struct of the contract and every function is pure, so a revision once written
never changes. This module must not know what is safe (``safety``) nor where a revision is kept
(``log``). Read ``apply_patch`` first, then ``offer_body``.
"""

from collections.abc import Collection, Mapping, Sequence
from operator import sub
from typing import Final

import msgspec
from msgspec import UNSET

from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, OfferBody, SlotImage
from protocol.contract.fitting import (
    BandPath,
    Content,
    Digests,
    EarProgram,
    MicMode,
    Patch,
    PatchOp,
    Program,
    VendorPayload,
)
from protocol.errors import BadArgument

__all__ = [
    "BAND_FIELDS",
    "PerBand",
    "apply_patch",
    "band_values",
    "changed_ears",
    "content_from_images",
    "ear_image",
    "ear_program",
    "ears_of",
    "greatest_rise",
    "offer_body",
    "validate_shape",
]

# What was measured in each band, None where nothing was.
PerBand = tuple[int | None, ...]
BAND_FIELDS: Final[Mapping[BandPath, str]] = {
    "g50Ddb": "g50_ddb",
    "g65Ddb": "g65_ddb",
    "g80Ddb": "g80_ddb",
    "mpoDdb": "mpo_ddb",
}
_PER_BAND: Final = (*BAND_FIELDS.items(), ("maxStableGainDdb", "max_stable_gain_ddb"))
_EARS_WORN: Final[Mapping[tuple[bool, bool], tuple[Ear, ...]]] = {
    (True, True): ("right", "left"),
    (True, False): ("right",),
    (False, True): ("left",),
    (False, False): (),
}
_MICS = msgspec.json.schema(MicMode)["enum"]


def band_values(program: EarProgram, path: BandPath) -> tuple[int, ...]:
    """The values of one band path, in tenths of a decibel, one per band."""
    values: tuple[int, ...] = getattr(program, BAND_FIELDS[path])
    return values


def greatest_rise(old: tuple[int, ...], new: tuple[int, ...]) -> int:
    """By how much the values of a path rise in the band where they rise most; negative when all fall."""
    rise: int = max(map(sub, new, old))
    return rise


def ear_program(program: Program, ear: Ear) -> EarProgram | None:
    """One ear's part of a program, None when that ear wears no aid."""
    part = program.right if ear == "right" else program.left
    return None if part is UNSET else part


def ears_of(content: Content) -> tuple[Ear, ...]:
    """The ears that wear an aid, right first."""
    right = left = False
    for program in content.programs:
        right = right or program.right is not UNSET
        left = left or program.left is not UNSET
    return _EARS_WORN[right, left]


def validate_shape(content: Content) -> None:
    """Check that the parts of a content fit together.

    Raises BadArgument: a band list of another length than ``bands_hz``, frequencies or slots that do not
    rise, programs with different ears, or no ear at all.
    """
    if not _rises(content.bands_hz):
        raise BadArgument("the frequencies of bandsHz must rise")
    slots = [program.slot for program in content.programs]
    # One order only, so that equal configurations have equal digests.
    if not _rises(slots):
        raise BadArgument("the slots of the programs must rise, each used once")
    ears = ears_of(content)
    if not ears:
        raise BadArgument("the content has no ear")
    bands = len(content.bands_hz)
    for program in content.programs:
        for ear in ears:
            part = ear_program(program, ear)
            if part is None:
                raise BadArgument(f"slot {program.slot} has no {ear} ear, other slots have one")
            for path, name in _PER_BAND:
                values = getattr(part, name)
                if values is not UNSET and len(values) != bands:
                    raise BadArgument(
                        f"slot {program.slot} {ear} {path} must have {bands} values, "
                        f"one per band, but has {len(values)}"
                    )


def _rises(values: Sequence[int]) -> bool:
    return list(values) == sorted(set(values))


def apply_patch(content: Content, patch: Patch) -> Content:
    """The content after ``patch``: operations in order, ``add`` resolved to absolute values.

    Values are not judged here, the safety kernel does that. Raises BadArgument: an unknown slot, an ear
    that the program has not, a band missing, out of range or on a path without bands, a value of the
    wrong type.
    """
    programs = list(content.programs)
    index = next((i for i, program in enumerate(programs) if program.slot == patch.slot), None)
    if index is None:
        raise BadArgument(f"there is no program in slot {patch.slot}")
    for number, op in enumerate(patch.ops):
        part = ear_program(programs[index], op.ear)
        if part is None:
            raise BadArgument(f"ops[{number}]: slot {patch.slot} has no {op.ear} ear")
        changed = _apply_op(part, op, f"ops[{number}]")
        programs[index] = msgspec.structs.replace(programs[index], **{op.ear: changed})
    return msgspec.structs.replace(content, programs=tuple(programs))


def _apply_op(part: EarProgram, op: PatchOp, where: str) -> EarProgram:
    if op.path == "mic":
        if op.band is not UNSET:
            raise BadArgument(f"{where}: mic has no bands")
        if op.op != "set" or op.value not in _MICS:
            raise BadArgument(f"{where}: mic can only be set, to one of {', '.join(_MICS)}")
        return msgspec.structs.replace(part, mic=op.value)
    # A bool is an int to Python, but never a level.
    if isinstance(op.value, bool) or not isinstance(op.value, int):
        raise BadArgument(f"{where}: {op.path} needs an integer, tenths of a decibel")
    if op.path == "nrDdb":
        if op.band is not UNSET:
            raise BadArgument(f"{where}: nrDdb has no bands")
        return msgspec.structs.replace(part, nr_ddb=op.value + (part.nr_ddb if op.op == "add" else 0))
    values = list(band_values(part, op.path))
    if op.band is UNSET:
        raise BadArgument(f"{where}: {op.path} needs a band")
    if not 0 <= op.band < len(values):
        raise BadArgument(f"{where}: band {op.band} is not one of 0 to {len(values) - 1}")
    values[op.band] = op.value + (values[op.band] if op.op == "add" else 0)
    return msgspec.structs.replace(part, **{BAND_FIELDS[op.path]: tuple(values)})


def ear_image(content: Content, ear: Ear) -> EarImage:
    """Everything that the aid of one ear holds. Raises BadArgument when the content has not that ear."""
    slots = tuple(
        SlotImage(slot=program.slot, name=program.name, category=program.category, program=part)
        for program in content.programs
        if (part := ear_program(program, ear)) is not None
    )
    if not slots:
        raise BadArgument(f"the content has no {ear} ear")
    return EarImage(ear=ear, bands_hz=content.bands_hz, slots=slots, refs=content.refs)


def content_from_images(images: Mapping[Ear, EarImage]) -> Content:
    """The content of one or two aids as they were read.

    Raises BadArgument when there is no image, an image is of the other ear, or the two do not fit
    together: other bands, references, slots, names or categories.
    """
    present = [(ear, images[ear]) for ear in EARS if ear in images]
    if not present:
        raise BadArgument("a content needs the image of at least one ear")
    for ear, image in present:
        if image.ear != ear:
            raise BadArgument(f"the image given for the {ear} ear is of the {image.ear} ear")
    first = present[0][1]
    heads = [[(s.slot, s.name, s.category) for s in image.slots] for _, image in present]
    if any(image.bands_hz != first.bands_hz or image.refs != first.refs for _, image in present):
        raise BadArgument("the two ears have different bands or references")
    if any(head != heads[0] for head in heads):
        raise BadArgument("the two ears have different program slots, names or categories")
    programs = tuple(
        Program(
            slot=slot.slot,
            name=slot.name,
            category=slot.category,
            **{ear: image.slots[index].program for ear, image in present},
        )
        for index, slot in enumerate(first.slots)
    )
    content = Content(bands_hz=first.bands_hz, programs=programs, refs=first.refs)
    validate_shape(content)
    return content


def changed_ears(before: Content | None, after: Content) -> tuple[Ear, ...]:
    """The ears of ``after`` that hold something else than in ``before``, right first."""
    known = ears_of(before) if before is not None else ()
    return tuple(
        ear
        for ear in ears_of(after)
        if before is None or ear not in known or ear_image(before, ear) != ear_image(after, ear)
    )


def offer_body(
    before: Content,
    after: Content,
    digests: Digests,
    ears: Collection[Ear] | None = None,
    vendor: VendorPayload | None = None,
) -> OfferBody:
    """What the phone writes to get ``ears``, or those that change, from ``before`` to ``after``: whole slots.

    Values are absolute; ``digests`` are those of ``after``. An ear that stays as it is has all its slots in it: it is
    to be proven, or saved. Raises BadArgument when ``after`` lacks a slot or an ear of ``before`` or has another
    grid: writing slots cannot express that.
    """
    gone = {p.slot for p in before.programs} - {p.slot for p in after.programs}
    if gone or set(ears_of(before)) - set(ears_of(after)) or before.bands_hz != after.bands_hz:
        raise BadArgument("a change cannot take away slots, ears or bands")
    changed: dict[Ear, tuple[SlotImage, ...]] = {}
    for ear in changed_ears(before, after) if ears is None else ears:
        old = ear_image(before, ear).slots if ear in ears_of(before) else ()
        new = ear_image(after, ear).slots
        changed[ear] = tuple(slot for slot in new if slot not in old) or new
    return OfferBody(
        bands_hz=after.bands_hz,
        refs=after.refs,
        expect=digests,
        left=changed.get("left", ()),
        right=changed.get("right", ()),
        vendor=UNSET if vendor is None else vendor,
    )
