"""What was measured fits the aids, and of two stable gains the stricter one counts."""

import msgspec
import pytest

from fitting.budgets import Place
from fitting.capability import CapabilitySheet
from fitting.measured import loudness_of, lowest_stable_gain, stable_gain_of
from fitting.model import PerBand
from protocol.contract.base import Ear
from protocol.contract.registration import Loudness, StableGain
from protocol.errors import BadArgument
from tests.fitting.contents import OTC6, REF10, content, flat

SHEETS: dict[Ear, CapabilitySheet] = {"right": REF10, "left": OTC6}


def test_each_ear_has_the_bands_of_its_own_aid() -> None:
    given = Loudness(right=(1_000,) * 10, left=(None,) * 6)
    assert loudness_of(given, SHEETS) == {"right": (1_000,) * 10, "left": (None,) * 6}
    with pytest.raises(BadArgument, match=r"^loudnessDdb: left: needs 6 values"):
        loudness_of(Loudness(left=(1_000,) * 10), SHEETS)


def test_stable_gains_are_kept_by_slot_and_ear_and_a_slot_is_one_that_the_aid_has() -> None:
    given = (StableGain(slot=3, right=(100,) * 10), StableGain(slot=1, right=(200,) * 10, left=(300,) * 6))
    assert stable_gain_of(given, SHEETS) == {
        (3, "right"): (100,) * 10,
        (1, "right"): (200,) * 10,
        (1, "left"): (300,) * 6,
    }
    assert stable_gain_of((), SHEETS) == {}
    with pytest.raises(BadArgument, match=r"^maxStableGainDdb: slot 3: the left aid has 2 program slots$"):
        stable_gain_of((StableGain(slot=3, left=(100,) * 6),), SHEETS)


def test_what_the_aid_holds_lowers_what_is_on_file_and_never_raises_it() -> None:
    held = content(right=msgspec.structs.replace(flat(), max_stable_gain_ddb=(250, 350, 250, *(300,) * 7)))
    on_file: dict[Place, PerBand] = {(1, "right"): (300, 300, None, *(300,) * 7)}
    assert lowest_stable_gain(on_file, held) == {(1, "right"): (250, 300, 250, *(300,) * 7)}


def test_what_the_aid_does_not_hold_or_what_other_aids_hold_leaves_the_file_alone() -> None:
    held = content(right=msgspec.structs.replace(flat(), max_stable_gain_ddb=(250,) * 10))
    elsewhere: tuple[dict[Place, PerBand], ...] = (
        {(2, "right"): (300,) * 10},
        {(1, "left"): (300,) * 10},
        {(1, "right"): (300,) * 6},
    )
    for on_file in elsewhere:
        assert lowest_stable_gain(on_file, held) == on_file
    assert lowest_stable_gain({(1, "right"): (300,) * 10}, content(right=flat())) == {(1, "right"): (300,) * 10}
    assert lowest_stable_gain({}, held) == {}
