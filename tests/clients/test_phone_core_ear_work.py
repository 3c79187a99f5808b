"""The table of one ear: every pair of phase and event, and the paths through it."""

import pytest

from clients.ear_work import (
    OPERATIONS,
    TABLE,
    WAITS,
    EarEvent,
    EarPhase,
    EarWork,
    Operation,
    outcome,
    resumed,
    step,
)
from protocol.errors import LocalProtocolError

P, E = EarPhase, EarEvent
READS = {E.READ_TARGET, E.READ_BEFORE, E.READ_OTHER, E.LOST}
WRITES = {E.WRITTEN, E.LOST, E.TIMED_OUT, E.REBOOTED, E.REFUSED, E.BUSY, E.EXHAUSTED}
EXPECTED_EVENTS: dict[Operation | None, set[EarEvent]] = {
    Operation.READ: READS,
    Operation.WRITE: WRITES,
    Operation.RESTORE: WRITES,
    Operation.RESTORE_NVM: WRITES,
    Operation.COMMIT: WRITES | {E.LOW_BATTERY, E.NVM_FAILED},
    None: set(),
}
# What a reading can mean where NVM is looked at, and on the way back.
READINGS = {
    **dict.fromkeys((P.CHECKING_BOTH, P.CHECKING_RAM, P.CHECKING_NVM, P.NVM_UNKNOWN), READS | {E.READ_FOREIGN}),
    P.BACK_CHECKING: {E.READ_BEFORE, E.READ_OTHER, E.READ_OTHER_NVM, E.READ_FOREIGN, E.LOST},
    P.BACK_VERIFYING: {E.READ_TARGET, E.READ_OTHER, E.READ_FOREIGN, E.LOST},
}
TRIAL = {P.CHECKING_BASE, P.WRITING, P.VERIFYING, P.REWRITING, P.REVERIFYING, P.UNKNOWN, P.RESTORING, P.UNDOING}
BACK = {P.BACK_CHECKING, P.BACK_RAM, P.BACK_NVM, P.BACK_VERIFYING, P.BACK_COMMITTING}


@pytest.mark.parametrize("phase", list(EarPhase))
@pytest.mark.parametrize("event", list(EarEvent))
def test_every_pair_has_a_cell_or_is_an_error(phase: EarPhase, event: EarEvent) -> None:
    """What an operation can come to has a cell; nothing else has."""
    work = EarWork(phase, "E_BLE_DURING")
    if event in READINGS.get(phase, EXPECTED_EVENTS[OPERATIONS.get(phase)]):
        after, cell = step(work, event)
        assert after.phase is cell.phase
        assert after.cause == (cell.cause or "E_BLE_DURING")
    else:
        with pytest.raises(LocalProtocolError, match=f"{phase} cannot have {event}"):
            step(work, event)


def test_a_phase_asks_for_an_operation_or_is_an_end_or_waits() -> None:
    for phase in EarPhase:
        ends = outcome(EarWork(phase, "E_REBOOT")) is not None
        assert (phase in OPERATIONS) + ends + (phase in WAITS) == 1
        assert bool(TABLE[phase]) == (phase in OPERATIONS)


def test_nothing_is_confirmed_but_by_reading_the_target() -> None:
    for phase in TRIAL:
        for event, cell in TABLE[phase].items():
            assert (cell.phase is P.CONFIRMED) == (event is E.READ_TARGET)
    assert all(cell.phase is not P.CONFIRMED for phase in set(P) - TRIAL for cell in TABLE[phase].values())


def test_nothing_is_active_but_by_reading_the_target_in_nvm() -> None:
    into = {(phase, event) for phase, row in TABLE.items() for event, c in row.items() if c.phase is P.ACTIVE}
    assert into == {(P.CHECKING_NVM, E.READ_TARGET), (P.NVM_UNKNOWN, E.READ_TARGET)}


def test_a_copy_to_nvm_follows_only_a_reading_of_ram() -> None:
    copies = {phase for phase, operation in OPERATIONS.items() if operation is Operation.COMMIT}
    into = {(phase, event) for phase, row in TABLE.items() for event, c in row.items() if c.phase in copies}
    assert into == {
        (P.CHECKING_BOTH, E.READ_TARGET),
        (P.CHECKING_RAM, E.READ_TARGET),
        (P.BACK_VERIFYING, E.READ_TARGET),
    }


def test_nothing_is_copied_over_what_somebody_else_has_saved() -> None:
    seen = {phase: row[E.READ_FOREIGN] for phase, row in TABLE.items() if E.READ_FOREIGN in row}
    ends = {P.BACK_CHECKING: P.UNDONE, P.BACK_VERIFYING: P.BACK_CHECKING}
    for phase, cell in seen.items():
        assert cell.phase is ends.get(phase, P.UNKEPT)
        assert phase in ends or cell.cause == "E_BASE"
    copies = {phase for phase, operation in OPERATIONS.items() if operation is Operation.COMMIT}
    before_a_copy = {phase for phase, row in TABLE.items() for cell in row.values() if cell.phase in copies}
    assert before_a_copy <= seen.keys()


def test_the_way_back_never_turns_round() -> None:
    ends = {P.UNDONE, P.BROKEN} | WAITS
    for phase in BACK:
        assert {cell.phase for cell in TABLE[phase].values()} <= BACK | ends


def test_a_write_follows_only_a_reading_of_the_content_before_or_a_failed_check() -> None:
    writing = {P.WRITING, P.REWRITING}
    into = {(phase, event) for phase, row in TABLE.items() for event, c in row.items() if c.phase in writing}
    assert into == {
        (P.CHECKING_BASE, E.READ_BEFORE),
        (P.UNKNOWN, E.READ_BEFORE),
        (P.VERIFYING, E.READ_BEFORE),
        (P.VERIFYING, E.READ_OTHER),
        (P.CHECKING_BOTH, E.READ_BEFORE),
        (P.CHECKING_RAM, E.READ_BEFORE),
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
        ("read_before timed_out read_before written read_target", ("confirmed", None)),
        ("read_before timed_out read_other written read_before", ("rolled_back", "E_TIMEOUT")),
        ("read_before busy", None),
    ],
)
def test_the_ways_through_a_write(events: str, end: tuple[str, str | None] | None) -> None:
    work = EarWork()
    for event in events.split():
        work, _ = step(work, EarEvent(event))
    assert work.phase not in OPERATIONS
    assert outcome(work) == end


@pytest.mark.parametrize(
    ("phase", "events", "after"),
    [
        (P.COMMITTING, "written read_target", P.ACTIVE),
        (P.COMMITTING, "written read_before read_target written read_target", P.ACTIVE),
        (P.COMMITTING, "nvm_failed read_target nvm_failed read_target exhausted", P.UNKEPT),
        (P.COMMITTING, "lost read_target", P.ACTIVE),
        (P.COMMITTING, "lost read_before read_target written read_target", P.ACTIVE),
        (P.COMMITTING, "rebooted read_before read_before written read_target", P.CONFIRMED),
        (P.COMMITTING, "rebooted read_before read_other written read_before", P.UNDONE),
        (P.COMMITTING, "timed_out lost", P.PARKED),
        (P.COMMITTING, "low_battery", P.BUSY),
        (P.COMMITTING, "written lost lost", P.PARKED),
        (P.COMMITTING, "written read_other read_target written read_target", P.ACTIVE),
        (P.COMMITTING, "written read_foreign", P.UNKEPT),
        (P.COMMITTING, "lost read_other read_target written read_target", P.ACTIVE),
        (P.CHECKING_BOTH, "read_foreign", P.UNKEPT),
        (P.BACK_CHECKING, "read_before", P.UNDONE),
        (P.BACK_CHECKING, "read_other written read_before", P.UNDONE),
        (P.BACK_CHECKING, "read_other_nvm written read_target written read_other written read_before", P.UNDONE),
        (P.BACK_CHECKING, "read_other_nvm written read_other written read_target nvm_failed lost", P.PARKED),
        (P.BACK_CHECKING, "read_other_nvm written read_target rebooted read_before", P.UNDONE),
        (P.BACK_CHECKING, "read_other exhausted", P.BROKEN),
        (P.BACK_CHECKING, "read_foreign", P.UNDONE),
        (P.BACK_CHECKING, "read_other written read_foreign", P.UNDONE),
        (P.BACK_CHECKING, "read_other_nvm written read_foreign read_other written read_foreign", P.UNDONE),
    ],
)
def test_the_ways_through_a_commit_and_back(phase: EarPhase, events: str, after: EarPhase) -> None:
    work = EarWork(phase)
    for event in events.split():
        work, _ = step(work, EarEvent(event))
    assert work.phase is after


def test_an_aid_that_does_not_keep_what_it_is_given_is_to_blame_for_it() -> None:
    work = EarWork(P.COMMITTING)
    for event in (E.NVM_FAILED, E.READ_TARGET, E.EXHAUSTED):
        work, _ = step(work, event)
    assert outcome(work) == ("failed", "E_NVM")


def test_what_breaks_a_write_off_is_told_at_once() -> None:
    writes = [phase for phase, operation in OPERATIONS.items() if operation is not Operation.READ]
    for phase in (*writes, P.VERIFYING, P.REVERIFYING, P.CHECKING_NVM):
        for event in (E.LOST, E.TIMED_OUT, E.REBOOTED):
            assert event not in TABLE[phase] or TABLE[phase][event].report == "indeterminate"


def test_an_ear_is_taken_up_where_its_last_report_left_it() -> None:
    assert resumed(None) == EarWork(P.CHECKING_BASE)
    for state in ("writing", "indeterminate"):
        assert resumed(state) == EarWork(P.UNKNOWN, "E_BLE_DURING")
        assert resumed(state, committing=True) == EarWork(P.NVM_UNKNOWN, "E_BLE_DURING")
