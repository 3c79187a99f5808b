"""What carries a call: the two ends themselves, or Azure Communication Services, as the clinic wants it and as it goes.

A call is begun where it can go on: whoever starts one has his token before anybody is rung. When ACS fail, then or
later, everybody in the visit is told what has become of the call, and why; the visit goes on without them. Who waits
for his token may hang up (``joins``). Read ``CallBackends.start`` first.
"""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from media import call as calls
from media.acs import Trouble
from media.call import Call
from media.visit import Visit
from protocol.contract.base import Failure, Refusal
from protocol.contract.calls import (
    AcsJoin,
    AnswerCall,
    CallAnswer,
    CallBackend,
    CallBackendChanged,
    CallToken,
    DeclineCall,
    EndCall,
    FallBackCall,
    FallBackReason,
    RefreshCallToken,
    StartCall,
)
from protocol.contract.sessions import Done
from signaling.acs.visits import AcsVisits
from signaling.calls.flow import CallFlow
from signaling.calls.joins import GivenUp, Joins
from signaling.flows.visits import VisitFlow, refused
from signaling.hub import Caller

__all__ = ["CallBackends"]

_OFF: Final = Refusal(code="backend_off", message="calls of this clinic do not go over that backend")
_NO_ACS: Final = Refusal(code="no_call_token", message="the call goes over no backend that has tokens")
_NO_CALL: Final = Refusal(code="no_call", message="there is no such call, or no part of yours in it")


class CallBackends:
    """``acs`` is None for a server without. ``waits``: how long a token may take, and a clock that only rises.

    ``fell_back`` is told why.
    """

    def __init__(
        self,
        flow: CallFlow,
        visits: VisitFlow,
        acs: AcsVisits | None,
        *,
        waits: tuple[float, Callable[[], float]],
        fell_back: Callable[[FallBackReason], None],
    ) -> None:
        self._flow = flow
        self._visits = visits
        self._acs = acs
        self._patience_s, self._monotonic = waits
        self._fell_back = fell_back
        self._joins = Joins()
        flow.on_change.append(self._changed)
        flow.on_gone.append(lambda call, _: self._joins.call_over(call.call_id))
        visits.on_change.append(self._visit_changed)
        visits.on_removed.append(self._removed)

    async def start(self, caller: Caller, request: StartCall) -> CallAnswer | Failure:
        """Ring the others, or join the call that goes on."""
        wanted = self._wanted(caller, request)
        if wanted == "acs" and not self._serves(caller.principal.clinic):
            return refused(_OFF)
        going = await self._flow.recent(request.visit)
        if wanted != "acs" or going is not None:
            return await self._with_join(caller, request.visit, await self._flow.start(caller, request, wanted))
        # Who may not start a call costs ACS nothing.
        others = await self._flow.others(caller, request)
        if isinstance(others, Refusal):
            return refused(others)
        try:
            join = await self._join(caller, request.visit, "")
        except GivenUp:
            return refused(_NO_CALL)
        if not self._flow.parts.clients.is_here(caller.connection_id):
            # He has gone while he waited: nobody is rung for him.
            return refused(_NO_CALL)
        if isinstance(join, AcsJoin):
            answer = await self._flow.start(caller, request, "acs")
            return replace(answer, acs=join) if _is_acs(answer) else answer
        visit, reason, trouble = join
        if reason == "consent_withdrawn" or self._falls_back_to(visit.clinic) == "chat":
            self._tell(visit.visit, "chat", reason)
            return refused(_no_video(reason, trouble))
        self._tell(visit.visit, "webrtc", reason)
        return await self._flow.start(caller, request)

    async def answer(self, caller: Caller, request: AnswerCall) -> CallAnswer | Failure:
        """Take part, come back, or ask for what the backend of now needs."""
        return await self._with_join(caller, request.visit, await self._flow.answer(caller, request))

    async def refresh(self, caller: Caller, request: RefreshCallToken) -> CallToken | Failure:
        """Another token; when there is none, the call goes on without ACS before the one before has ended."""
        call = await self._flow.recent(request.visit)
        if call is None or call.call_id != request.call_id or call.taken_by(caller.connection_id) is None:
            return refused(_NO_CALL)
        if call.backend != "acs":
            return refused(_NO_ACS)
        try:
            join = await self._join(caller, request.visit, call.call_id)
        except GivenUp:
            return refused(_NO_CALL)
        if isinstance(join, AcsJoin):
            return CallToken(acs=join)
        visit, reason, trouble = join
        await self._leave_acs(visit, call.call_id, reason)
        return refused(_no_video(reason, trouble))

    async def fall_back(self, caller: Caller, request: FallBackCall) -> CallAnswer | Failure:
        """Somebody in the call hears nothing over ACS: it goes on without them, for all."""
        call = await self._flow.recent(request.visit)
        if call is None or call.call_id != request.call_id or call.taken_by(caller.connection_id) is None:
            return refused(_NO_CALL)
        if call.backend == "acs":
            visit, _ = await self._visits.standing(caller.principal, request.visit)
            await self._leave_acs(visit, call.call_id, "media_lost")
        return await self._flow.answer(caller, AnswerCall(visit=request.visit, call_id=request.call_id))

    async def end(self, caller: Caller, request: EndCall) -> Done | Failure:
        """Leave a call, end it for all, or give up one that has not begun yet."""
        has_waited = self._joins.hung_up(caller.connection_id, request.visit)
        if not isinstance(request.call_id, str) and has_waited:
            return Done()
        return await self._flow.end(caller, request)

    async def decline(self, caller: Caller, request: DeclineCall) -> Done | Failure:
        """Not now."""
        self._joins.hung_up(caller.connection_id, request.visit)
        return await self._flow.decline(caller, request)

    async def withdrawn(self, visit: Visit) -> None:
        """The patient does not want to be seen and heard: a call over ACS is over. Raises Unavailable."""
        call = await self._flow.recent(visit.visit)
        if call is not None and call.backend == "acs":
            await self._to_chat(visit.visit, call.call_id, "consent_withdrawn")

    # What ends a wait

    def _changed(self, _: Call | None, after: Call) -> None:
        if after.ended is not None:
            self._joins.call_over(after.call_id)

    def _visit_changed(self, visit: Visit) -> None:
        if visit.is_over:
            self._joins.visit_over(visit.visit)

    async def _removed(self, visit: str, user: str) -> None:
        self._joins.visit_over(visit, user)

    # What is under it

    def _wanted(self, caller: Caller, request: StartCall) -> CallBackend:
        if isinstance(request.backend, str):
            return request.backend
        return "acs" if self._serves(caller.principal.clinic) else "webrtc"

    def _serves(self, clinic: str) -> bool:
        plan = None if self._acs is None else self._acs.plan_of(clinic)
        return plan is not None and plan.calls

    def _falls_back_to(self, clinic: str) -> Literal["webrtc", "chat"]:
        plan = None if self._acs is None else self._acs.plan_of(clinic)
        return "webrtc" if plan is None else plan.fall_back

    async def _with_join(self, caller: Caller, visit: str, answer: CallAnswer | Failure) -> CallAnswer | Failure:
        """The answer to somebody who takes part in a call, with what he needs for ACS, if it is there that it goes."""
        if not isinstance(answer, CallAnswer) or answer.backend != "acs":
            return answer
        try:
            join = await self._join(caller, visit, answer.call_id)
        except GivenUp:
            return refused(_NO_CALL)
        if isinstance(join, AcsJoin):
            return replace(answer, acs=join)
        found, reason, trouble = join
        await self._leave_acs(found, answer.call_id, reason)
        if reason == "consent_withdrawn" or self._falls_back_to(found.clinic) == "chat":
            return refused(_no_video(reason, trouble))
        return await self._flow.answer(caller, AnswerCall(visit=visit, call_id=answer.call_id))

    async def _join(
        self, caller: Caller, visit: str, call_id: str
    ) -> AcsJoin | tuple[Visit, FallBackReason, Trouble | None]:
        """What the caller needs, or the visit and why he has it not. Raises GivenUp."""
        found, person = await self._visits.standing(caller.principal, visit)
        if self._acs is None:
            return found, "away", None
        if await self._acs.parts.consent(found.device) is not None:
            return found, "consent_withdrawn", None
        try:
            work = self._acs.join(found, person, until_s=self._monotonic() + self._patience_s)
            return await self._joins.wait(caller, visit, call_id, work)
        except Trouble as trouble:
            return found, trouble.reason.value, trouble

    async def _leave_acs(self, visit: Visit, call_id: str, reason: FallBackReason) -> None:
        if reason == "consent_withdrawn" or self._falls_back_to(visit.clinic) == "chat":
            await self._to_chat(visit.visit, call_id, reason)
            return
        switched = await self._flow.change(visit.visit, call_id, lambda call: calls.switch(call, "webrtc"))
        if isinstance(switched, Call):
            self._tell(visit.visit, "webrtc", reason, call_id)

    async def _to_chat(self, visit: str, call_id: str, reason: FallBackReason) -> None:
        ended = await self._flow.change(visit, call_id, lambda call: calls.close(call, "no_video"))
        if isinstance(ended, Call):
            self._tell(visit, "chat", reason, call_id)

    def _tell(
        self,
        visit: str,
        backend: Literal["webrtc", "chat"],
        reason: FallBackReason,
        call_id: str | UnsetType = UNSET,
    ) -> None:
        self._fell_back(reason)
        told = CallBackendChanged(visit=visit, backend=backend, reason=reason, call_id=call_id)
        self._visits.rooms.tell(visit, told)


def _is_acs(answer: CallAnswer | Failure) -> bool:
    return isinstance(answer, CallAnswer) and answer.backend == "acs"


def _no_video(reason: FallBackReason, trouble: Trouble | None) -> Refusal:
    wait_s = 0.0 if trouble is None else trouble.retry_after_s
    return Refusal(
        code="consent_withdrawn" if reason == "consent_withdrawn" else "no_video",
        message=f"there is no call for now ({reason}): the visit goes on in writing",
        retryable=reason not in ("refused", "mistake", "consent_withdrawn"),
        retry_after_ms=round(wait_s * 1_000) if wait_s else UNSET,
    )
