"""What the phone does with one aid of a delivery, as a table: nothing is believed but what was read back.

Pure: no clock, no link, no journal. A phase either needs an operation on the aid (``OPERATIONS``), whose
result is the next event, or it ends the work (``outcome``), or it waits for the aid (``WAITS``). Read ``TABLE``,
then ``step``.

A trial: a read-back that equals the target confirms, wherever it comes. A link lost in a write leaves UNKNOWN: the
target confirms, the old content is written again, a mixture is undone. An aid that differs after a second write, or
that restarted, is undone. A commit begins only from a RAM that was read as the target and an NVM that is nobody
else's, and ends with NVM read as the target. Going back, once the pair has decided it, never turns round: RAM and NVM
become what they were before, but what somebody else has saved meanwhile stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from protocol.contract.devices import ReportedState
from protocol.errors import LocalProtocolError

__all__ = [
    "GOING_BACK",
    "OPERATIONS",
    "TABLE",
    "WAITS",
    "EarEvent",
    "EarPhase",
    "EarWork",
    "Operation",
    "Step",
    "outcome",
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
    COMMITTING = "committing"
    CHECKING_NVM = "checking_nvm"
    NVM_UNKNOWN = "nvm_unknown"
    CHECKING_BOTH = "checking_both"
    CHECKING_RAM = "checking_ram"
    BACK_CHECKING = "back_checking"
    BACK_RAM = "back_ram"
    BACK_NVM = "back_nvm"
    BACK_VERIFYING = "back_verifying"
    BACK_COMMITTING = "back_committing"
    PARKED = "parked"
    BUSY = "busy"
    CONFIRMED = "confirmed"
    ACTIVE = "active"
    UNKEPT = "unkept"
    UNDONE = "undone"
    BROKEN = "broken"
    REFUSED = "refused"
    UNREACHED = "unreached"


class EarEvent(StrEnum):
    """What an operation on the aid came to."""

    READ_TARGET = "read_target"
    READ_BEFORE = "read_before"
    READ_OTHER = "read_other"
    READ_OTHER_NVM = "read_other_nvm"
    """Only on the way back: NVM is not what it was, and that is our doing."""
    READ_FOREIGN = "read_foreign"
    """Somebody else has saved something in this aid since the work on it began; on the way back, and RAM plays
    nothing of ours."""
    WRITTEN = "written"
    """A write, a restore or a copy to NVM was acknowledged."""
    LOST = "lost"
    TIMED_OUT = "timed_out"
    REBOOTED = "rebooted"
    REFUSED = "refused"
    BUSY = "busy"
    LOW_BATTERY = "low_battery"
    NVM_FAILED = "nvm_failed"
    EXHAUSTED = "exhausted"
    """The bound on operations is reached: this one was not done."""


class Operation(StrEnum):
    """What to do with the aid. READ brings the link up first and reads both memories.

    RESTORE writes what RAM held before, RESTORE_NVM what NVM held before; both write to RAM.
    """

    READ = "read"
    WRITE = "write"
    RESTORE = "restore"
    RESTORE_NVM = "restore_nvm"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class Step:
    """One cell of the table. ``cause`` is remembered for the end, ``report`` is told at once.

    ``received``: it is still to be done, and waits for the cause.
    """

    phase: EarPhase
    cause: str | None = None
    report: Literal["writing", "indeterminate", "received"] | None = None


@dataclass(frozen=True, slots=True)
class EarWork:
    """The state of one ear; ``cause`` is the code that an unhappy end will carry."""

    phase: EarPhase = EarPhase.CHECKING_BASE
    cause: str | None = None


_P, _E = EarPhase, EarEvent
_Row = Mapping[EarEvent, Step]

OPERATIONS: Final[Mapping[EarPhase, Operation]] = {
    _P.CHECKING_BASE: Operation.READ,
    _P.WRITING: Operation.WRITE,
    _P.VERIFYING: Operation.READ,
    _P.REWRITING: Operation.WRITE,
    _P.REVERIFYING: Operation.READ,
    _P.UNKNOWN: Operation.READ,
    _P.RESTORING: Operation.RESTORE,
    _P.UNDOING: Operation.READ,
    _P.COMMITTING: Operation.COMMIT,
    _P.CHECKING_NVM: Operation.READ,
    _P.NVM_UNKNOWN: Operation.READ,
    _P.CHECKING_BOTH: Operation.READ,
    _P.CHECKING_RAM: Operation.READ,
    _P.BACK_CHECKING: Operation.READ,
    _P.BACK_RAM: Operation.RESTORE,
    _P.BACK_NVM: Operation.RESTORE_NVM,
    _P.BACK_VERIFYING: Operation.READ,
    _P.BACK_COMMITTING: Operation.COMMIT,
}
WAITS: Final = frozenset({_P.PARKED, _P.BUSY})

_BUSY: Final = Step(_P.BUSY, "E_BUSY", "received")


def _unproven(phase: EarPhase, rebooted: EarPhase) -> dict[EarEvent, Step]:
    """What breaks off a write: nobody knows what the aid holds until it is read."""
    return {
        _E.LOST: Step(phase, "E_BLE_DURING", "indeterminate"),
        _E.TIMED_OUT: Step(phase, "E_TIMEOUT", "indeterminate"),
        _E.REBOOTED: Step(rebooted, "E_REBOOT", "indeterminate"),
    }


_LOST_WRITING: Final = Step(_P.UNKNOWN, "E_BLE_DURING", "indeterminate")
_AWAY: Final = Step(_P.PARKED, report="indeterminate")
_FOREIGN: Final = Step(_P.UNKEPT, "E_BASE")

_TRIAL: Final[Mapping[EarPhase, _Row]] = {
    _P.CHECKING_BASE: {
        _E.READ_TARGET: Step(_P.CONFIRMED),
        _E.READ_BEFORE: Step(_P.WRITING, report="writing"),
        _E.READ_OTHER: Step(_P.REFUSED, "E_BASE"),
        _E.LOST: Step(_P.UNREACHED, "E_BLE_BEFORE"),
    },
    _P.WRITING: {
        _E.WRITTEN: Step(_P.VERIFYING),
        **_unproven(_P.UNKNOWN, _P.UNDOING),
        _E.REFUSED: Step(_P.UNDOING, "E_CAPABILITY"),
        _E.BUSY: _BUSY,
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
        **_unproven(_P.UNKNOWN, _P.UNDOING),
        _E.REFUSED: Step(_P.UNDOING, "E_CAPABILITY"),
        _E.BUSY: _BUSY,
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
        _E.LOST: _AWAY,
    },
    _P.RESTORING: {
        _E.WRITTEN: Step(_P.UNDOING),
        _E.LOST: Step(_P.UNDOING, report="indeterminate"),
        _E.TIMED_OUT: Step(_P.UNDOING, report="indeterminate"),
        _E.REBOOTED: Step(_P.UNDOING, report="indeterminate"),
        _E.REFUSED: Step(_P.BROKEN, "E_READBACK"),
        _E.BUSY: _BUSY,
        _E.EXHAUSTED: Step(_P.BROKEN, "E_READBACK"),
    },
    _P.UNDOING: {
        _E.READ_TARGET: Step(_P.CONFIRMED),
        _E.READ_BEFORE: Step(_P.UNDONE),
        _E.READ_OTHER: Step(_P.RESTORING),
        _E.LOST: _AWAY,
    },
}
_COMMIT: Final[Mapping[EarPhase, _Row]] = {
    _P.COMMITTING: {
        _E.WRITTEN: Step(_P.CHECKING_NVM),
        **_unproven(_P.NVM_UNKNOWN, _P.NVM_UNKNOWN),
        _E.NVM_FAILED: Step(_P.CHECKING_BOTH, "E_NVM"),
        _E.REFUSED: Step(_P.UNKEPT, "E_NVM"),
        _E.LOW_BATTERY: Step(_P.BUSY, "E_BATTERY", "received"),
        _E.BUSY: _BUSY,
        _E.EXHAUSTED: Step(_P.UNKEPT, "E_NVM"),
    },
    # Right after a copy that was acknowledged: what is there is the aid's own failing, unless RAM says otherwise.
    _P.CHECKING_NVM: {
        _E.READ_TARGET: Step(_P.ACTIVE),
        _E.READ_BEFORE: Step(_P.CHECKING_BOTH, "E_NVM"),
        _E.READ_OTHER: Step(_P.CHECKING_RAM, "E_NVM"),
        _E.READ_FOREIGN: _FOREIGN,
        _E.LOST: Step(_P.NVM_UNKNOWN, "E_BLE_DURING", "indeterminate"),
    },
    _P.NVM_UNKNOWN: {
        _E.READ_TARGET: Step(_P.ACTIVE),
        _E.READ_BEFORE: Step(_P.CHECKING_BOTH),
        _E.READ_OTHER: Step(_P.CHECKING_BOTH),
        _E.READ_FOREIGN: _FOREIGN,
        _E.LOST: _AWAY,
    },
    # A copy to NVM takes whatever RAM holds, and RAM may have been lost since it was last read. It also takes the place
    # of whatever NVM holds: that of a clinic, or of another app, is not ours to overwrite.
    _P.CHECKING_BOTH: {
        _E.READ_TARGET: Step(_P.COMMITTING),
        _E.READ_BEFORE: Step(_P.WRITING),
        _E.READ_OTHER: Step(_P.RESTORING),
        _E.READ_FOREIGN: _FOREIGN,
        _E.LOST: _AWAY,
    },
    _P.CHECKING_RAM: {
        _E.READ_TARGET: Step(_P.COMMITTING),
        _E.READ_BEFORE: Step(_P.WRITING),
        _E.READ_OTHER: Step(_P.RESTORING),
        _E.READ_FOREIGN: _FOREIGN,
        _E.LOST: _AWAY,
    },
}
_BACK: Final[Mapping[EarPhase, _Row]] = {
    _P.BACK_CHECKING: {
        _E.READ_BEFORE: Step(_P.UNDONE),
        _E.READ_OTHER: Step(_P.BACK_RAM),
        _E.READ_OTHER_NVM: Step(_P.BACK_NVM),
        _E.READ_FOREIGN: Step(_P.UNDONE),
        _E.LOST: _AWAY,
    },
    _P.BACK_RAM: {
        _E.WRITTEN: Step(_P.BACK_CHECKING),
        **_unproven(_P.BACK_CHECKING, _P.BACK_CHECKING),
        _E.REFUSED: Step(_P.BROKEN, "E_READBACK"),
        _E.BUSY: _BUSY,
        _E.EXHAUSTED: Step(_P.BROKEN, "E_READBACK"),
    },
    _P.BACK_NVM: {
        _E.WRITTEN: Step(_P.BACK_VERIFYING),
        **_unproven(_P.BACK_CHECKING, _P.BACK_CHECKING),
        _E.REFUSED: Step(_P.BROKEN, "E_NVM"),
        _E.BUSY: _BUSY,
        _E.EXHAUSTED: Step(_P.BROKEN, "E_NVM"),
    },
    _P.BACK_VERIFYING: {
        _E.READ_TARGET: Step(_P.BACK_COMMITTING),
        _E.READ_OTHER: Step(_P.BACK_NVM),
        _E.READ_FOREIGN: Step(_P.BACK_CHECKING),
        _E.LOST: _AWAY,
    },
    _P.BACK_COMMITTING: {
        _E.WRITTEN: Step(_P.BACK_CHECKING),
        **_unproven(_P.BACK_CHECKING, _P.BACK_CHECKING),
        _E.NVM_FAILED: Step(_P.BACK_CHECKING),
        _E.REFUSED: Step(_P.BROKEN, "E_NVM"),
        _E.LOW_BATTERY: Step(_P.BUSY, "E_BATTERY", "received"),
        _E.BUSY: _BUSY,
        _E.EXHAUSTED: Step(_P.BROKEN, "E_NVM"),
    },
}
TABLE: Final[Mapping[EarPhase, _Row]] = {
    **{phase: {} for phase in _P},  # those without a row of their own do nothing more by themselves
    **_TRIAL,
    **_COMMIT,
    **_BACK,
}

_OUTCOMES: Final[Mapping[EarPhase, ReportedState]] = {
    _P.CONFIRMED: "confirmed",
    _P.ACTIVE: "active",
    _P.UNKEPT: "failed",
    _P.UNDONE: "rolled_back",
    _P.BROKEN: "failed",
    _P.REFUSED: "rejected",
    _P.UNREACHED: "failed",
}
GOING_BACK: Final = frozenset(_BACK)


def step(work: EarWork, event: EarEvent) -> tuple[EarWork, Step]:
    """The next state, and the cell that led there. Raises LocalProtocolError for a pair without a cell."""
    cell = TABLE[work.phase].get(event)
    if cell is None:
        raise LocalProtocolError(f"an ear that is {work.phase} cannot have {event}")
    return EarWork(cell.phase, cell.cause or work.cause), cell


def outcome(work: EarWork) -> tuple[ReportedState, str | None] | None:
    """The end to report, with its code; None while there is none.

    An aid that twice did not keep what was written is ``failed``, even though it holds its old content. UNKEPT is
    never told: the pair goes back first.
    """
    state = _OUTCOMES.get(work.phase)
    if state is None:
        return None
    if state in ("confirmed", "active"):
        return state, None
    if work.cause == "E_READBACK":
        return "failed", work.cause
    return state, work.cause


def resumed(last_state: str | None, *, committing: bool = False) -> EarWork:
    """Where to take up an ear whose last report is ``last_state``, after a crash or a re-offer.

    Once ``writing`` is in the journal, the first byte may have gone out; ``committing``: the first one to NVM.
    """
    if committing:
        return EarWork(EarPhase.NVM_UNKNOWN, "E_BLE_DURING")
    if last_state is None:
        return EarWork()
    return EarWork(EarPhase.UNKNOWN, "E_BLE_DURING")
