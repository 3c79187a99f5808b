"""Every event in every state of a participant, and of a pair that negotiates."""

import pytest

from media.legs import LEGS, LegEvent
from media.negotiation import PAIR, PairEvent, pair_event
from protocol.contract.calls import LegState

LEG_CELLS = {
    ("ringing", "answer"): ("joined", None),
    ("ringing", "decline"): ("left", "declined"),
    ("ringing", "busy"): ("left", "busy"),
    ("ringing", "timeout"): ("left", "missed"),
    ("ringing", "over"): ("left", "cancelled"),
    ("joined", "lost"): ("lost", None),
    ("joined", "back"): ("joined", None),
    ("joined", "hang_up"): ("left", "hung_up"),
    ("joined", "over_limit"): ("left", "over_limit"),
    ("joined", "over"): ("left", "ended"),
    ("lost", "back"): ("joined", None),
    ("lost", "grace_over"): ("left", "gone"),
    ("lost", "hang_up"): ("left", "hung_up"),
    ("lost", "over_limit"): ("left", "over_limit"),
    ("lost", "over"): ("left", "ended"),
    ("left", "ring"): ("ringing", None),
    ("left", "answer"): ("joined", None),
}
PAIR_CELLS = {
    ("stable", "low_offer"): ("low_offers", ""),
    ("stable", "high_offer"): ("high_offers", ""),
    ("stable", "low_answer"): ("stable", "no_offer"),
    ("stable", "high_answer"): ("stable", "no_offer"),
    ("low_offers", "low_offer"): ("low_offers", ""),
    ("low_offers", "high_offer"): ("low_offers", "glare"),
    ("low_offers", "low_answer"): ("low_offers", "no_offer"),
    ("low_offers", "high_answer"): ("stable", ""),
    ("high_offers", "low_offer"): ("low_offers", ""),
    ("high_offers", "high_offer"): ("high_offers", ""),
    ("high_offers", "low_answer"): ("stable", ""),
    ("high_offers", "high_answer"): ("high_offers", "no_offer"),
}


@pytest.mark.parametrize("event", LegEvent)
@pytest.mark.parametrize("state", LEGS)
def test_a_participant(state: LegState, event: LegEvent) -> None:
    move = LEGS[state].get(event)
    assert (None if move is None else (move.state, move.reason)) == LEG_CELLS.get((state, event.value))


@pytest.mark.parametrize("event", PairEvent)
@pytest.mark.parametrize("state", ["stable", "low_offers", "high_offers"])
def test_a_pair(state: str, event: PairEvent) -> None:
    move = PAIR[state][event]  # type: ignore[index]  # a test names states as text
    assert (move.state, move.refused) == PAIR_CELLS[state, event.value]


def test_who_says_what() -> None:
    assert pair_event(0, 2, is_answer=False) is PairEvent.LOW_OFFER
    assert pair_event(2, 0, is_answer=False) is PairEvent.HIGH_OFFER
    assert pair_event(0, 2, is_answer=True) is PairEvent.LOW_ANSWER
    assert pair_event(2, 0, is_answer=True) is PairEvent.HIGH_ANSWER
