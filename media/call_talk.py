"""Whether two people of a call can talk to each other. Knows nothing of why that matters. Read ``talk``."""

from typing import Literal, TypeAlias

from .call import Call

__all__ = ["Talk", "is_over", "talk"]

# none: they do not. on: both take part. away: at least one is lost, and may come back.
Talk: TypeAlias = Literal["none", "on", "away"]


def talk(call: Call | None, one: str, other: str) -> Talk:
    """How it stands between two people of the call."""
    if call is None or call.ended is not None:
        return "none"
    states = {leg.state for leg in call.legs if leg.user in (one, other)}
    both = sum(leg.user in (one, other) for leg in call.legs) == 2
    if not both or not states <= {"joined", "lost"}:
        return "none"
    return "away" if "lost" in states else "on"


def is_over(before: Call | None, after: Call | None, one: str, other: str) -> bool:
    """Whether two people who talked to each other do so no more, and will not without another call."""
    return talk(before, one, other) != "none" and talk(after, one, other) == "none"
