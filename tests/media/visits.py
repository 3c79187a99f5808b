"""A visit of Pat with Ann, at noon of some day, for tests."""

from dataclasses import replace
from typing import Any

from media.visit import Participant, Visit, VisitTimes
from media.visit_steps import schedule
from protocol.contract.base import Refusal

__all__ = ["NOON_S", "TIMES", "visit_of"]

NOON_S = 1_800_000_000.0
TIMES = VisitTimes()


def visit_of(*others: Participant, **changes: Any) -> Visit:
    """The visit ``v1``: ``p1`` is ann, the professional, and ``p2`` is pat."""
    made = schedule(
        "v1",
        clinic="c1",
        device="d1",
        patient="pat",
        professional="ann",
        when=(NOON_S, NOON_S + 1_800, "2027-01-15T09:00", "Europe/Berlin"),
        at_s=NOON_S - 86_400,
        times=TIMES,
        ids=("p1", "p2"),
    )
    assert not isinstance(made, Refusal)
    return replace(made, participants=(*made.participants, *others), **changes)
