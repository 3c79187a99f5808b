"""What becomes of work in flight when live work freezes or ends, by how far the work has come.

A rule is data: ``mode.TABLE`` names one in every cell, ``log_sessions`` goes by it. What an aid holds in RAM, and what
it is copying to NVM, only its phone can see to, so the last two columns are what the phone is asked for. This module
must not know a clock nor a log. Read ``Work`` first.
"""

from dataclasses import dataclass
from typing import Final, Literal

from .log_values import Delivery

__all__ = [
    "DISCARDED",
    "GOES_ON",
    "RISES_TAKEN_BACK",
    "TO_BASE",
    "TO_BASE_AT_ONCE",
    "Fate",
    "Stage",
    "Work",
    "stage_of",
]

Stage = Literal["waiting", "offered", "in_ram", "committing"]
"""``waiting``: never offered. ``offered``: the phone may have it, and has not begun. ``in_ram``: a byte may have gone
to an aid. ``committing``: the copy to NVM may have begun."""
Fate = Literal["goes_on", "cancelled", "withdrawn", "restored", "discarded", "finishes", "taken_back"]
"""``withdrawn``: the phone is asked not to begin it. ``restored``: the base comes back, and what was heard is the
fitter's to ask for again. ``discarded``: so too, and the fitter has said that it may be lost. ``taken_back``: the phone
goes on with no copy that the wearer does not want; what it has become, it tells."""

_BEFORE_A_BYTE: Final = frozenset({"accepted", "offered", "received", "awaiting_install"})
_COMMITTING: Final = frozenset({"committing", "active"})


@dataclass(frozen=True, slots=True)
class Work:
    """The rule of one cell: a fate for each stage. ``rises_only``: of what becomes no louder nothing is touched."""

    waiting: Fate = "goes_on"
    offered: Fate = "goes_on"
    in_ram: Fate = "goes_on"
    committing: Fate = "goes_on"
    rises_only: bool = False

    def fate(self, delivery: Delivery) -> Fate:
        """What becomes of a delivery without an end. A package of Standard mode is no part of live work."""
        if delivery.mode == "standard":
            return "goes_on"
        fates = {"waiting": self.waiting, "offered": self.offered, "in_ram": self.in_ram, "committing": self.committing}
        return fates[stage_of(delivery)]


GOES_ON: Final = Work()
RISES_TAKEN_BACK: Final = Work("cancelled", "withdrawn", rises_only=True)
TO_BASE: Final = Work("cancelled", "withdrawn", "restored", "finishes")
# The wearer's Stop: a copy that he does not want is not gone on with.
TO_BASE_AT_ONCE: Final = Work("cancelled", "withdrawn", "restored", "taken_back")
DISCARDED: Final = Work("cancelled", "withdrawn", "discarded", "finishes")


def stage_of(delivery: Delivery) -> Stage:
    """How far a delivery has come, at its most advanced ear."""
    if delivery.attempt == 0:
        return "waiting"
    states = set(delivery.ears.values())
    if states <= _BEFORE_A_BYTE:
        return "offered"
    return "committing" if delivery.kind == "persist" and states & _COMMITTING else "in_ram"
