"""What the devices of a storm hold, and the one package that waits for each: another for every device.

The number of a device is written into the gains of its package, digit by digit, so that a package which went to
another device shows by itself. Pure. It must not know a database, nor a connection. Read ``wanted`` first.
"""

from functools import cache
from typing import Final

from msgspec.structs import replace

from clients.virtual_aid.memory import factory_image, with_slots
from fitting.capability import SHEETS
from fitting.digest import content_digests, ear_digest
from fitting.model import content_from_images, ear_image
from fitting.safety import Kernel
from fitting.safety_change import Change
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import AttachDevice, EarImage, Images, Offer, RegisteredAid
from protocol.contract.fitting import Content, Digests, EarProgram, SafetySummary
from protocol.contract.registration import RegisterDevice

from .bench_websocket import BenchFailed
from .carried_aids import FIRMWARE
from .submit_session import MODEL

__all__ = [
    "FITTER",
    "MAX_DEVICES",
    "claim",
    "device_name",
    "judged",
    "patient_name",
    "registration",
    "wanted",
    "wrong",
]

FITTER: Final = "fitter"
_LEVEL_DDB: Final = 100
_STEP_DDB: Final = 10
_DIGITS: Final = 4
_BANDS_HZ: Final = SHEETS[MODEL].bands_hz
MAX_DEVICES: Final = _DIGITS ** len(_BANDS_HZ) - 1


def device_name(number: int) -> str:
    """The id of a device, from 0."""
    return f"storm-{number}"


def patient_name(number: int) -> str:
    """Who wears it."""
    return f"patient-storm-{number}"


def aids_of(number: int) -> dict[Ear, RegisteredAid]:
    """A pair of aids."""
    serials = {ear: f"{device_name(number)}-{ear}" for ear in EARS}
    return {ear: RegisteredAid(serial=serial, model=MODEL, firmware=FIRMWARE) for ear, serial in serials.items()}


def registration(number: int) -> RegisterDevice:
    """What the clinic says of it."""
    aids = aids_of(number)
    return RegisterDevice(
        device=device_name(number),
        patient=patient_name(number),
        assignments=(FITTER,),
        right=aids["right"],
        left=aids["left"],
    )


@cache
def _held(ear: Ear) -> EarImage:
    """The same in every aid: flat, and the same gain for every level."""
    image = factory_image(ear, _BANDS_HZ)
    [slot] = image.slots
    flat = (_LEVEL_DDB,) * len(_BANDS_HZ)
    program = replace(slot.program, g50_ddb=flat, g65_ddb=flat, g80_ddb=flat)
    return with_slots(image, (replace(slot, program=program),))


@cache
def held() -> Content:
    """What a pair holds before its package."""
    return content_from_images({ear: _held(ear) for ear in EARS})


@cache
def _digest(ear: Ear) -> str:
    return ear_digest(_held(ear))


def claim(number: int) -> AttachDevice:
    """What its phone says hello with."""
    images = {
        ear: Images(serial=aid.serial, firmware=aid.firmware, ram=_digest(ear), nvm=_digest(ear), image=_held(ear))
        for ear, aid in aids_of(number).items()
    }
    return AttachDevice(
        device=device_name(number),
        epoch="",
        last_terminal=0,
        fence_max=0,
        left=images["left"],
        right=images["right"],
    )


def wanted(number: int) -> Content:
    """Its package: both ears quieter, in each band by the next digit of the number and one, in steps of 1 dB.

    Raises ValueError for a number that has no place in the bands.
    """
    if not 0 <= number < MAX_DEVICES:
        raise ValueError(f"number: must be 0 to {MAX_DEVICES - 1}")
    levels, rest = [], number + 1
    for _ in _BANDS_HZ:
        rest, digit = divmod(rest, _DIGITS)
        levels.append(_LEVEL_DDB - digit * _STEP_DDB)
    quieter = tuple(levels)

    def lowered(program: EarProgram) -> EarProgram:
        return replace(program, g50_ddb=quieter, g65_ddb=quieter, g80_ddb=quieter)

    [program] = held().programs
    assert isinstance(program.left, EarProgram)
    assert isinstance(program.right, EarProgram)
    return replace(held(), programs=(replace(program, left=lowered(program.left), right=lowered(program.right)),))


def judged(content: Content) -> tuple[Digests, SafetySummary]:
    """The digests of a package, and what the safety kernel says of it. Raises BenchFailed when it refuses."""
    change = Change(
        base=held(),
        candidate=content,
        sheets=dict.fromkeys(EARS, SHEETS[MODEL]),
        origin="fitting",
        mode="standard",
        kind="persist",
    )
    report = Kernel().check(change)
    if report.refusals:
        raise BenchFailed(f"the safety kernel refuses a package of the storm: {report.refusals[0].rule}")
    return content_digests(content), report.summary()


def wrong(offer: Offer, number: int) -> str:
    """What an offer to a device has that is not of its own package; empty when all is right."""
    if offer.device != device_name(number):
        return "another device"
    if (offer.kind, offer.mode) != ("persist", "standard"):
        return "no package"
    if offer.target.left == offer.target.right:
        return "targets"
    content = wanted(number)
    for ear, aid in aids_of(number).items():
        target = getattr(offer.target, ear)
        if target != type(target)(serial=aid.serial, firmware=aid.firmware):
            return "another aid"
        if getattr(offer.body, ear) != ear_image(content, ear).slots:
            return "another body"
    return ""
