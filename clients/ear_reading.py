"""What a read-back of an aid means for the work on it: the target, what was there before, or somebody else's doing.

Pure. A clinic, or another app, may save something in an aid at any time, past the phone: that is not ours to overwrite.
Must not know what follows from it: that is the table of ``ear_work``. Read ``read_event`` first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import to_builtins

from clients.ear_work import EarEvent, EarPhase
from protocol.contract.devices import EarImage

__all__ = ["Sought", "is_torn", "read_event"]

_NVM_IS_READ: Final = frozenset({EarPhase.CHECKING_NVM, EarPhase.NVM_UNKNOWN})
_NVM_IS_COMPARED: Final = frozenset({EarPhase.CHECKING_BOTH, EarPhase.NVM_UNKNOWN, EarPhase.BACK_VERIFYING})
# Where a copy of ours has just been acknowledged.
_NVM_IS_OURS: Final = frozenset({EarPhase.CHECKING_NVM, EarPhase.CHECKING_RAM})


@dataclass(frozen=True, slots=True)
class Sought:
    """The digests that tell one read-back from another; ``nvm_before`` None when NVM is not looked at.

    ``owns_nvm``: what NVM holds is our doing, whatever it is: the aid does not keep what it is given.
    """

    before: str
    target: str
    nvm_before: str | None = None
    owns_nvm: bool = False


def read_event(phase: EarPhase, ram: str, nvm: str, sought: Sought, *, is_torn: bool = False) -> EarEvent:
    """What a read-back means in a phase. An aid that held the target before all this is at its target.

    ``is_torn``: NVM holds nothing but parts of what it held before and of the target, so that is our doing.
    """
    known = {sought.nvm_before, sought.target}
    is_foreign = sought.nvm_before is not None and nvm not in known and not (is_torn or sought.owns_nvm)
    if phase is EarPhase.BACK_CHECKING:
        return _read_back(ram, nvm, sought, is_foreign=is_foreign)
    if phase is EarPhase.BACK_VERIFYING and not is_foreign:
        return EarEvent.READ_TARGET if ram == sought.nvm_before else EarEvent.READ_OTHER
    # Whoever saves something leaves both memories alike.
    is_sure = phase in _NVM_IS_COMPARED or (phase in _NVM_IS_OURS and ram == nvm)
    if is_foreign and is_sure:
        return EarEvent.READ_FOREIGN
    digest, before = (nvm, sought.nvm_before) if phase in _NVM_IS_READ else (ram, sought.before)
    if digest == sought.target:
        return EarEvent.READ_TARGET
    return EarEvent.READ_BEFORE if digest == before else EarEvent.READ_OTHER


def _read_back(ram: str, nvm: str, sought: Sought, *, is_foreign: bool) -> EarEvent:
    if is_foreign and ram in (nvm, sought.before):
        return EarEvent.READ_FOREIGN
    if not is_foreign and sought.nvm_before is not None and nvm != sought.nvm_before:
        return EarEvent.READ_OTHER_NVM
    return EarEvent.READ_BEFORE if ram == sought.before else EarEvent.READ_OTHER


def is_torn(held: EarImage, before: EarImage, target: EarImage) -> bool:
    """Whether every value of an image is that of one or of the other, as a copy that was broken off may leave it."""
    return _is_of(to_builtins(held), to_builtins(before), to_builtins(target))


def _is_of(held: Any, before: Any, target: Any) -> bool:
    if held in (before, target):
        return True
    if isinstance(held, Mapping) and isinstance(before, Mapping) and isinstance(target, Mapping):
        return held.keys() <= before.keys() | target.keys() and all(
            _is_of(value, before.get(key), target.get(key)) for key, value in held.items()
        )
    if isinstance(held, Sequence) and isinstance(before, Sequence) and isinstance(target, Sequence):
        is_text = isinstance(held, str)
        is_long = not len(held) == len(before) == len(target)
        return not (is_text or is_long) and all(map(_is_of, held, before, target))
    return False
