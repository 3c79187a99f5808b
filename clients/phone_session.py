"""A live session as its phone sees it: what the aids held when it began, and when they get it back. A table.

Pure: no clock, no link, no journal; time is an argument. The base is kept before the first live write of a fence. While
RAM may differ from it the session is a TRIAL, and the dead-man is armed: ``SessionAlive`` feeds it, nothing else does.
Any cause at any time leads to RESTORING, which only a read-back of every aid leaves. Read ``TABLE``, then ``step``.

Whether live work is allowed at all is ``Consent``: the wearer gives it once per session, and what ends a session for
good takes it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from protocol.contract.base import Ear
from protocol.contract.devices import EarImage
from protocol.contract.sessions import RestoreCause
from protocol.errors import LocalProtocolError

__all__ = [
    "CODES",
    "ENDING",
    "TABLE",
    "Cell",
    "Consent",
    "Effect",
    "KeptImage",
    "Session",
    "SessionEvent",
    "SessionLimits",
    "SessionState",
    "due",
    "live_refusal",
    "next_due_s",
    "refuses",
    "step",
]


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds of FITTING's live rules, and the charge below which a session ends, in percent.

    The dead-man must be longer than the lease of a fitter and its slack, and shorter than a person's patience.
    """

    dead_man_s: float = 30.0
    background_freeze_s: float = 10.0
    background_restore_s: float = 30.0
    min_battery_percent: int = 20


class SessionState(StrEnum):
    """``STEADY``: the base is kept, and every aid was last read to hold it."""

    NONE = "none"
    STEADY = "steady"
    TRIAL = "trial"
    RESTORING = "restoring"


class SessionEvent(StrEnum):
    """What happens to a session."""

    LIVE_WRITE = "live_write"
    """The first byte of a live write is about to go out."""
    RAM_IS_BASE = "ram_is_base"
    """Every aid was read to hold the base."""
    RAM_DIFFERS = "ram_differs"
    """An aid was read to hold something else, or could not be read."""
    SAVED = "saved"
    """What was tried is in NVM of every aid: that is the base now."""
    REVERT = "revert"
    """Dead-man, undo, stop, or whatever else wants the base back."""
    RESTORED = "restored"
    """Every aid was read to hold the base after a REVERT."""
    NEW_FENCE = "new_fence"
    """A later session has begun: the base of this one must not be thrown away while it is needed."""
    ENDED = "ended"
    """The session is over, with the base in the aids."""


class Effect(StrEnum):
    """What whoever steps the table has to do."""

    TAKE_BASE = "take_base"
    MOVE_BASE = "move_base"
    DROP_BASE = "drop_base"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table."""

    state: SessionState
    effect: Effect | None = None


_S, _E = SessionState, SessionEvent

TABLE: Final[Mapping[SessionState, Mapping[SessionEvent, Cell]]] = {
    _S.NONE: {
        _E.LIVE_WRITE: Cell(_S.TRIAL, Effect.TAKE_BASE),
        _E.RAM_IS_BASE: Cell(_S.NONE),
        _E.RAM_DIFFERS: Cell(_S.NONE),
        _E.SAVED: Cell(_S.NONE),
        _E.REVERT: Cell(_S.NONE),
        _E.NEW_FENCE: Cell(_S.NONE),
        _E.ENDED: Cell(_S.NONE),
    },
    _S.STEADY: {
        _E.LIVE_WRITE: Cell(_S.TRIAL),
        _E.RAM_IS_BASE: Cell(_S.STEADY),
        _E.RAM_DIFFERS: Cell(_S.TRIAL),
        _E.SAVED: Cell(_S.STEADY, Effect.MOVE_BASE),
        # Even then: an aid may have changed since it was last read.
        _E.REVERT: Cell(_S.RESTORING, Effect.RESTORE),
        _E.NEW_FENCE: Cell(_S.NONE, Effect.DROP_BASE),
        _E.ENDED: Cell(_S.NONE, Effect.DROP_BASE),
    },
    _S.TRIAL: {
        _E.LIVE_WRITE: Cell(_S.TRIAL),
        _E.RAM_IS_BASE: Cell(_S.STEADY),
        _E.RAM_DIFFERS: Cell(_S.TRIAL),
        _E.SAVED: Cell(_S.STEADY, Effect.MOVE_BASE),
        _E.REVERT: Cell(_S.RESTORING, Effect.RESTORE),
        _E.NEW_FENCE: Cell(_S.RESTORING, Effect.RESTORE),
    },
    _S.RESTORING: {
        _E.RAM_IS_BASE: Cell(_S.RESTORING),
        _E.RAM_DIFFERS: Cell(_S.RESTORING),
        _E.SAVED: Cell(_S.RESTORING, Effect.MOVE_BASE),
        _E.REVERT: Cell(_S.RESTORING, Effect.RESTORE),
        _E.NEW_FENCE: Cell(_S.RESTORING, Effect.RESTORE),
        _E.RESTORED: Cell(_S.STEADY),
    },
}

ENDING: Final[frozenset[RestoreCause]] = frozenset(
    {"stop", "lease_lost", "consent_withdrawn", "background", "battery", "session_ended"}
)
"""After these the session does not go on: live work needs a new consent, or a new fence."""
TAKES_A_COPY_BACK: Final[frozenset[RestoreCause]] = frozenset({"undo", "stop"})
"""The wearer wants the old sound: what is being kept is taken back too, whatever else wants the base back meanwhile."""
BY_THE_WEARER: Final = TAKES_A_COPY_BACK | {"consent_withdrawn"}
"""What was refused so is not begun to be saved any more."""
CODES: Final[Mapping[RestoreCause, str]] = {
    "undo": "E_USER_STOP",
    "stop": "E_USER_STOP",
    "revert": "E_USER_STOP",
    "dead_man": "E_TIMEOUT",
    "lease_lost": "E_FENCE",
    "consent_withdrawn": "E_CONSENT",
    "background": "E_USER_STOP",
    "battery": "E_BATTERY",
    "session_ended": "E_USER_STOP",
}
"""The code with which a delivery ends that was under way when the base was restored, and with which live work is
refused afterwards."""


@dataclass(frozen=True, slots=True)
class KeptImage:
    """What one aid held in RAM when the session began, and which aid that was.

    ``boots``: its restarts when it was last seen to by the session, None while that is not known.
    """

    ear: Ear
    image: EarImage
    digest: str
    serial: str
    boots: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """``fed_at_s`` is when the dead-man was last fed, by a clock that goes on while the phone's process does not.

    ``boot`` is the start of the machine that the clock counted from, "" where that is not known.
    """

    state: SessionState = SessionState.NONE
    fence: int = 0
    base: tuple[KeptImage, ...] = ()
    fed_at_s: float = 0.0
    cause: RestoreCause | None = None
    boot: str = ""

    def image_of(self, ear: Ear) -> KeptImage | None:
        """The base of one ear."""
        return next((kept for kept in self.base if kept.ear == ear), None)

    def is_base(self, ram: Mapping[Ear, str]) -> bool:
        """Whether these digests are the base of every ear that there is one of."""
        return all(ram.get(kept.ear) == kept.digest for kept in self.base)

    @property
    def is_open(self) -> bool:
        """Whether an aid may hold what nobody has saved."""
        return self.state in (SessionState.TRIAL, SessionState.RESTORING)


@dataclass(frozen=True, slots=True)
class Consent:
    """The wearer's last word on live work. ``fence`` 0: not yet known, the next one that is seen.

    ``code`` is why it is refused, "" while it is allowed.
    """

    session: str = ""
    fence: int = 0
    code: str = ""


def step(session: Session, event: SessionEvent, *, cause: RestoreCause | None = None) -> tuple[Session, Effect | None]:
    """The next state and what to do; TAKE_BASE and MOVE_BASE leave the new base to the caller.

    The wearer's cause gives way to no other, and what takes a copy back to nothing that lets it finish. Raises
    LocalProtocolError for a pair without a cell.
    """
    cell = TABLE[session.state].get(event)
    if cell is None:
        raise LocalProtocolError(f"a session that is {session.state} cannot have {event}")
    moved = replace(session, state=cell.state)
    wanted = cause or session.cause or "revert"
    if cell.effect is Effect.RESTORE and _weight(wanted) >= _weight(session.cause):
        moved = replace(moved, cause=wanted)
    if cell.effect is Effect.DROP_BASE:
        return Session(), cell.effect
    if event is SessionEvent.RESTORED:
        moved = replace(moved, cause=None)
    return moved, cell.effect


def refuses(cause: RestoreCause | None, *, is_committing: bool) -> bool:
    """Whether nothing more is kept of what is under way: a copy that has begun finishes when a consent is withdrawn."""
    return cause in (TAKES_A_COPY_BACK if is_committing else BY_THE_WEARER)


def _weight(cause: RestoreCause | None) -> int:
    return (cause in BY_THE_WEARER) + (cause in TAKES_A_COPY_BACK)


def due(session: Session, now_s: float, limits: SessionLimits, background_since_s: float | None) -> RestoreCause | None:
    """What must restore the base now. A clock that stands before the last feeding has been restarted with the phone."""
    if session.state is not SessionState.TRIAL:
        return None
    silent_s = now_s - session.fed_at_s
    if silent_s >= limits.dead_man_s or silent_s < 0:
        return "dead_man"
    if background_since_s is not None and now_s - background_since_s >= limits.background_restore_s:
        return "background"
    return None


def next_due_s(session: Session, limits: SessionLimits, background_since_s: float | None) -> float | None:
    """When ``due`` should be asked next, None while nothing can become due by itself."""
    if session.state is not SessionState.TRIAL:
        return None
    dead_man_s = session.fed_at_s + limits.dead_man_s
    if background_since_s is None:
        return dead_man_s
    return min(dead_man_s, background_since_s + limits.background_restore_s)


def live_refusal(consent: Consent | None, fence: int, *, required: bool) -> str | None:
    """Why a live write of this fence is refused, None when it is not."""
    if consent is None or (consent.fence and consent.fence < fence):
        # What was said of an earlier session says nothing of this one.
        return "E_CONSENT" if required else None
    return consent.code or None
