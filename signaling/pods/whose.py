"""Whose a connection is that Redis knows nothing of, by what all pods have said of it.

A table of what may be known and what follows; who is asked, and how, is for ``Whereabouts``. Read ``RULES`` first.
"""

from enum import Enum
from typing import Final, Literal, NamedTuple

__all__ = ["RULES", "Known", "Whose", "whose"]

Maker = Literal["this", "has decided", "silent"]


class Whose(Enum):
    """What follows."""

    THEIRS = "of the pod that has it"
    NOBODYS = "of nobody"
    OURS = "of this pod"
    FOUND_BY_ALL = "of a pod that Redis tells"
    DECIDED_HERE = "of whoever asked this pod first"
    DECIDED_THERE = "of whoever asked the pod first that made the token"


class Known(NamedTuple):
    """What is known. ``is_had``: a pod has it. ``may_open``: it is opened if nobody has it.

    ``is_last``: it has been carried here, and is carried no further. ``is_hidden``: Redis tells other pods whose a
    connection is and this one not, so that nobody would find it here. ``maker``: the pod that made the token.
    """

    is_had: bool
    may_open: bool
    is_last: bool
    is_hidden: bool
    maker: Maker


_Row = tuple[bool | None, bool | None, bool | None, bool | None, Maker | None]
RULES: Final[tuple[tuple[_Row, Whose], ...]] = (
    # is_had, may_open, is_last, is_hidden, maker; None: whichever. The first that fits holds.
    ((True, None, None, None, None), Whose.THEIRS),
    ((False, False, None, None, None), Whose.NOBODYS),
    ((False, True, True, None, None), Whose.OURS),
    ((False, True, False, True, None), Whose.FOUND_BY_ALL),
    ((False, True, False, False, "this"), Whose.DECIDED_HERE),
    ((False, True, False, False, "has decided"), Whose.DECIDED_THERE),
    # Its maker cannot be reached: somebody has to take it.
    ((False, True, False, False, "silent"), Whose.OURS),
)


def whose(known: Known) -> Whose:
    """What follows from what is known."""
    return next(then for row, then in RULES if all(a is None or a == b for a, b in zip(row, known, strict=True)))
