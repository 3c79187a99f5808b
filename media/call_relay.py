"""What of one call has to do with the server's own peer: when media go through it, and whether they are recorded.

Both need everybody who takes part: whoever moves to the server gives up that nobody between the ends can listen. Like
``call`` this decides and carries nothing out. Read ``recording_state`` first.
"""

from msgspec.structs import replace

from protocol.contract.base import Refusal
from protocol.contract.calls import RELAY_PEER, RecordingState

from .call import IN_CALL, Call, Leg

__all__ = ["answer_recording", "ask_recording", "behind", "recording_state", "stop_recording", "wish_for_relay"]


def behind(call: Call, peer: int, to: int) -> tuple[int, ...]:
    """Whose media come to a participant by its way from ``to``: of the server's own peer all others' do."""
    if to != RELAY_PEER:
        return (to,)
    return tuple(number for number, leg in enumerate(call.legs) if number != peer and leg.state in IN_CALL)


def wish_for_relay(call: Call, user: str, pod: str) -> Call | Refusal:
    """A participant cannot reach somebody. Once everybody who takes part wishes it media go through this pod."""
    number = call.peer_of(user)
    if call.ended is not None or number is None or call.legs[number].state not in IN_CALL:
        return _over()
    if call.relay or call.legs[number].wants_relay:
        return call
    if call.backend != "webrtc":
        return Refusal(code="backend_off", message="the call goes over another service, and falls back by itself")
    legs = _with(call, number, wants_relay=True)
    if not all(leg.wants_relay for leg in legs if leg.state in IN_CALL):
        return replace(call, legs=legs, version=call.version + 1)
    settled = tuple(replace(leg, wants_relay=False) for leg in legs)
    return replace(call, legs=settled, backend="relay", relay=pod, pairs={}, version=call.version + 1)


def ask_recording(call: Call, user: str, recording: str) -> Call | Refusal:
    """Somebody asks the others, and agrees by that; while it was asked already this is his yes."""
    if call.ended is None and not call.relay:
        text = "only a call whose media go through the server can be recorded: start it with the backend relay"
        return Refusal(code="not_relayed", message=text)
    agreed = _agreed(call, user)
    return agreed if isinstance(agreed, Refusal) or call.recording else replace(agreed, recording=recording)


def answer_recording(call: Call, user: str, *, agrees: bool) -> Call | Refusal:
    """Yes or no of a participant; one no ends it for all, and has everybody asked anew."""
    if call.peer_of(user) is None or call.ended is not None:
        return _over()
    if not call.recording:
        return Refusal(code="no_recording", message="nobody has asked to record this call") if agrees else call
    return _agreed(call, user) if agrees else stop_recording(call)


def stop_recording(call: Call) -> Call:
    """It is over, for whatever reason."""
    if not call.recording:
        return call
    legs = tuple(replace(leg, agrees=False) for leg in call.legs)
    return replace(call, legs=legs, recording="", version=call.version + 1)


def recording_state(call: Call) -> RecordingState:
    """Whether what is said is recorded: while everybody who takes part agrees, and there are two at least."""
    if call.ended is not None or not call.recording or not call.relay:
        return "off"
    taking_part = [leg for leg in call.legs if leg.state in IN_CALL]
    return "on" if len(taking_part) > 1 and all(leg.agrees for leg in taking_part) else "asked"


def _agreed(call: Call, user: str) -> Call | Refusal:
    number = call.peer_of(user)
    if call.ended is not None or number is None or call.legs[number].state not in IN_CALL:
        return _over()
    if call.legs[number].agrees:
        return call
    return replace(call, legs=_with(call, number, agrees=True), version=call.version + 1)


def _with(call: Call, number: int, **changes: bool) -> tuple[Leg, ...]:
    return (*call.legs[:number], replace(call.legs[number], **changes), *call.legs[number + 1 :])


def _over() -> Refusal:
    return Refusal(code="no_call", message="there is no such call, or no part of yours in it")
