"""What the phone does with one aid of a delivery, as a table: nothing is believed but what was read back.

Pure: no clock, no link, no journal. A phase either needs an operation on the aid (``OPERATIONS``), whose
result is the next event, or it ends the work (``outcome``). Read ``TABLE``, then ``step``.

A read-back that equals the target confirms, wherever it comes. A link lost in a write leaves UNKNOWN: the
target confirms, the old content is written again, a mixture is undone. An aid that differs after a second
write, or that restarted, is undone. PARKED waits for the aid to come back; it is no end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from protocol.contract.devices import ReportedState
from protocol.errors import LocalProtocolError

__all__ = [
    "OPERATIONS",
    "TABLE",
    "EarEvent",
    "EarPhase",
    "EarWork",
    "Operation",
    "Step",
    "outcome",
    "read_event",
    "resumed",
    "step",
]


class EarPhase(StrEnum):
    """Where the work on one ear stands."""

    CHECKING_BASE = "checking_base"
    WRITING = "writing"
    VERIFYING = "verifying"
    REWRITING = "rewriting"
    REVERIFYING = "reverifying"
    UNKNOWN = "unknown"
    RESTORING = "restoring"
    UNDOING = "undoing"
    PARKED = "parked"
    CONFIRMED = "confirmed"
    UNDONE = "undone"
    BROKEN = "broken"
    REFUSED = "refused"
    UNREACHED = "unreached"


class EarEvent(StrEnum):
    """What an operation on the aid came to."""

    READ_TARGET = "read_target"
    READ_BEFORE = "read_before"
    READ_OTHER = "read_other"
    WRITTEN = "written"
    LOST = "lost"
    REBOOTED = "rebooted"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"
    """The bound on writes is reached: the operation was not done."""


class Operation(StrEnum):
    """What to do with the aid. READ brings the link up first."""

    READ = "read"
    WRITE = "write"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Step:
    """One cell of the table. ``cause`` is remembered for the end, ``report`` is told at once."""

    phase: EarPhase
    cause: str | None = None
    report: Literal["writing", "indeterminate"] | None = None


@dataclass(frozen=True, slots=True)
class EarWork:
    """The state of one ear; ``cause`` is the code that an unhappy end will carry."""

    phase: EarPhase = EarPhase.CHECKING_BASE
    cause: str | None = None


_P, _E = EarPhase, EarEvent
_LOST_WRITING = Step(_P.UNKNOWN, "E_BLE_DURING", "indeterminate")
_REBOOTED = Step(_P.UNDOING, "E_REBOOT", "indeterminate")

OPERATIONS: Final[Mapping[EarPhase, Operation]] = {
    _P.CHECKING_BASE: Operation.READ,
    _P.WRITING: Operation.WRITE,
    _P.VERIFYING: Operation.READ,
    _P.REWRITING: Operation.WRITE,
    _P.REVERIFYING: Operation.READ,
    _P.UNKNOWN: Operation.READ,
    _P.RESTORING: Operation.RESTORE,
    _P.UNDOING: Operation.READ,
}

TABLE: Final[Mapping[EarPhase, Mapping[EarEvent, Step]]] = {
    _P.CHECKING_BASE: {
        _E.READ_TARGET: Step(_P.CONFIRMED),
        _E.READ_BEFORE: Step(_P.WRITING, report="writing"),
        _E.READ_OTHER: Step(_P.REFUSED, "E_BASE"),
        _E.LOST: Step(_P.UNREACHED, "E_BLE_BEFORE"),
    },
    _P.WRITING: {
        _E.WRITTEN: Step(_P.VERIFYING),
        _E.LOST: _LOST_WRITING,
        _E.REBOOTED: _REBOOTED,
        _E.REFUSED: Step(_P.UNDOING, "E_CAPABILITY"),
        _E.EXHAUSTED: Step(_P.UNDOING),
    },
    _P.VERIFYING: {
        _E.READ_TARGET: Step(_P.CONFIRMED),
        _E.READ_BEFORE: Step(_P.REWRITING),
        _E.READ_OTHER: Step(_P.REWRITING),
        _E.LOST: _LOST_WRITING,
    },
    _P.REWRITING: {
        _E.WRITTEN: Step(_P.REVERIFYING),
        _E.LOST: _LOST_WRITING,
        _E.REBOOTED: _REBOOTED,
        _E.REFUSED: Step(_P.UNDOING, "E_CAPABILITY"),
        _E.EXHAUSTED: Step(_P.UNDOING, "E_READBACK"),
    },
    _P.REVERIFYING: {
        _E.READ_TARGET: Step(_P.CONFIRMED),
        _E.READ_BEFORE: Step(_P.UNDONE, "E_READBACK"),
        _E.READ_OTHER: Step(_P.RESTORING, "E_READBACK"),
        _E.LOST: _LOST_WRITING,
    },
    _P.UNKNOWN: {
        _E.READ_TARGET: Step(_P.CONFIRMED),
        _E.READ_BEFORE: Step(_P.WRITING),
        _E.READ_OTHER: Step(_P.RESTORING),
        _E.LOST: Step(_P.PARKED, report="indeterminate"),
    },
    _P.RESTORING: {
        _E.WRITTEN: Step(_P.UNDOING),
        _E.LOST: Step(_P.UNDOING, report="indeterminate"),
        _E.REBOOTED: Step(_P.UNDOING, report="indeterminate"),
        _E.REFUSED: Step(_P.BROKEN, "E_READBACK"),
        _E.EXHAUSTED: Step(_P.BROKEN, "E_READBACK"),
    },
    _P.UNDOING: {
        _E.READ_TARGET: Step(_P.CONFIRMED),
        _E.READ_BEFORE: Step(_P.UNDONE),
        _E.READ_OTHER: Step(_P.RESTORING),
        _E.LOST: Step(_P.PARKED, report="indeterminate"),
    },
    _P.PARKED: {},
    _P.CONFIRMED: {},
    _P.UNDONE: {},
    _P.BROKEN: {},
    _P.REFUSED: {},
    _P.UNREACHED: {},
}

_OUTCOMES: Final[Mapping[EarPhase, ReportedState]] = {
    _P.CONFIRMED: "confirmed",
    _P.UNDONE: "rolled_back",
    _P.BROKEN: "failed",
    _P.REFUSED: "rejected",
    _P.UNREACHED: "failed",
}


def step(work: EarWork, event: EarEvent) -> tuple[EarWork, Step]:
    """The next state, and the cell that led there. Raises LocalProtocolError for a pair without a cell."""
    cell = TABLE[work.phase].get(event)
    if cell is None:
        raise LocalProtocolError(f"an ear that is {work.phase} cannot have {event}")
    return EarWork(cell.phase, cell.cause or work.cause), cell


def outcome(work: EarWork) -> tuple[ReportedState, str | None] | None:
    """The end to report, with its code; None while there is none.

    An aid that twice did not keep what was written is ``failed``, even though it holds its old content.
    """
    state = _OUTCOMES.get(work.phase)
    if state is None:
        return None
    if state == "confirmed":
        return state, None
    if work.cause == "E_READBACK":
        return "failed", work.cause
    return state, work.cause


def read_event(digest: str, *, before: str, target: str) -> EarEvent:
    """What a read-back means. An aid that held the target before all this is at its target."""
    if digest == target:
        return EarEvent.READ_TARGET
    return EarEvent.READ_BEFORE if digest == before else EarEvent.READ_OTHER


def resumed(last_state: str | None) -> EarWork:
    """Where to take up an ear whose last report is ``last_state``, after a crash or a re-offer.

    Once ``writing`` is in the journal, the first byte may have gone out.
    """
    if last_state is None:
        return EarWork()
    return EarWork(EarPhase.UNKNOWN, "E_BLE_DURING")
