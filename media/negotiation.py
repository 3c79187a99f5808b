"""What two peers of a call may say to each other next, as a state table (RFC 9429, 3.2, as it looks between the two).

Offers may cross. The peer with the lower number is heard then; the other one takes its own offer back and answers
("polite", in the words of WebRTC's perfect negotiation). With another connection a peer begins anew with everybody.
This module must not know what an offer says. Read ``PAIR``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["PAIR", "PairEvent", "PairMove", "PairState", "pair_event"]

# Who has made an offer that was not answered: the peer with the lower number, or the higher one.
PairState = Literal["stable", "low_offers", "high_offers"]


class PairEvent(StrEnum):
    """Who says what: the peer with the lower number, or the higher one. A restart is an offer here."""

    LOW_OFFER = "low_offer"
    HIGH_OFFER = "high_offer"
    LOW_ANSWER = "low_answer"
    HIGH_ANSWER = "high_answer"


@dataclass(frozen=True, slots=True)
class PairMove:
    """One cell: the next state, or the code of a refusal."""

    state: PairState
    refused: Literal["", "glare", "no_offer"] = ""


PAIR: Final[Mapping[PairState, Mapping[PairEvent, PairMove]]] = MappingProxyType(
    {
        "stable": {
            PairEvent.LOW_OFFER: PairMove("low_offers"),
            PairEvent.HIGH_OFFER: PairMove("high_offers"),
            PairEvent.LOW_ANSWER: PairMove("stable", "no_offer"),
            PairEvent.HIGH_ANSWER: PairMove("stable", "no_offer"),
        },
        "low_offers": {
            # An offer may be made anew before it is answered: a network may change twice.
            PairEvent.LOW_OFFER: PairMove("low_offers"),
            PairEvent.HIGH_OFFER: PairMove("low_offers", "glare"),
            PairEvent.LOW_ANSWER: PairMove("low_offers", "no_offer"),
            PairEvent.HIGH_ANSWER: PairMove("stable"),
        },
        "high_offers": {
            PairEvent.LOW_OFFER: PairMove("low_offers"),
            PairEvent.HIGH_OFFER: PairMove("high_offers"),
            PairEvent.LOW_ANSWER: PairMove("stable"),
            PairEvent.HIGH_ANSWER: PairMove("high_offers", "no_offer"),
        },
    }
)


def pair_event(sender: int, to: int, *, is_answer: bool) -> PairEvent:
    """What a description of one peer for another is between the two."""
    if sender < to:
        return PairEvent.LOW_ANSWER if is_answer else PairEvent.LOW_OFFER
    return PairEvent.HIGH_ANSWER if is_answer else PairEvent.HIGH_OFFER
