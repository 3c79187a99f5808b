"""Live work as a table: every state with every event; signs of life, preconditions, and what only lowers."""

from typing import Any, get_args

import pytest

from fitting.log_values import DeviceHead
from fitting.mode import (
    TABLE,
    TOLD_BY_PHONE,
    Event,
    ModeLimits,
    Signs,
    end_of,
    judge_from_afar,
    judge_signs,
    only_lowers,
    preconditions,
    reason_of,
    step,
)
from protocol.contract.devices import EarTruth, InAid
from protocol.contract.sessions import EndReason, ModeReason, RestoreCause, SessionState
from protocol.errors import LocalProtocolError
from tests.contracts.device_log_bench import FRESH, louder, registered
from tests.fitting.contents import content, flat

LIMITS = ModeLimits()
HELD = EarTruth(ram="r", nvm="n", cause="read_back", at="1970-01-01T00:00:00.000Z")
ENDS = {
    Event.STOP: "stop",
    Event.LEFT: "session_ended",
    Event.RELEASED: "session_ended",
    Event.STOLEN: "lease_lost",
    Event.LEASE_LOST: "lease_lost",
    Event.TOKEN_EXPIRED: "session_ended",
    Event.CONSENT_WITHDRAWN: "consent_withdrawn",
    Event.CALL_ENDED: "session_ended",
    Event.BATTERY: "battery",
    Event.BACKGROUND: "background",
    Event.AIDS_AWAY: "session_ended",
    Event.LINK_SLOW: "session_ended",
    Event.PHONE_LOST: "session_ended",
    Event.PHONE_TOKEN: "session_ended",
    Event.DEAD_MAN: "session_ended",
    Event.TIME_UP: "session_ended",
}
# Written out, so that a change of the table is a change of this too.
WANTED: dict[SessionState, dict[Event, tuple[SessionState, str | None]]] = {
    "none": {Event.ASK: ("asking", None)},
    "asking": {
        Event.ACCEPTED: ("live", None),
        Event.DECLINED: ("none", None),
        Event.NO_ANSWER: ("none", None),
        **dict.fromkeys(ENDS, ("none", None)),
    },
    "live": {Event.FREEZE: ("frozen", None), **{event: ("none", cause) for event, cause in ENDS.items()}},
    "frozen": {Event.THAW: ("live", None), **{event: ("none", cause) for event, cause in ENDS.items()}},
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", TABLE)
def test_every_state_with_every_event(state: SessionState, event: Event) -> None:
    wanted = WANTED[state].get(event)
    if wanted is None:
        with pytest.raises(LocalProtocolError, match=f"{state} cannot have {event}"):
            step(state, event)
    else:
        move = step(state, event)
        assert (move.state, move.restore) == wanted


def test_both_ends_have_a_word_for_every_end_and_for_nothing_else() -> None:
    assert sorted(reason_of(event) for event in ENDS) == sorted(get_args(EndReason))
    assert set(get_args(EndReason)) < set(get_args(ModeReason))
    for event in ENDS:
        assert end_of(reason_of(event)) == step("live", event) == step("frozen", event)


def test_what_a_phone_restores_for_by_itself_ends_live_work_but_an_undo_does_not() -> None:
    assert set(TOLD_BY_PHONE) < set(get_args(RestoreCause))
    assert {"undo", "revert", "lease_lost", "session_ended"} == set(get_args(RestoreCause)) - set(TOLD_BY_PHONE)
    assert set(TOLD_BY_PHONE.values()) <= set(ENDS)


@pytest.mark.parametrize(
    ("signs", "live", "frozen"),
    [
        ({}, None, Event.THAW),
        ({"phone_silent_s": 9.9, "fitter_silent_s": 9.9, "background_s": 9.9, "call_silent_s": 9.9}, None, Event.THAW),
        ({"phone_silent_s": 10.0}, Event.FREEZE, None),
        ({"fitter_silent_s": 10.0}, Event.FREEZE, None),
        ({"background_s": 10.0}, Event.FREEZE, None),
        ({"aids_away_s": 9.9}, None, Event.THAW),
        ({"aids_away_s": 10.0}, Event.FREEZE, None),
        ({"aids_away_s": 119.9}, Event.FREEZE, None),
        ({"aids_away_s": 120.0}, Event.AIDS_AWAY, Event.AIDS_AWAY),
        ({"call_silent_s": 10.0}, Event.FREEZE, None),
        ({"call_silent_s": 29.9}, Event.FREEZE, None),
        ({"call_silent_s": 30.0}, Event.CALL_ENDED, Event.CALL_ENDED),
        ({"slow_s": 0.0}, Event.FREEZE, None),
        ({"slow_s": 9.9}, Event.FREEZE, None),
        ({"slow_s": 10.0}, Event.LINK_SLOW, Event.LINK_SLOW),
        ({"call_bad_s": 0.0}, Event.FREEZE, None),
        ({"call_bad_s": 9.9}, Event.FREEZE, None),
        ({"call_bad_s": 10.0}, Event.LINK_SLOW, Event.LINK_SLOW),
        ({"is_unseen": True}, Event.FREEZE, None),
        ({"is_unseen": True, "session_s": 3_599.9}, Event.FREEZE, None),
        ({"phone_silent_s": 30.0}, Event.PHONE_LOST, Event.PHONE_LOST),
        ({"background_s": 30.0}, Event.BACKGROUND, Event.BACKGROUND),
        ({"session_s": 3_599.9}, None, Event.THAW),
        ({"session_s": 3_600.0}, Event.TIME_UP, Event.TIME_UP),
        ({"battery_percent": 20}, None, Event.THAW),
        ({"battery_percent": 19, "background_s": 30.0}, Event.BATTERY, Event.BATTERY),
    ],
)
def test_signs_freeze_thaw_and_end(signs: dict[str, Any], live: Event | None, frozen: Event | None) -> None:
    given = Signs(**{"phone_silent_s": 0.0, "fitter_silent_s": 0.0} | signs)
    assert judge_signs("live", given, LIMITS) == live
    assert judge_signs("frozen", given, LIMITS) == frozen


@pytest.mark.parametrize(
    ("signs", "there", "is_lost", "live", "frozen"),
    [
        ({}, "live", False, None, Event.THAW),
        # Whatever the phone's own pod has judged is so, and what it has not judged nobody knows.
        *(({}, there, False, Event.FREEZE, None) for there in ("frozen", "asking", "none")),
        ({"phone_silent_s": 10.0}, "live", False, Event.FREEZE, None),
        ({"background_s": 10.0}, "live", False, Event.FREEZE, None),
        ({"slow_s": 0.0}, "live", False, Event.FREEZE, None),
        ({"fitter_silent_s": 10.0}, "live", False, Event.FREEZE, None),
        # Signs of the phone that have travelled end nothing.
        ({"battery_percent": 1}, "live", False, None, Event.THAW),
        ({"background_s": 300.0}, "live", False, Event.FREEZE, None),
        ({"aids_away_s": 300.0}, "live", False, Event.FREEZE, None),
        ({"slow_s": 300.0}, "live", False, Event.FREEZE, None),
        ({"phone_silent_s": 300.0}, "live", False, Event.FREEZE, None),
        ({"phone_silent_s": 300.0}, "live", True, Event.PHONE_LOST, Event.PHONE_LOST),
        ({"phone_silent_s": 29.0}, "live", True, Event.FREEZE, None),
        # What is known here as well as anywhere does.
        ({"call_silent_s": 30.0}, "live", False, Event.CALL_ENDED, Event.CALL_ENDED),
        ({"call_bad_s": 9.9}, "live", False, Event.FREEZE, None),
        ({"call_bad_s": 10.0}, "live", False, Event.LINK_SLOW, Event.LINK_SLOW),
        ({"is_unseen": True}, "live", False, Event.FREEZE, None),
        ({"session_s": 3_600.0}, "frozen", False, Event.TIME_UP, Event.TIME_UP),
    ],
)
def test_from_afar_signs_freeze_and_only_a_loss_ends(
    signs: dict[str, Any], there: SessionState, is_lost: bool, live: Event | None, frozen: Event | None
) -> None:
    given = Signs(**{"phone_silent_s": 0.0, "fitter_silent_s": 0.0} | signs)
    assert judge_from_afar("live", given, LIMITS, there=there, is_lost=is_lost) == live
    assert judge_from_afar("frozen", given, LIMITS, there=there, is_lost=is_lost) == frozen


def head(**more: Any) -> DeviceHead:
    fields: dict[str, Any] = {
        "device": "d-1",
        "epoch": "e",
        "aids": registered(),
        "revision": None,
        "in_aid": InAid(left=HELD, right=HELD),
        "lease": None,
        "fence": 1,
        "generation": 1,
        "last_seq": 0,
        "last_terminal": 0,
        "at_s": 0.0,
    }
    return DeviceHead(**(fields | more))


@pytest.mark.parametrize(
    ("signs", "known", "code"),
    [
        ({}, {}, None),
        ({"phone_silent_s": 10.0}, {}, "phone_offline"),
        ({}, {"alarms": frozenset({"split"})}, None),
        ({}, {"alarms": frozenset({"indeterminate"})}, "indeterminate"),
        ({}, {"alarms": frozenset({"locked"})}, "locked"),
        ({}, {"alarms": frozenset({"history_lost"})}, None),
        ({"battery_percent": 30}, {"battery": 5}, None),
        ({"battery_percent": 29}, {"battery": 90}, "battery_low"),
        ({}, {"battery": 29}, "battery_low"),
        ({}, {"in_aid": InAid(left=HELD)}, "not_read_back"),
        ({}, {"in_aid": InAid(right=HELD), "aids": {"right": registered()["right"]}}, None),
        ({"background_s": 0.0}, {}, "phone_background"),
        ({"aids_away_s": 9.9}, {}, None),
        ({"aids_away_s": 10.0}, {}, "aids_away"),
        ({"rtt_p95_ms": 799}, {}, None),
        ({"rtt_p95_ms": 800}, {}, "link_slow"),
    ],
)
def test_what_must_hold_before_live_work(signs: dict[str, Any], known: dict[str, Any], code: str | None) -> None:
    given = Signs(**{"phone_silent_s": 0.0, "fitter_silent_s": 0.0} | signs)
    refusal = preconditions(head(**known), given, LIMITS)
    assert (None if refusal is None else refusal.code) == code


def test_without_a_phone_nothing_begins() -> None:
    refusal = preconditions(head(), None, LIMITS)
    assert refusal is not None
    assert (refusal.code, refusal.retryable) == ("phone_offline", True)


def test_only_what_is_nowhere_above_the_base_lowers() -> None:
    assert only_lowers(FRESH, FRESH)
    assert only_lowers(FRESH, louder(FRESH, by=-10))
    assert not only_lowers(FRESH, louder(FRESH, by=1))
    assert not only_lowers(FRESH, louder(louder(FRESH, "left", by=-30), "right", by=1))
    assert not only_lowers(content(right=flat()), FRESH)


@pytest.mark.parametrize("wrong", [{"freeze_after_s": 30.0}, {"freeze_after_s": 0.0}, {"battery_to_begin_percent": 10}])
def test_numbers_that_do_not_fit_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        ModeLimits(**wrong)
