"""The table of a live session: every pair of state and event, the dead-man, and the wearer's consent."""

from dataclasses import replace
from typing import get_args

import pytest

from clients.phone_session import (
    CODES,
    ENDING,
    TABLE,
    Consent,
    Effect,
    KeptImage,
    Session,
    SessionEvent,
    SessionLimits,
    SessionState,
    due,
    live_refusal,
    next_due_s,
    refuses,
    step,
)
from clients.virtual_aid.memory import factory_image
from protocol.contract.sessions import RestoreCause
from protocol.errors import LocalProtocolError
from tests.clients.offers import BANDS_HZ

S, E = SessionState, SessionEvent
LIMITS = SessionLimits()
# What the caller must not do: there is nothing to restore, or it would write over what is being restored.
IMPOSSIBLE = {
    (S.NONE, E.RESTORED),
    (S.STEADY, E.RESTORED),
    (S.TRIAL, E.RESTORED),
    (S.TRIAL, E.ENDED),
    (S.RESTORING, E.LIVE_WRITE),
    (S.RESTORING, E.ENDED),
}
BASE = tuple(KeptImage(ear, factory_image(ear, BANDS_HZ), f"base of {ear}", ear) for ear in ("right", "left"))


def session(state: SessionState, **given: object) -> Session:
    return replace(Session(state, fence=3, base=BASE, fed_at_s=100.0), **given)  # type: ignore[arg-type]  # a test's own keywords


@pytest.mark.parametrize("state", list(SessionState))
@pytest.mark.parametrize("event", list(SessionEvent))
def test_every_pair_has_a_cell_or_is_an_error(state: SessionState, event: SessionEvent) -> None:
    if (state, event) in IMPOSSIBLE:
        with pytest.raises(LocalProtocolError, match=f"{state} cannot have {event}"):
            step(session(state), event)
        return
    moved, effect = step(session(state), event)
    assert moved.state is TABLE[state][event].state
    assert effect is TABLE[state][event].effect


def test_the_base_is_taken_once_and_leaves_only_when_it_is_in_the_aids() -> None:
    cells = [(state, event, cell.effect) for state, row in TABLE.items() for event, cell in row.items()]
    assert [cell[:2] for cell in cells if cell[2] is Effect.TAKE_BASE] == [(S.NONE, E.LIVE_WRITE)]
    assert {state for state, _, effect in cells if effect is Effect.DROP_BASE} == {S.STEADY}


def test_only_a_proof_leaves_restoring() -> None:
    assert {event for event, cell in TABLE[S.RESTORING].items() if cell.state is not S.RESTORING} == {E.RESTORED}


@pytest.mark.parametrize("state", [S.STEADY, S.TRIAL, S.RESTORING])
def test_whatever_the_state_a_revert_restores_and_the_last_cause_counts(state: SessionState) -> None:
    moved, effect = step(session(state), E.REVERT, cause="stop")
    assert (moved.state, effect, moved.cause) == (S.RESTORING, Effect.RESTORE, "stop")
    assert step(moved, E.REVERT, cause="undo")[0].cause == "undo"
    assert step(moved, E.RESTORED)[0] == replace(moved, state=S.STEADY, cause=None)


@pytest.mark.parametrize("later", get_args(RestoreCause))
@pytest.mark.parametrize("first", get_args(RestoreCause))
def test_the_wearers_cause_gives_way_to_no_other_and_one_that_takes_a_copy_back_to_none_that_does_not(
    first: RestoreCause, later: RestoreCause
) -> None:
    stays = first in ("undo", "stop") and later not in ("undo", "stop")
    stays |= first == "consent_withdrawn" and later not in ("undo", "stop", "consent_withdrawn")
    restoring, _ = step(session(S.TRIAL), E.REVERT, cause=first)
    assert step(restoring, E.REVERT, cause=later)[0].cause == (first if stays else later)


@pytest.mark.parametrize("cause", [None, *get_args(RestoreCause)])
def test_a_withdrawn_consent_lets_a_copy_finish_and_begins_none(cause: RestoreCause | None) -> None:
    assert refuses(cause, is_committing=True) == (cause in ("undo", "stop"))
    assert refuses(cause, is_committing=False) == (cause in ("undo", "stop", "consent_withdrawn"))


def test_a_later_fence_throws_a_base_away_only_when_the_aids_hold_it() -> None:
    assert step(session(S.STEADY), E.NEW_FENCE)[0] == Session()
    moved, effect = step(session(S.TRIAL), E.NEW_FENCE, cause="lease_lost")
    assert (moved.state, effect, moved.base) == (S.RESTORING, Effect.RESTORE, BASE)


@pytest.mark.parametrize(
    ("now_s", "cause"),
    [(100.0, None), (129.9, None), (130.0, "dead_man"), (5_000.0, "dead_man"), (99.0, "dead_man")],
)
def test_thirty_seconds_of_silence_are_too_many(now_s: float, cause: str | None) -> None:
    """And a clock that has gone back was started anew with the phone: then nobody knows how long it was."""
    assert due(session(S.TRIAL), now_s, LIMITS, None) == cause
    for state in (S.NONE, S.STEADY, S.RESTORING):
        assert due(session(state), now_s, LIMITS, None) is None


@pytest.mark.parametrize(("now_s", "cause"), [(119.9, None), (120.0, "background"), (131.0, "dead_man")])
def test_an_app_out_of_sight_gives_the_base_back_after_thirty_seconds(now_s: float, cause: str | None) -> None:
    assert due(session(S.TRIAL, fed_at_s=101.0), now_s, LIMITS, 90.0) == cause
    assert due(session(S.STEADY), now_s, LIMITS, 90.0) is None


def test_when_to_look_again() -> None:
    assert next_due_s(session(S.TRIAL), LIMITS, None) == 130.0
    assert next_due_s(session(S.TRIAL), LIMITS, 95.0) == 125.0
    assert next_due_s(session(S.TRIAL), LIMITS, 105.0) == 130.0
    assert next_due_s(session(S.STEADY), LIMITS, 95.0) is None


def test_the_base_is_of_every_ear() -> None:
    held = session(S.TRIAL)
    assert held.is_base({"right": "base of right", "left": "base of left"})
    assert not held.is_base({"right": "base of right", "left": "another"})
    assert not held.is_base({"right": "base of right"})
    kept = held.image_of("left")
    assert kept is not None
    assert kept.digest == "base of left"
    assert Session().image_of("left") is None


def test_every_cause_has_a_code_for_what_it_ended() -> None:
    assert set(CODES) == set(get_args(RestoreCause))
    assert set(CODES) - ENDING == {"undo", "revert", "dead_man"}


@pytest.mark.parametrize(
    ("consent", "fence", "required", "code"),
    [
        (None, 3, True, "E_CONSENT"),
        (None, 3, False, None),
        (Consent("s", 3), 3, True, None),
        (Consent("s", 0), 3, True, None),
        (Consent("s", 3, "E_CONSENT"), 3, True, "E_CONSENT"),
        (Consent("s", 3, "E_USER_STOP"), 3, False, "E_USER_STOP"),
        (Consent("s", 3), 4, True, "E_CONSENT"),
        (Consent("s", 3, "E_USER_STOP"), 4, False, None),
        (Consent("s", 0, "E_CONSENT"), 4, False, "E_CONSENT"),
    ],
)
def test_live_work_needs_the_wearers_yes_to_this_very_session(
    consent: Consent | None, fence: int, required: bool, code: str | None
) -> None:
    assert live_refusal(consent, fence, required=required) == code
