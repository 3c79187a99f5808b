"""Live work as a state table: what begins it, what freezes it, what ends it, and what becomes of work in flight then.

Preconditions and signs of life are judged here too, over numbers that others have measured. Raises are frozen where
the wearer may not be able to say stop; what ends a session restores what it began with, unless that was saved. This
module must not know a socket, a clock or where a session is kept. Read ``TABLE`` first, then ``judge_signs``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, cast

from protocol.contract.base import Refusal
from protocol.contract.devices import EarTruth
from protocol.contract.fitting import BAND_PATHS, Content
from protocol.contract.sessions import DeviceCause, EndReason, RestoreCause, SessionState
from protocol.errors import LocalProtocolError

from .in_flight import DISCARDED, GOES_ON, RISES_TAKEN_BACK, TO_BASE, TO_BASE_AT_ONCE, Work
from .log_values import DeviceHead
from .model import band_values, ear_program, ears_of

__all__ = [
    "ENDS",
    "TABLE",
    "TOLD_BY_PHONE",
    "Event",
    "ModeLimits",
    "Move",
    "SessionTimes",
    "Signs",
    "end_of",
    "judge_from_afar",
    "judge_signs",
    "only_lowers",
    "preconditions",
    "reason_of",
    "step",
]


class Event(StrEnum):
    """What happens to live work. Those that end it are the contract's ``EndReason``, word for word."""

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
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  # the name of an event, no token
    """The fitter's connection was closed because its token had ended."""
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CALL_ENDED = "call_ended"
    """Nobody talks to the wearer any more."""
    BATTERY = "battery"
    BACKGROUND = "background"
    AIDS_AWAY = "aids_away"
    LINK_SLOW = "link_slow"
    PHONE_LOST = "phone_lost"
    """The phone's link is lost, for as long as its own dead-man waits."""
    PHONE_TOKEN = "phone_token"  # noqa: S105  # ditto
    """The phone's connection was closed because its token had ended."""
    DEAD_MAN = "dead_man"
    """The phone has restored by itself, because nobody told it that the session lives."""
    TIME_UP = "time_up"


@dataclass(frozen=True, slots=True)
class Move:
    """One cell. ``restore`` is what the phone is told when the aids may hold what was tried, ``work`` what becomes of
    work in flight.
    """

    state: SessionState
    restore: RestoreCause | None = None
    work: Work = GOES_ON


ENDS: Final[Mapping[Event, Move]] = MappingProxyType(
    {
        Event.STOP: Move("none", "stop", TO_BASE_AT_ONCE),
        Event.LEFT: Move("none", "session_ended", DISCARDED),
        Event.RELEASED: Move("none", "session_ended", DISCARDED),
        Event.STOLEN: Move("none", "lease_lost", TO_BASE),
        Event.LEASE_LOST: Move("none", "lease_lost", TO_BASE),
        Event.TOKEN_EXPIRED: Move("none", "session_ended", TO_BASE),
        Event.CONSENT_WITHDRAWN: Move("none", "consent_withdrawn", TO_BASE),
        Event.CALL_ENDED: Move("none", "session_ended", TO_BASE),
        Event.BATTERY: Move("none", "battery", TO_BASE),
        Event.BACKGROUND: Move("none", "background", TO_BASE),
        Event.AIDS_AWAY: Move("none", "session_ended", TO_BASE),
        Event.LINK_SLOW: Move("none", "session_ended", TO_BASE),
        Event.PHONE_LOST: Move("none", "session_ended", TO_BASE),
        Event.PHONE_TOKEN: Move("none", "session_ended", TO_BASE),
        Event.DEAD_MAN: Move("none", "session_ended", TO_BASE),
        Event.TIME_UP: Move("none", "session_ended", TO_BASE),
    }
)
# Before it has begun there is nothing to restore, and no work.
_NEVER_BEGUN: Final[Mapping[Event, Move]] = {event: Move("none") for event in ENDS}

TABLE: Final[Mapping[SessionState, Mapping[Event, Move]]] = MappingProxyType(
    {
        "none": {Event.ASK: Move("asking")},
        "asking": {
            **_NEVER_BEGUN,
            Event.ACCEPTED: Move("live"),
            Event.DECLINED: Move("none"),
            Event.NO_ANSWER: Move("none"),
        },
        "live": {**ENDS, Event.FREEZE: Move("frozen", work=RISES_TAKEN_BACK)},
        "frozen": {**ENDS, Event.THAW: Move("live")},
    }
)

TOLD_BY_PHONE: Final[Mapping[DeviceCause, Event]] = MappingProxyType(
    {
        "dead_man": Event.DEAD_MAN,
        "background": Event.BACKGROUND,
        "battery": Event.BATTERY,
        "stop": Event.STOP,
        "consent_withdrawn": Event.CONSENT_WITHDRAWN,
    }
)
"""What a phone restores for by itself, and live work is over with. After an undo, or a restart, it goes on."""


def reason_of(event: Event) -> EndReason:
    """How both ends are told of an event that ends live work."""
    return cast("EndReason", event.value)


def end_of(reason: EndReason) -> Move:
    """What an end comes to, by its reason."""
    return ENDS[Event(reason)]


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
    by then it has restored by itself. ``session_s``: no session is longer. ``rtt_ends_after_s``: of a link that slow,
    whose round trips of as many seconds are looked at, and of a call that is too bad to be understood.
    ``call_ends_after_s``: of a call that nobody tells of any more.
    """

    freeze_after_s: float = 10.0
    background_ends_after_s: float = 30.0
    aids_away_ends_after_s: float = 120.0
    dead_man_s: float = 30.0
    battery_to_begin_percent: int = 30
    battery_to_go_on_percent: int = 20
    rtt_to_begin_ms: int = 800
    rtt_to_go_on_ms: int = 1_500
    rtt_ends_after_s: float = 10.0
    call_ends_after_s: float = 30.0
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
    ``make_way_s``: how long a phone may take to give packages back that wait for its wearer. ``signs_every_s``: how
    often it is asked how a phone elsewhere is. ``lease_ttl_s``: how long a lease lives that is not renewed.

    ``max_late``: what happened without the log and still has to be recorded in it; ``record_again_s`` are the waits
    between the attempts.
    """

    alive_every_s: float = 5.0
    consent_s: float = 30.0
    make_way_s: float = 5.0
    signs_every_s: float = 1.0
    lease_ttl_s: float = 15.0
    max_late: int = 256
    record_again_s: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of both ends now, and how long the session has lasted. None where nothing was told.

    ``aids_away_s``: how long at least one aid has been out of the phone's reach, None while none is. ``slow_s``: how
    long the phone's link has been slower than live work allows, None while it is not. ``call_silent_s``: how long
    nobody has told of the call beside the session, None when there was none. ``call_bad_s``: how long that call has
    been too bad to be understood, None while it is not. ``is_unseen``: who should be seen or heard in it is not.
    """

    phone_silent_s: float
    fitter_silent_s: float
    background_s: float | None = None
    aids_away_s: float | None = None
    battery_percent: int | None = None
    rtt_p95_ms: int | None = None
    slow_s: float | None = None
    call_silent_s: float | None = None
    call_bad_s: float | None = None
    is_unseen: bool = False
    session_s: float = 0.0


def judge_signs(state: SessionState, signs: Signs, limits: ModeLimits) -> Event | None:
    """What the signs bring about in a session that is live or frozen, None for nothing. The first that holds counts."""
    return _ended_by(signs, limits) or _moved_to(state, may_rise=_may_rise(signs, limits))


def judge_from_afar(
    state: SessionState, signs: Signs, limits: ModeLimits, *, there: SessionState, is_lost: bool
) -> Event | None:
    """The same by a process that does not have the phone, which another one tells of: what is frozen ``there`` is here.

    Signs that have travelled may be older than they say they are, so they freeze and end nothing. Only that a phone
    ``is_lost``, of which nobody tells anything any more, ends live work as its silence does.
    """
    phone_silent_s = signs.phone_silent_s if is_lost else 0.0
    known = Signs(
        phone_silent_s,
        signs.fitter_silent_s,
        call_silent_s=signs.call_silent_s,
        call_bad_s=signs.call_bad_s,
        session_s=signs.session_s,
    )
    may_rise = there == "live" and _may_rise(signs, limits)
    return _ended_by(known, limits) or _moved_to(state, may_rise=may_rise)


def _may_rise(signs: Signs, limits: ModeLimits) -> bool:
    # An aid that is away does not hear the wearer's Undo either, and of a call that is silent nobody hears the wearer.
    silences = (signs.background_s, signs.aids_away_s, signs.call_silent_s)
    waits_s = max(signs.phone_silent_s, signs.fitter_silent_s, *(silent_s or 0.0 for silent_s in silences))
    is_clear = signs.slow_s is None and signs.call_bad_s is None and not signs.is_unseen
    return waits_s < limits.freeze_after_s and is_clear


def _moved_to(state: SessionState, *, may_rise: bool) -> Event | None:
    if may_rise:
        return Event.THAW if state == "frozen" else None
    return Event.FREEZE if state == "live" else None


def _ended_by(signs: Signs, limits: ModeLimits) -> Event | None:
    battery = signs.battery_percent
    ends = (
        (battery is not None and battery < limits.battery_to_go_on_percent, Event.BATTERY),
        ((signs.background_s or 0.0) >= limits.background_ends_after_s, Event.BACKGROUND),
        ((signs.aids_away_s or 0.0) >= limits.aids_away_ends_after_s, Event.AIDS_AWAY),
        (signs.phone_silent_s >= limits.dead_man_s, Event.PHONE_LOST),
        ((signs.call_silent_s or 0.0) >= limits.call_ends_after_s, Event.CALL_ENDED),
        (max(signs.slow_s or 0.0, signs.call_bad_s or 0.0) >= limits.rtt_ends_after_s, Event.LINK_SLOW),
        (signs.session_s >= limits.session_s, Event.TIME_UP),
    )
    return next((event for holds, event in ends if holds), None)


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
