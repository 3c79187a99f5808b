"""The reasons of ``ModeChanged``: both documents name each of them, and the contract's says what the table does."""

import re
from pathlib import Path
from typing import get_args

import pytest

from fitting.mode import ENDS, reason_of
from protocol.contract.sessions import ModeReason

DOCS = Path(__file__).parents[2] / "docs"


def cells(document: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    text = (DOCS / document).read_text().partition(heading)[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group().splitlines()[2:]]


def test_the_contract_says_of_each_reason_what_the_phone_is_told() -> None:
    rows = {row[0].strip("`"): row[2].strip("`") for row in cells("contract.md", "\n## Why the mode changes\n")}
    assert sorted(rows) == sorted(get_args(ModeReason))
    restores = {reason_of(event): move.restore for event, move in ENDS.items()}
    assert {reason: cause for reason, cause in rows.items() if cause} == restores


@pytest.mark.parametrize("reason", get_args(ModeReason))
def test_a_phone_has_something_to_show_for_each_of_them(reason: str) -> None:
    rows = cells("phone.md", "`ModeChanged` is for the wearer's eyes")
    assert sum([f"`{reason}`" in row[0].split(", ") for row in rows]) == 1
