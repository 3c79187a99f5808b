"""Capability sheets are found by model and make sense in themselves."""

import pytest

from fitting.capability import SHEETS, sheet
from fitting.limits import mpo_ceiling_ddb
from protocol.errors import NotFound


def test_the_reference_sheets_are_found_by_model() -> None:
    assert sheet("ref10") is SHEETS["ref10"]
    assert [name for name, found in SHEETS.items() if found.model != name] == []


def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(NotFound, match="no capability sheet"):
        sheet("ref11")


@pytest.mark.parametrize("model", SHEETS)
def test_a_sheet_is_consistent(model: str) -> None:
    found = SHEETS[model]
    assert list(found.bands_hz) == sorted(set(found.bands_hz))
    assert (found.gain_max_ddb - found.gain_min_ddb) % found.gain_step_ddb == 0
    assert (found.mpo_max_ddb - found.mpo_min_ddb) % found.mpo_step_ddb == 0
    assert found.mpo_max_ddb <= mpo_ceiling_ddb(found)
    assert found.mics
