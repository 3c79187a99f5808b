"""One call of a visit: who rings, who takes part, who negotiates with whom, and when it is over.

A ``Call`` is a value. Each function returns the next one, or a refusal; ``told`` is what everybody must hear because
one became the other. Whoever keeps calls lets only one change happen at a time, so that the first answer wins. This
module must not know a socket, a clock or where calls are kept. Read ``Call``, then ``answer`` and ``told``.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from protocol.contract.base import Refusal
from protocol.contract.calls import (
    RELAY_PEER,
    CallBackend,
    CallEndReason,
    CallPeer,
    CallState,
    LegReason,
    LegState,
    Media,
    SetCallMedia,
)

from .legs import LEGS, LegEvent
from .negotiation import PAIR, PairState, pair_event

__all__ = [
    "IN_CALL",
    "Call",
    "CallTimes",
    "Leg",
    "Pair",
    "Place",
    "answer",
    "close",
    "describe",
    "end_leg",
    "invite",
    "lost",
    "may_send",
    "said",
    "start",
    "still_there",
    "sweep",
    "switch",
]

IN_CALL: Final = ("joined", "lost")
_AFTER: Final[dict[LegEvent, CallEndReason]] = {
    LegEvent.DECLINE: "declined",
    LegEvent.BUSY: "busy",
    LegEvent.TIMEOUT: "no_answer",
    LegEvent.GRACE_OVER: "gone",
    LegEvent.HANG_UP: "hung_up",
    LegEvent.OVER_LIMIT: "over_limit",
}


@dataclass(frozen=True, slots=True)
class CallTimes:
    """``ring_s``: how long somebody is rung. ``grace_s``: how long a lost participant may take to come back."""

    ring_s: float
    grace_s: float


class Place(Struct, frozen=True, array_like=True):
    """A connection, and the pod that has it."""

    connection: str
    pod: str


class Leg(Struct, frozen=True, array_like=True):
    """One participant; its place in the call is its number. ``connection`` takes part, on ``pod``, "" before one does.

    ``until_s``: Unix time when ringing ends, or the grace of a lost one. ``talks``: it may send sound and picture;
    others only see and hear.
    """

    user: str
    state: LegState
    connection: str = ""
    pod: str = ""
    until_s: float = 0.0
    reason: LegReason | None = None
    muted: bool = False
    held: bool = False
    camera: bool = False
    screen: bool = False
    talks: bool = True
    wants_relay: bool = False
    agrees: bool = False


class Pair(Struct, frozen=True, array_like=True):
    """What two peers have said to each other. ``low``, ``high``: the fingerprint that each has shown, "" before."""

    state: PairState = "stable"
    low: str = ""
    high: str = ""
    is_restart: bool = False


class Call(Struct, frozen=True, array_like=True):
    """A call as it is kept. ``version`` rises with each change. Times are Unix seconds.

    ``relay``: the pod that passes media on, "" when none does. ``recording`` names what those who take part were asked
    to have recorded, "" for nothing.
    """

    call_id: str
    visit: str
    clinic: str
    media: Media
    began_at_s: float
    legs: tuple[Leg, ...]
    pairs: dict[str, Pair] = {}
    version: int = 1
    answered_at_s: float = 0.0
    ended: CallEndReason | None = None
    backend: CallBackend = "webrtc"
    relay: str = ""
    recording: str = ""

    @property
    def state(self) -> CallState:
        """What it is as a whole."""
        if self.ended is not None:
            return "ended"
        return "active" if sum(leg.state in IN_CALL for leg in self.legs) > 1 else "ringing"

    def peer_of(self, user: str) -> int | None:
        """The number of a person, if it is one of the call's."""
        return next((n for n, leg in enumerate(self.legs) if leg.user == user), None)

    def taken_by(self, connection: str) -> int | None:
        """The number of the participant who takes part with this connection now."""
        legs = enumerate(self.legs)
        return next((n for n, leg in legs if leg.connection == connection and leg.state == "joined"), None)

    def peers(self) -> tuple[CallPeer, ...]:
        """Everybody, as the others see them."""
        return tuple(
            CallPeer(
                peer=number,
                user=leg.user,
                state=leg.state,
                reason=UNSET if leg.reason is None else leg.reason,
                muted=leg.muted,
                held=leg.held,
                camera=leg.camera,
                screen=leg.screen,
                wants_relay=leg.wants_relay,
                agrees=leg.agrees,
            )
            for number, leg in enumerate(self.legs)
        )


def start(
    call_id: str,
    *,
    visit: str,
    clinic: str,
    starter: str,
    place: Place,
    others: Iterable[str],
    busy: Collection[str],
    media: Media,
    now_s: float,
    times: CallTimes,
    backend: CallBackend = "webrtc",
    relay: str = "",
) -> Call:
    """A new call: the starter takes part, the others ring, but for those who are in another call.

    ``relay``: the pod through which media go.
    """
    legs = [Leg(starter, "joined", place.connection, place.pod)]
    for user in others:
        leg = Leg(user, "ringing", until_s=now_s + times.ring_s)
        legs.append(_leg_after(leg, LegEvent.BUSY) if user in busy else leg)
    call = Call(call_id, visit, clinic, media, now_s, tuple(legs), backend=backend, relay=relay)
    return _settled(call, LegEvent.BUSY)


def answer(call: Call, user: str, place: Place, *, now_s: float, max_peers: int, talks: bool = True) -> Call | Refusal:
    """This connection of a person takes part: the first one that says so, or one that comes back for a lost one."""
    number = call.peer_of(user)
    if call.ended is not None or number is None:
        return _over()
    leg = call.legs[number]
    if leg.connection == place.connection and leg.state == "joined":
        return call
    event = LegEvent.BACK if leg.state in IN_CALL else LegEvent.ANSWER
    if event is LegEvent.ANSWER and sum(one.state in IN_CALL for one in call.legs) >= max_peers:
        return Refusal(code="call_full", message=f"at most {max_peers} take part in a call")
    joined = replace(
        _leg_after(leg, event),
        connection=place.connection,
        pod=place.pod,
        muted=False,
        held=False,
        camera=False,
        screen=False,
        talks=talks,
        # Who comes back is asked nothing twice, who comes anew is.
        agrees=leg.agrees and event is LegEvent.BACK,
        wants_relay=False,
    )
    answered_at_s = call.answered_at_s or now_s
    return _changed(call, number, joined, answered_at_s=answered_at_s, pairs=_without(call, number))


def invite(call: Call, users: Collection[str], *, busy: Collection[str], now_s: float, times: CallTimes) -> Call:
    """Ring people who do not take part: new ones, and those who have left."""
    legs = list(call.legs)
    for user in users:
        number = call.peer_of(user)
        if number is None:
            legs.append(Leg(user, "left"))
            number = len(legs) - 1
        elif legs[number].state != "left":
            continue
        leg = replace(_leg_after(legs[number], LegEvent.RING), until_s=now_s + times.ring_s)
        legs[number] = _leg_after(leg, LegEvent.BUSY) if user in busy else leg
    return replace(call, legs=tuple(legs), version=call.version + 1) if tuple(legs) != call.legs else call


def end_leg(call: Call, user: str, event: LegEvent) -> Call | Refusal:
    """A person declines, is busy, or hangs up. What does not fit any more has been overtaken, and changes nothing."""
    number = call.peer_of(user)
    if call.ended is not None or number is None:
        return _over()
    leg = call.legs[number]
    if event not in LEGS[leg.state]:
        return call
    return _settled(_changed(call, number, _leg_after(leg, event), pairs=_without(call, number)), event)


def lost(call: Call, is_gone: Callable[[Leg], bool], *, now_s: float, times: CallTimes) -> Call:
    """Connections have gone; whoever took part with them may come back for a while."""
    for number, leg in enumerate(call.legs):
        if call.ended is None and leg.state == "joined" and is_gone(leg):
            call = _changed(call, number, replace(_leg_after(leg, LegEvent.LOST), until_s=now_s + times.grace_s))
    return call


def still_there(call: Call, is_here: Callable[[Leg], bool]) -> Call:
    """Others have taken connections for gone that are not: whoever takes part with them was never away."""
    for number, leg in enumerate(call.legs):
        if call.ended is None and leg.state == "lost" and is_here(leg):
            call = _changed(call, number, replace(_leg_after(leg, LegEvent.BACK), connection=leg.connection))
    return call


def said(call: Call, connection: str, media: SetCallMedia) -> Call | Refusal:
    """A participant tells how its own media are."""
    number = call.taken_by(connection)
    if call.ended is not None or number is None:
        return _over()
    leg = replace(call.legs[number], muted=media.muted, held=media.held, camera=media.camera, screen=media.screen)
    return call if leg == call.legs[number] else _changed(call, number, leg)


def describe(
    call: Call,
    connection: str,
    to: int,
    *,
    fingerprint: str,
    is_answer: bool,
    is_restart: bool = False,
    sends: bool = False,
) -> Call | Refusal:
    """A participant sends a description to another one; ``sends``: by which it may send media itself."""
    sender = call.taken_by(connection)
    refusal = _may_speak(call, sender, to)
    if sender is None or refusal is not None:
        return refusal or _over()
    if sends and not call.legs[sender].talks:
        text = "your role in the visit sees and hears: every medium must be recvonly or inactive"
        return Refusal(code="may_not_talk", message=text)
    if to == RELAY_PEER:
        # It has no offers of its own that could cross others, and answers each by itself.
        return call
    name, is_low = _pair_name(sender, to), sender < to
    pair = call.pairs.get(name, Pair())
    move = PAIR[pair.state][pair_event(sender, to, is_answer=is_answer)]
    if move.refused == "glare":
        text = "the other end has made an offer too, and its one counts: take yours back and answer it"
        return Refusal(code="glare", message=text)
    if move.refused:
        return Refusal(code="no_offer", message="there is no offer that this answers")
    shown = pair.low if is_low else pair.high
    if is_answer and shown not in ("", fingerprint) and not pair.is_restart:
        text = "an answer must show the certificate that was shown before; another one needs an offer of its own"
        return Refusal(code="fingerprint_changed", message=text)
    # An offer that does not count has shown nothing: whoever takes it back may begin anew.
    other = "" if not is_answer and pair.state not in ("stable", move.state) else (pair.high if is_low else pair.low)
    after = Pair(
        move.state,
        fingerprint if is_low else other,
        other if is_low else fingerprint,
        is_restart if not is_answer else False,
    )
    return replace(call, pairs={**call.pairs, name: after}, version=call.version + 1)


def may_send(call: Call, connection: str, to: int) -> int | Refusal:
    """The number of a participant who sends a candidate to another one."""
    sender = call.taken_by(connection)
    refusal = _may_speak(call, sender, to)
    return sender if sender is not None and refusal is None else refusal or _over()


def sweep(call: Call, now_s: float) -> Call:
    """What time alone has brought about."""
    for number, leg in enumerate(call.legs):
        event = {"ringing": LegEvent.TIMEOUT, "lost": LegEvent.GRACE_OVER}.get(leg.state)
        if call.ended is None and event is not None and leg.until_s <= now_s:
            call = _settled(_changed(call, number, _leg_after(leg, event), pairs=_without(call, number)), event)
    return call


def switch(call: Call, backend: CallBackend) -> Call:
    """Something else carries it from now on, and what was negotiated does not count."""
    if call.ended is not None or call.backend == backend:
        return call
    return replace(call, backend=backend, pairs={}, version=call.version + 1)


def close(call: Call, reason: CallEndReason) -> Call:
    """It ends for all."""
    if call.ended is not None:
        return call
    legs = tuple(leg if leg.state == "left" else _leg_after(leg, LegEvent.OVER) for leg in call.legs)
    return replace(call, legs=legs, ended=reason, pairs={}, version=call.version + 1)


def _pair_name(one: int, other: int) -> str:
    """What a pair is called, whoever speaks."""
    return f"{min(one, other)}-{max(one, other)}"


def _may_speak(call: Call, sender: int | None, to: int) -> Refusal | None:
    if call.ended is not None or sender is None:
        return _over()
    if call.relay and to != RELAY_PEER:
        return Refusal(code="relayed", message=f"media of this call go through the server: peer {RELAY_PEER}")
    if call.relay:
        return None
    if to == sender or to >= len(call.legs) or call.legs[to].state != "joined":
        return Refusal(code="no_such_peer", message="nobody takes part under that number now", retryable=True)
    return None


def _settled(call: Call, event: LegEvent) -> Call:
    """It is over when there is nobody left to talk to, and nobody to wait for."""
    if call.ended is not None:
        return call
    taking_part = sum(leg.state in IN_CALL for leg in call.legs)
    waiting = sum(leg.state == "ringing" for leg in call.legs)
    if taking_part > 1 or (taking_part == 1 and waiting):
        return call
    reason = _AFTER[event]
    if reason == "hung_up" and not call.answered_at_s:
        reason = "cancelled"
    return close(call, reason)


def _leg_after(leg: Leg, event: LegEvent) -> Leg:
    move = LEGS[leg.state][event]
    return replace(leg, state=move.state, reason=move.reason, connection="" if move.state == "left" else leg.connection)


def _changed(call: Call, number: int, leg: Leg, **more: object) -> Call:
    legs = (*call.legs[:number], leg, *call.legs[number + 1 :])
    return replace(call, legs=legs, version=call.version + 1, **more)


def _without(call: Call, number: int) -> dict[str, Pair]:
    """The pairs that one participant is none of: with another connection it begins anew with everybody."""
    return {name: pair for name, pair in call.pairs.items() if str(number) not in name.split("-")}


def _over() -> Refusal:
    return Refusal(code="no_call", message="there is no such call, or no part of yours in it")
