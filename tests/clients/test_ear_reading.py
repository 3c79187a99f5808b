"""What a read-back means: ours, as it was before, or somebody else's."""

import pytest
from msgspec.structs import replace

from clients.ear_reading import Sought, is_torn, read_event
from clients.ear_work import EarEvent, EarPhase
from clients.virtual_aid.memory import CHUNKS, after_chunk, factory_image, with_slots
from protocol.contract.devices import EarImage
from tests.clients.offers import BANDS_HZ, slot_with

P, E = EarPhase, EarEvent
SOUGHT, SAVING = Sought("b", "t", "n"), Sought("t", "t", "n")
BEFORE = factory_image("right", BANDS_HZ)
TARGET = with_slots(BEFORE, (slot_with(200),))


def test_ram_decides_while_it_is_tried() -> None:
    for phase in (P.CHECKING_BASE, P.VERIFYING, P.UNKNOWN, P.UNDOING):
        for nvm in ("n", "t", "x"):
            assert read_event(phase, "t", nvm, SOUGHT) is E.READ_TARGET
            assert read_event(phase, "b", nvm, SOUGHT) is E.READ_BEFORE
            assert read_event(phase, "x", nvm, SOUGHT) is E.READ_OTHER
            assert read_event(phase, "t", nvm, SAVING) is E.READ_TARGET


def test_before_a_copy_nvm_must_be_what_it_was_or_the_target() -> None:
    for nvm in ("n", "t"):
        assert read_event(P.CHECKING_BOTH, "t", nvm, SOUGHT) is E.READ_TARGET
        assert read_event(P.CHECKING_BOTH, "b", nvm, SOUGHT) is E.READ_BEFORE
        assert read_event(P.CHECKING_BOTH, "x", nvm, SOUGHT) is E.READ_OTHER
    for ram in ("t", "b", "x"):
        assert read_event(P.CHECKING_BOTH, ram, "x", SOUGHT) is E.READ_FOREIGN


def test_of_an_unknown_copy_nvm_tells() -> None:
    for phase in (P.CHECKING_NVM, P.NVM_UNKNOWN):
        assert read_event(phase, "-", "t", SOUGHT) is E.READ_TARGET
        assert read_event(phase, "-", "n", SOUGHT) is E.READ_BEFORE
        assert read_event(phase, "x", "x", SOUGHT) is E.READ_FOREIGN
        assert read_event(phase, "t", "x", SOUGHT, is_torn=True) is E.READ_OTHER
    assert read_event(P.NVM_UNKNOWN, "t", "x", SOUGHT) is E.READ_FOREIGN


def test_right_after_a_copy_that_was_acknowledged_nvm_is_our_doing_unless_both_memories_are_alike() -> None:
    assert read_event(P.CHECKING_NVM, "t", "x", SOUGHT) is E.READ_OTHER
    assert read_event(P.CHECKING_RAM, "t", "x", SOUGHT) is E.READ_TARGET
    assert read_event(P.CHECKING_RAM, "b", "x", SOUGHT) is E.READ_BEFORE
    assert read_event(P.CHECKING_RAM, "x", "x", SOUGHT) is E.READ_FOREIGN


def test_on_the_way_back_only_what_is_ours_is_taken_back() -> None:
    back = P.BACK_CHECKING
    assert read_event(back, "b", "n", SOUGHT) is E.READ_BEFORE
    assert read_event(back, "t", "n", SOUGHT) is E.READ_OTHER
    assert read_event(back, "b", "t", SOUGHT) is E.READ_OTHER_NVM
    assert read_event(back, "b", "x", SOUGHT, is_torn=True) is E.READ_OTHER_NVM
    assert read_event(back, "b", "x", replace_owned(SOUGHT)) is E.READ_OTHER_NVM
    assert read_event(back, "b", "x", SOUGHT) is E.READ_FOREIGN
    assert read_event(back, "x", "x", SOUGHT) is E.READ_FOREIGN
    assert read_event(back, "t", "x", SOUGHT) is E.READ_OTHER
    assert read_event(back, "b", "t", Sought("b", "t")) is E.READ_BEFORE
    assert read_event(P.BACK_VERIFYING, "n", "t", SOUGHT) is E.READ_TARGET
    assert read_event(P.BACK_VERIFYING, "b", "n", SOUGHT) is E.READ_OTHER
    assert read_event(P.BACK_VERIFYING, "n", "x", SOUGHT) is E.READ_FOREIGN


def replace_owned(sought: Sought) -> Sought:
    return Sought(sought.before, sought.target, sought.nvm_before, owns_nvm=True)


@pytest.mark.parametrize("chunk", range(CHUNKS + 1))
def test_a_copy_that_was_broken_off_anywhere_is_known_as_ours(chunk: int) -> None:
    assert is_torn(after_chunk(BEFORE, TARGET, chunk) if chunk else BEFORE, BEFORE, TARGET)


@pytest.mark.parametrize(
    "held",
    [
        with_slots(BEFORE, (slot_with(190),)),
        with_slots(BEFORE, (slot_with(200, slot=2),)),
        with_slots(TARGET, (replace(TARGET.slots[0], name="Somebody else's"),)),
        replace(TARGET, bands_hz=TARGET.bands_hz[:-1]),
    ],
)
def test_one_value_of_neither_makes_it_somebody_elses(held: EarImage) -> None:
    assert not is_torn(held, BEFORE, TARGET)
