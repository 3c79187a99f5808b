"""Live work as a state table: what begins it, what freezes it, what ends it, and what the phone is told then.

Preconditions and signs of life are judged here too, over numbers that others have measured. Raises are frozen where
the wearer may not be able to say stop; what ends a session restores what it began with, unless that was saved. This
module must not know a socket, a clock or where a session is kept. Read ``TABLE`` first, then ``judge_signs``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from protocol.contract.base import Refusal
from protocol.contract.devices import EarTruth
from protocol.contract.fitting import BAND_PATHS, Content
from protocol.contract.sessions import RestoreCause, SessionState
from protocol.errors import LocalProtocolError

from .log_values import DeviceHead
from .model import band_values, ear_program, ears_of

__all__ = [
    "TABLE",
    "Event",
    "ModeLimits",
    "Move",
    "SessionTimes",
    "Signs",
    "judge_signs",
    "only_lowers",
    "preconditions",
    "step",
]


class Event(StrEnum):
    """What happens to live work."""

    ASK = "ask"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    NO_ANSWER = "no_answer"
    FREEZE = "freeze"
    THAW = "thaw"
    STOP = "stop"
    LEFT = "left"
    RELEASED = "released"
    STOLEN = "stolen"
    LEASE_LOST = "lease_lost"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    BATTERY = "battery"
    BACKGROUND = "background"
    AIDS_AWAY = "aids_away"
    PHONE_LOST = "phone_lost"
    TIME_UP = "time_up"


@dataclass(frozen=True, slots=True)
class Move:
    """One cell. ``restore`` is what the phone is told when the aids may hold what was tried."""

    state: SessionState
    restore: RestoreCause | None = None


_ENDS: Final[Mapping[Event, Move]] = {
    Event.STOP: Move("none", "stop"),
    Event.LEFT: Move("none", "session_ended"),
    Event.RELEASED: Move("none", "session_ended"),
    Event.STOLEN: Move("none", "lease_lost"),
    Event.LEASE_LOST: Move("none", "lease_lost"),
    Event.CONSENT_WITHDRAWN: Move("none", "consent_withdrawn"),
    Event.BATTERY: Move("none", "battery"),
    Event.BACKGROUND: Move("none", "background"),
    Event.AIDS_AWAY: Move("none", "session_ended"),
    Event.PHONE_LOST: Move("none", "session_ended"),
    Event.TIME_UP: Move("none", "session_ended"),
}
_NEVER_BEGUN: Final[Mapping[Event, Move]] = {event: Move("none") for event in _ENDS}

TABLE: Final[Mapping[SessionState, Mapping[Event, Move]]] = MappingProxyType(
    {
        "none": {Event.ASK: Move("asking")},
        "asking": {
            **_NEVER_BEGUN,
            Event.ACCEPTED: Move("live"),
            Event.DECLINED: Move("none"),
            Event.NO_ANSWER: Move("none"),
        },
        "live": {**_ENDS, Event.FREEZE: Move("frozen")},
        "frozen": {**_ENDS, Event.THAW: Move("live")},
    }
)


def step(state: SessionState, event: Event) -> Move:
    """The next state. Raises LocalProtocolError for a pair without a cell."""
    move = TABLE[state].get(event)
    if move is None:
        raise LocalProtocolError(f"a session that is {state} cannot have {event}")
    return move


@dataclass(frozen=True, slots=True)
class ModeLimits:
    """Numbers of live work. Seconds of silence or of background, percent of charge, milliseconds of round trip.

    ``aids_away_ends_after_s``: longer than an aid may need to find its phone again. ``dead_man_s`` is the phone's own:
    by then it has restored by itself. ``session_s``: no session is longer.
    """

    freeze_after_s: float = 10.0
    background_ends_after_s: float = 30.0
    aids_away_ends_after_s: float = 120.0
    dead_man_s: float = 30.0
    battery_to_begin_percent: int = 30
    battery_to_go_on_percent: int = 20
    rtt_to_begin_ms: int = 800
    rtt_to_go_on_ms: int = 1_500
    session_s: float = 3_600.0

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that do not fit together."""
        if not 0 < self.freeze_after_s < self.dead_man_s:
            raise ValueError("edits must freeze before the dead-man restores")
        if self.battery_to_go_on_percent > self.battery_to_begin_percent:
            raise ValueError("a session must not begin with a charge that would end it")


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """``alive_every_s``: how often a live session's phone is told so. ``consent_s``: how long a patient may think.
    ``make_way_s``: how long a phone may take to give packages back that wait for its wearer.

    ``max_late``: what happened without the log and still has to be recorded in it; ``record_again_s`` are the waits
    between the attempts.
    """

    alive_every_s: float = 5.0
    consent_s: float = 30.0
    make_way_s: float = 5.0
    max_late: int = 256
    record_again_s: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of both ends now, and how long the session has lasted. None where nothing was told.

    ``aids_away_s``: how long at least one aid has been out of the phone's reach, None while none is.
    """

    phone_silent_s: float
    fitter_silent_s: float
    background_s: float | None = None
    aids_away_s: float | None = None
    battery_percent: int | None = None
    rtt_p95_ms: int | None = None
    session_s: float = 0.0


def judge_signs(state: SessionState, signs: Signs, limits: ModeLimits) -> Event | None:
    """What the signs bring about in a session that is live or frozen, None for nothing. The first that holds counts."""
    battery = signs.battery_percent
    if battery is not None and battery < limits.battery_to_go_on_percent:
        return Event.BATTERY
    if signs.background_s is not None and signs.background_s >= limits.background_ends_after_s:
        return Event.BACKGROUND
    if (signs.aids_away_s or 0.0) >= limits.aids_away_ends_after_s:
        return Event.AIDS_AWAY
    if signs.phone_silent_s >= limits.dead_man_s:
        return Event.PHONE_LOST
    if signs.session_s >= limits.session_s:
        return Event.TIME_UP
    # An aid that is away does not hear the wearer's Undo either.
    waits_s = max(signs.phone_silent_s, signs.fitter_silent_s, signs.background_s or 0.0, signs.aids_away_s or 0.0)
    if waits_s >= limits.freeze_after_s or (signs.rtt_p95_ms or 0) > limits.rtt_to_go_on_ms:
        return Event.FREEZE if state == "live" else None
    return Event.THAW if state == "frozen" else None


def preconditions(head: DeviceHead, signs: Signs | None, limits: ModeLimits) -> Refusal | None:
    """Why live work cannot begin now; ``signs`` is None when no phone is there."""
    if signs is None or signs.phone_silent_s >= limits.freeze_after_s:
        return Refusal(code="phone_offline", message="no phone carries the aids now", retryable=True)
    # Not ``split``: a live session is how both ears get one revision again, and the log lets nothing else pass then.
    for alarm in ("indeterminate", "locked"):
        if alarm in head.alarms:
            return Refusal(code=alarm, message="what the aids hold must be put in order first")
    if not all(isinstance(getattr(head.in_aid, ear), EarTruth) for ear in head.aids):
        return Refusal(code="not_read_back", message="one of the aids was never read back", retryable=True)
    battery = head.battery if signs.battery_percent is None else signs.battery_percent
    if battery is not None and battery < limits.battery_to_begin_percent:
        return Refusal(code="battery_low", message="the aids must be charged first", retryable=True)
    if signs.background_s is not None:
        return Refusal(code="phone_background", message="the app must be in the foreground", retryable=True)
    if (signs.aids_away_s or 0.0) >= limits.freeze_after_s:
        return Refusal(code="aids_away", message="one of the aids is out of the phone's reach", retryable=True)
    if (signs.rtt_p95_ms or 0) >= limits.rtt_to_begin_ms:
        return Refusal(code="link_slow", message="the phone's link is too slow for live work", retryable=True)
    return None


def only_lowers(base: Content, candidate: Content) -> bool:
    """Whether no gain and no maximum output is above the base: what may be done while raises are frozen."""
    before = {program.slot: program for program in base.programs}
    for program in candidate.programs:
        for ear in ears_of(candidate):
            new = ear_program(program, ear)
            old = None if program.slot not in before else ear_program(before[program.slot], ear)
            if new is None or old is None:
                return False
            levels = ((band_values(old, path), band_values(new, path)) for path in BAND_PATHS)
            if any(a < b for old_levels, new_levels in levels for a, b in zip(old_levels, new_levels, strict=True)):
                return False
    return True
