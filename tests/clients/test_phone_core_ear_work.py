"""The table of one ear: every pair of phase and event, and the paths through it."""

import pytest

from clients.ear_work import (
    OPERATIONS,
    TABLE,
    EarEvent,
    EarPhase,
    EarWork,
    Operation,
    outcome,
    read_event,
    resumed,
    step,
)
from protocol.errors import LocalProtocolError

P, E = EarPhase, EarEvent
READS = {E.READ_TARGET, E.READ_BEFORE, E.READ_OTHER, E.LOST}
WRITES = {E.WRITTEN, E.LOST, E.REBOOTED, E.REFUSED, E.EXHAUSTED}
EXPECTED_EVENTS = {Operation.READ: READS, Operation.WRITE: WRITES, Operation.RESTORE: WRITES, None: set()}


@pytest.mark.parametrize("phase", list(EarPhase))
@pytest.mark.parametrize("event", list(EarEvent))
def test_every_pair_has_a_cell_or_is_an_error(phase: EarPhase, event: EarEvent) -> None:
    """What an operation can come to has a cell; nothing else has."""
    work = EarWork(phase, "E_BLE_DURING")
    if event in EXPECTED_EVENTS[OPERATIONS.get(phase)]:
        after, cell = step(work, event)
        assert after.phase is cell.phase
        assert after.cause == (cell.cause or "E_BLE_DURING")
    else:
        with pytest.raises(LocalProtocolError, match=f"{phase} cannot have {event}"):
            step(work, event)


def test_a_phase_asks_for_an_operation_or_is_an_end_or_waits() -> None:
    for phase in EarPhase:
        ends = outcome(EarWork(phase, "E_REBOOT")) is not None
        assert (phase in OPERATIONS) + ends + (phase is P.PARKED) == 1
        assert bool(TABLE[phase]) == (phase in OPERATIONS)


def test_nothing_is_confirmed_but_by_reading_the_target() -> None:
    for row in TABLE.values():
        for event, cell in row.items():
            assert (cell.phase is P.CONFIRMED) == (event is E.READ_TARGET)


def test_a_write_follows_only_a_reading_of_the_content_before_or_a_failed_check() -> None:
    writing = {P.WRITING, P.REWRITING}
    into = {(phase, event) for phase, row in TABLE.items() for event, c in row.items() if c.phase in writing}
    assert into == {
        (P.CHECKING_BASE, E.READ_BEFORE),
        (P.UNKNOWN, E.READ_BEFORE),
        (P.VERIFYING, E.READ_BEFORE),
        (P.VERIFYING, E.READ_OTHER),
    }


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ("read_before written read_target", ("confirmed", None)),
        ("read_target", ("confirmed", None)),
        ("read_other", ("rejected", "E_BASE")),
        ("lost", ("failed", "E_BLE_BEFORE")),
        ("read_before written read_other written read_target", ("confirmed", None)),
        (
            "read_before written read_other written read_other written read_before",
            ("failed", "E_READBACK"),
        ),
        ("read_before written read_other written read_before", ("failed", "E_READBACK")),
        ("read_before lost read_target", ("confirmed", None)),
        ("read_before lost read_before written read_target", ("confirmed", None)),
        ("read_before lost read_other written read_before", ("rolled_back", "E_BLE_DURING")),
        ("read_before lost read_other lost read_other written read_before", ("rolled_back", "E_BLE_DURING")),
        ("read_before rebooted read_before", ("rolled_back", "E_REBOOT")),
        ("read_before rebooted read_other written read_before", ("rolled_back", "E_REBOOT")),
        ("read_before refused read_before", ("rolled_back", "E_CAPABILITY")),
        ("read_before lost read_before exhausted read_before", ("rolled_back", "E_BLE_DURING")),
        ("read_before lost read_other refused", ("failed", "E_READBACK")),
        ("read_before lost read_other exhausted", ("failed", "E_READBACK")),
        ("read_before lost lost", None),
        ("read_before lost read_other lost lost", None),
    ],
)
def test_the_ways_through_a_write(events: str, end: tuple[str, str | None] | None) -> None:
    work = EarWork()
    for event in events.split():
        work, _ = step(work, EarEvent(event))
    assert work.phase not in OPERATIONS
    assert outcome(work) == end


def test_a_lost_link_is_told_at_once() -> None:
    for phase in (P.WRITING, P.VERIFYING, P.REWRITING, P.REVERIFYING, P.RESTORING):
        assert TABLE[phase][E.LOST].report == "indeterminate"


def test_what_a_read_back_means() -> None:
    assert read_event("t", before="b", target="t") is E.READ_TARGET
    assert read_event("b", before="b", target="t") is E.READ_BEFORE
    assert read_event("x", before="b", target="t") is E.READ_OTHER
    assert read_event("t", before="t", target="t") is E.READ_TARGET


def test_an_ear_is_taken_up_where_its_last_report_left_it() -> None:
    assert resumed(None) == EarWork(P.CHECKING_BASE)
    for state in ("writing", "indeterminate"):
        assert resumed(state) == EarWork(P.UNKNOWN, "E_BLE_DURING")
