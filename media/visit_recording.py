"""Who has agreed to be recorded in a visit, and when: kept with it. Read ``answered``."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from protocol.contract.base import Refusal

if TYPE_CHECKING:
    from .visit import Visit

__all__ = ["MAX_ANSWERS", "RecordingAnswer", "answered"]

MAX_ANSWERS: Final = 64


@dataclass(frozen=True, slots=True)
class RecordingAnswer:
    """What a participant said to the question called ``recording``, at a Unix time."""

    recording: str
    participant: str
    agrees: bool
    at_s: float


def answered(visit: "Visit", answer: RecordingAnswer) -> "Visit | Refusal":
    """The visit with one more answer, if it is another one. A yes is bounded, what takes one back is always kept."""
    said = [one for one in visit.recorded if (one.recording, one.participant) == (answer.recording, answer.participant)]
    # Who has never said yes has nothing to take back.
    if (said[-1].agrees if said else False) == answer.agrees:
        return visit
    if answer.agrees and len(visit.recorded) >= MAX_ANSWERS:
        return Refusal(code="too_many_answers", message="this visit was asked often enough whether it may be recorded")
    return replace(visit, recorded=(*visit.recorded, answer), version=visit.version + 1)
