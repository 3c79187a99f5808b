"""The part of the care hub that is about calls: a base class of it, so that each file stays small."""

from collections.abc import Mapping
from typing import Final

from protocol.contract.base import Failure
from protocol.contract.calls import (
    AnswerCall,
    AnswerRecording,
    AskRecording,
    CallAnswer,
    CallToken,
    DeclineCall,
    DeviceCheckAnswer,
    DeviceCheckResult,
    EndCall,
    EndDeviceCheck,
    FallBackCall,
    RefreshCallToken,
    ReportQuality,
    SendSignal,
    SetCallMedia,
    StartCall,
    StartDeviceCheck,
)
from protocol.contract.sessions import Done
from signaling.calls.build import CallHouse
from signaling.hub import Caller, hub_method
from signaling.hubs.visit_methods import IN_VISIT
from signaling.policy import ANYONE, Rule

__all__ = ["CALL_POLICY", "CallMethods"]

CALL_POLICY: Final[Mapping[str, Rule]] = {
    "StartCall": IN_VISIT,
    "AnswerCall": IN_VISIT,
    "RefreshCallToken": IN_VISIT,
    "FallBackCall": IN_VISIT,
    "DeclineCall": IN_VISIT,
    "EndCall": IN_VISIT,
    "SetCallMedia": IN_VISIT,
    "SendSignal": IN_VISIT,
    "ReportQuality": IN_VISIT,
    "AskRecording": IN_VISIT,
    "AnswerRecording": IN_VISIT,
    "StartDeviceCheck": ANYONE,
    "EndDeviceCheck": ANYONE,
}


class CallMethods:
    """Methods of the care hub. ``_calls`` is given to it by the hub."""

    _calls: CallHouse

    @hub_method("StartCall")
    async def start_call(self, caller: Caller, request: StartCall) -> CallAnswer | Failure:
        """Ring the others of the visit, or join the call that goes on."""
        return await self._calls.backends.start(caller, request)

    @hub_method("AnswerCall")
    async def answer_call(self, caller: Caller, request: AnswerCall) -> CallAnswer | Failure:
        """Take part with this connection, or come back."""
        return await self._calls.backends.answer(caller, request)

    @hub_method("RefreshCallToken")
    async def refresh_call_token(self, caller: Caller, request: RefreshCallToken) -> CallToken | Failure:
        """Another token for a call over ACS, before the one before ends."""
        return await self._calls.backends.refresh(caller, request)

    @hub_method("FallBackCall")
    async def fall_back_call(self, caller: Caller, request: FallBackCall) -> CallAnswer | Failure:
        """ACS carry nothing to this end: the call goes on without them, for all."""
        return await self._calls.backends.fall_back(caller, request)

    @hub_method("DeclineCall")
    async def decline_call(self, caller: Caller, request: DeclineCall) -> Done | Failure:
        """Not now."""
        return await self._calls.backends.decline(caller, request)

    @hub_method("EndCall")
    async def end_call(self, caller: Caller, request: EndCall) -> Done | Failure:
        """Leave the call, or end it for all."""
        return await self._calls.backends.end(caller, request)

    @hub_method("SetCallMedia")
    async def set_call_media(self, caller: Caller, request: SetCallMedia) -> Done | Failure:
        """What a participant says of its own media."""
        return await self._calls.flow.media(caller, request)

    @hub_method("SendSignal")
    async def send_signal(self, caller: Caller, request: SendSignal) -> Done | Failure:
        """A description or a candidate for one peer."""
        return await self._calls.relay.carry(caller, request)

    @hub_method("ReportQuality")
    async def report_quality(self, caller: Caller, request: ReportQuality) -> Done | Failure:
        """How the way from one peer was lately."""
        return await self._calls.beside.quality.report(caller, request)

    @hub_method("AskRecording")
    async def ask_recording(self, caller: Caller, request: AskRecording) -> Done | Failure:
        """Ask everybody who takes part whether the call may be recorded."""
        return await self._calls.relayed.recordings.propose(caller, request)

    @hub_method("AnswerRecording")
    async def answer_recording(self, caller: Caller, request: AnswerRecording) -> Done | Failure:
        """Yes or no to that."""
        return await self._calls.relayed.recordings.answer(caller, request)

    @hub_method("StartDeviceCheck")
    async def start_device_check(self, caller: Caller, request: StartDeviceCheck) -> DeviceCheckAnswer | Failure:
        """Try camera, microphone and network with the server."""
        return await self._calls.checks.start(caller, request)

    @hub_method("EndDeviceCheck")
    async def end_device_check(self, caller: Caller, request: EndDeviceCheck) -> DeviceCheckResult | Failure:
        """What came of it."""
        return await self._calls.checks.end(caller, request)

    async def left_calls(self, caller: Caller) -> None:
        """A connection has ended."""
        self._calls.relay.gone(caller)
        await self._calls.checks.gone(caller)
        await self._calls.flow.gone(caller)
