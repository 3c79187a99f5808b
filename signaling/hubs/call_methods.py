"""The part of the care hub that is about calls: a base class of it, so that each file stays small."""

from collections.abc import Mapping
from typing import Final

from protocol.contract.base import Failure
from protocol.contract.calls import AnswerCall, CallAnswer, DeclineCall, EndCall, SendSignal, SetCallMedia, StartCall
from protocol.contract.sessions import Done
from signaling.calls.flow import CallFlow
from signaling.calls.relay import SignalRelay
from signaling.hub import Caller, hub_method
from signaling.hubs.visit_methods import IN_VISIT
from signaling.policy import Rule

__all__ = ["CALL_POLICY", "CallMethods"]

CALL_POLICY: Final[Mapping[str, Rule]] = {
    "StartCall": IN_VISIT,
    "AnswerCall": IN_VISIT,
    "DeclineCall": IN_VISIT,
    "EndCall": IN_VISIT,
    "SetCallMedia": IN_VISIT,
    "SendSignal": IN_VISIT,
}


class CallMethods:
    """Methods of the care hub. ``_calls`` and ``_relay`` are given to it by the hub."""

    _calls: CallFlow
    _relay: SignalRelay

    @hub_method("StartCall")
    async def start_call(self, caller: Caller, request: StartCall) -> CallAnswer | Failure:
        """Ring the others of the visit, or join the call that goes on."""
        return await self._calls.start(caller, request)

    @hub_method("AnswerCall")
    async def answer_call(self, caller: Caller, request: AnswerCall) -> CallAnswer | Failure:
        """Take part with this connection, or come back."""
        return await self._calls.answer(caller, request)

    @hub_method("DeclineCall")
    async def decline_call(self, caller: Caller, request: DeclineCall) -> Done | Failure:
        """Not now."""
        return await self._calls.decline(caller, request)

    @hub_method("EndCall")
    async def end_call(self, caller: Caller, request: EndCall) -> Done | Failure:
        """Leave the call, or end it for all."""
        return await self._calls.end(caller, request)

    @hub_method("SetCallMedia")
    async def set_call_media(self, caller: Caller, request: SetCallMedia) -> Done | Failure:
        """What a participant says of its own media."""
        return await self._calls.media(caller, request)

    @hub_method("SendSignal")
    async def send_signal(self, caller: Caller, request: SendSignal) -> Done | Failure:
        """A description or a candidate for one peer."""
        return await self._relay.send(caller, request)
