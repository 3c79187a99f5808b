"""Asking whether a call may be recorded, over the hub: who asks, who agrees, and where that is written down.

A yes is kept with the visit before it counts, a no counts before it is kept. Whether anything is recorded, and where,
is ``recorder``'s. Read ``RecordingFlow.answer``.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from media import call_relay
from media.call import Call
from media.visit import Visit
from media.visit_recording import RecordingAnswer, answered
from protocol.contract.base import Failure, Refusal
from protocol.contract.calls import AnswerRecording, AskRecording
from protocol.contract.sessions import Done
from signaling.calls.flow import CallFlow
from signaling.flows.visits import VisitFlow
from signaling.hub import Caller

__all__ = ["RecordingFlow"]

_OFF: Final = Refusal(code="recording_off", message="this server records nothing")
_NO_CALL: Final = Refusal(code="no_call", message="there is no such call, or no part of yours in it")
_NOT_LEADING: Final = Refusal(code="not_leading", message="who leads the visit may ask to record its call")


class RecordingFlow:
    """``is_on``: whether this deployment records. ``note`` records what somebody did in a device's history."""

    def __init__(
        self,
        flow: CallFlow,
        visits: VisitFlow,
        *,
        is_on: bool,
        note: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        self._flow = flow
        self._visits = visits
        self._is_on = is_on
        self._note = note

    async def propose(self, caller: Caller, request: AskRecording) -> Done | Failure:
        """Everybody who takes part is asked. Raises Unavailable."""
        if not self._is_on:
            return _refuse(_OFF)
        if not await self._flow.parts.people.leads(caller, request.visit):
            return _refuse(_NOT_LEADING)
        call = await self._call(request.visit, request.call_id)
        if call is None:
            return _refuse(_NO_CALL)
        recording, user = call.recording or self._flow.parts.new_id(), caller.principal.user
        return await self._agree(
            caller, request.visit, call, recording, lambda now: call_relay.ask_recording(now, user, recording)
        )

    async def answer(self, caller: Caller, request: AnswerRecording) -> Done | Failure:
        """Yes or no. Raises Unavailable; a no has counted then."""
        call, user = await self._call(request.visit, request.call_id), caller.principal.user
        if call is None:
            return _refuse(_NO_CALL)

        def step(now: Call) -> Call | Refusal:
            if request.agrees and now.recording != call.recording:
                return Refusal(code="no_recording", message="that was asked anew meanwhile", retryable=True)
            return call_relay.answer_recording(now, user, agrees=request.agrees)

        if request.agrees:
            return await self._agree(caller, request.visit, call, call.recording, step)
        changed = await self._flow.change(request.visit, request.call_id, step)
        if isinstance(changed, Refusal):
            return _refuse(changed)
        if call.recording:
            await self._kept(caller, request.visit, call.recording, agrees=False)
        return Done()

    async def _agree(
        self, caller: Caller, visit: str, call: Call, recording: str, step: Callable[[Call], Call | Refusal]
    ) -> Done | Failure:
        judged = step(call)
        refusal = judged if isinstance(judged, Refusal) else await self._kept(caller, visit, recording, agrees=True)
        if refusal is None:
            changed = await self._flow.change(visit, call.call_id, step)
            refusal = changed if isinstance(changed, Refusal) else None
        return Done() if refusal is None else _refuse(refusal)

    async def _kept(self, caller: Caller, visit: str, recording: str, *, agrees: bool) -> Refusal | None:
        _, person = await self._visits.standing(caller.principal, visit)
        answer = RecordingAnswer(recording, person.participant, agrees, self._flow.parts.now_s())

        def keep(before: Visit) -> Visit | Refusal:
            return answered(before, answer)

        outcome = await self._visits.change(visit, keep)
        if isinstance(outcome, Refusal):
            return outcome
        before, after = outcome
        if before is not after:
            what = "recording_agreed" if agrees else "recording_withdrawn"
            await self._note(after.device, what, caller.principal.user)
        return None

    async def _call(self, visit: str, call_id: str) -> Call | None:
        call = await self._flow.now(visit)
        return call if call is not None and call.call_id == call_id else None


def _refuse(refusal: Refusal) -> Failure:
    return Failure(error=refusal, errors=(refusal,))
