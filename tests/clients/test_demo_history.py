"""The demo's look back notices a history that is not what was asked for."""

import io
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from clients.demo.checks import Checks
from clients.demo.history_scene import check_asked, check_chain
from clients.demo.printer import JsonPrinter
from clients.demo.stage import CLINICIAN, Asked
from protocol.contract.fitting import Digests, SafetySummary
from protocol.contract.history import Difference, RevisionView

ONE = Difference(slot=1, path="g65Ddb", ear="left", band_hz=500, before=0, after=20, ddb=20)
FIRST = RevisionView(
    revision="r1",
    parent="",
    origin="readback",
    author="",
    reason="first read-back",
    at="2026-01-01T00:00:00.000Z",
    digests=Digests(pair="sha256:" + "0" * 64),
    safety=SafetySummary(rules=()),
)
SECOND = replace(FIRST, revision="r2", parent="r1", origin="fitting", author=CLINICIAN, reason="up", changes=(ONE,))
SAVE = replace(SECOND, revision="r3", parent="r2", origin="save", reason="kept", changes=())
GOOD = [FIRST, SECOND, SAVE]


@dataclass
class LooksBack:
    """As much of a stage as the look back needs."""

    checks: Checks = field(default_factory=lambda: Checks(JsonPrinter(lambda: 0.0, io.StringIO())))
    asked: list[Asked] = field(default_factory=lambda: [Asked("up", "r2"), Asked("kept", "r3")])


def failed(views: list[RevisionView]) -> list[str]:
    stage = LooksBack()
    check_chain(stage.checks, views)
    check_asked(stage.checks, stage.asked, views)
    return stage.checks.failed


def test_a_history_that_is_what_was_asked_for_passes() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("views", "name"),
    [
        ([SECOND, SAVE], "the history begins with what was read back"),
        ([FIRST, SECOND, SECOND, SAVE], "no revision is listed twice"),
        ([FIRST, SECOND, replace(SAVE, parent="r9")], "every revision has its parent in the history"),
        ([FIRST, SECOND], "every accepted change is in the history"),
        ([FIRST, replace(SECOND, reason="down"), SAVE], "every accepted change is in the history"),
        ([FIRST, SAVE, SECOND], "in the order in which they were asked for"),
        ([FIRST, replace(SECOND, author="eve"), SAVE], "each names its author"),
        ([FIRST, replace(SECOND, changes=()), SAVE], "each names what it has changed"),
    ],
)
def test_a_history_that_is_not_is_noticed(views: list[RevisionView], name: str) -> None:
    assert name in failed(views)
