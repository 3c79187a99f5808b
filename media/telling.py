"""Who must hear what because one call became another. Sends nothing. Read ``told``."""

from dataclasses import dataclass

from protocol.contract.calls import CallEndReason

from .call import Call

__all__ = ["Changed", "Over", "Ring", "StopRinging", "Telling", "standing", "told"]


@dataclass(frozen=True, slots=True)
class Ring:
    """On all connections of a person."""

    user: str
    until_s: float


@dataclass(frozen=True, slots=True)
class StopRinging:
    """On all connections of a person but the one that has the call, "" when none has."""

    user: str
    but: str


@dataclass(frozen=True, slots=True)
class Changed:
    """To the connections that take part."""

    connections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Over:
    """On all connections of these people."""

    users: tuple[str, ...]
    reason: CallEndReason


Telling = Ring | StopRinging | Changed | Over


def told(before: Call | None, after: Call) -> tuple[Telling, ...]:
    """In the order in which it is to be sent. ``before`` is None for a new call."""
    had = () if before is None else before.legs
    was = [had[number].state if number < len(had) else "left" for number in range(len(after.legs))]
    if after.ended is not None:
        reached = ("ringing", "joined", "lost")
        # Of a new call that nobody could take only the starter has heard.
        users = tuple(
            leg.user for state, leg in zip(was, after.legs, strict=True) if state in reached or before is None
        )
        return (Over(users, after.ended),)
    telling: list[Telling] = []
    for state, leg in zip(was, after.legs, strict=True):
        if leg.state == "ringing" and state != "ringing":
            telling.append(Ring(leg.user, leg.until_s))
        elif state == "ringing" and leg.state != "ringing":
            telling.append(StopRinging(leg.user, leg.connection))
    for number, old in enumerate(had):
        # Another connection of the same person has the call now.
        if old.state == "joined" and after.legs[number].connection not in ("", old.connection):
            telling.append(StopRinging(old.user, after.legs[number].connection))
    changed = ("legs", "relay", "recording")
    if before is not None and any(getattr(after, name) != getattr(before, name) for name in changed):
        telling.append(Changed(tuple(leg.connection for leg in after.legs if leg.state == "joined")))
    return tuple(telling)


def standing(call: Call) -> tuple[Telling, ...]:
    """What all must know of a call that goes on, whatever they have heard of it."""
    telling: list[Telling] = []
    for leg in call.legs:
        if leg.state == "ringing":
            telling.append(Ring(leg.user, leg.until_s))
        elif leg.state == "joined":
            telling.append(StopRinging(leg.user, leg.connection))
    return (*telling, Changed(tuple(leg.connection for leg in call.legs if leg.state == "joined")))
