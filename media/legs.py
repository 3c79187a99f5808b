"""One participant's part in a call, as a state table. Knows no other participant. Read ``LEGS``."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from protocol.contract.calls import LegReason, LegState

__all__ = ["LEGS", "LegEvent", "LegMove"]


class LegEvent(StrEnum):
    """What happens to one participant."""

    RING = "ring"
    """Asked again after it had left."""
    ANSWER = "answer"
    DECLINE = "decline"
    BUSY = "busy"
    TIMEOUT = "timeout"
    """It has rung for long enough."""
    LOST = "lost"
    """The connection that takes part has gone."""
    BACK = "back"
    """Another connection of the same person goes on."""
    GRACE_OVER = "grace_over"
    """It did not come back."""
    HANG_UP = "hang_up"
    OVER_LIMIT = "over_limit"
    """It sends more than the server passes on."""
    OVER = "over"
    """The call has ended for all."""


@dataclass(frozen=True, slots=True)
class LegMove:
    """One cell."""

    state: LegState
    reason: LegReason | None = None


LEGS: Final[Mapping[LegState, Mapping[LegEvent, LegMove]]] = MappingProxyType(
    {
        "ringing": {
            LegEvent.ANSWER: LegMove("joined"),
            LegEvent.DECLINE: LegMove("left", "declined"),
            LegEvent.BUSY: LegMove("left", "busy"),
            LegEvent.TIMEOUT: LegMove("left", "missed"),
            LegEvent.OVER: LegMove("left", "cancelled"),
        },
        "joined": {
            LegEvent.LOST: LegMove("lost"),
            # The newest connection of a person has the call, as with a phone that comes back before its loss is known.
            LegEvent.BACK: LegMove("joined"),
            LegEvent.HANG_UP: LegMove("left", "hung_up"),
            LegEvent.OVER_LIMIT: LegMove("left", "over_limit"),
            LegEvent.OVER: LegMove("left", "ended"),
        },
        "lost": {
            LegEvent.BACK: LegMove("joined"),
            LegEvent.GRACE_OVER: LegMove("left", "gone"),
            LegEvent.HANG_UP: LegMove("left", "hung_up"),
            LegEvent.OVER_LIMIT: LegMove("left", "over_limit"),
            LegEvent.OVER: LegMove("left", "ended"),
        },
        "left": {LegEvent.RING: LegMove("ringing"), LegEvent.ANSWER: LegMove("joined")},
    }
)
