"""Packages for wearers with whom they come to each of their ends, asked for when all faults are over.

Under faults most come to one of them or another, and nobody knows to which. What they came to is counted by the record
alone; nothing here counts. Read ``send_for_every_end`` first.
"""

from typing import Final

from tests.chaos.stage import Stage
from tests.chaos.waiting import holds_within

__all__ = ["send_for_every_end"]

TIMES: Final = 2
# What to send, to whom (does he install, does he keep it), and so what it comes to.
_SENT: Final = (
    ("package to be worn", ("yes", "no")),  # active, then undone
    ("package", ("no", "yes")),  # declined
    ("brief package", ("never", "yes")),  # expired
    ("package taken back", ("never", "yes")),  # cancelled
    ("live over a package", ("never", "yes")),  # made way
    ("package", ("never", "yes")),  # superseded by the next one
)


async def send_for_every_end(stage: Stage, timeout_s: float) -> None:
    """One kind after the other, so that none makes way for the next; what is late is waited for no longer."""
    tally = stage.tally
    for kind, wearer in _SENT:
        device = next(name for name, other in stage.wearers.items() if other == wearer)
        enough = tally.sent[kind, device] + TIMES
        with tally.wishes.open(device, (kind,)):
            await holds_within(timeout_s, lambda: tally.sent[kind, device] >= enough)  # noqa: B023  # asked within this turn
