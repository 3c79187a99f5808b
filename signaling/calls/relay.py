"""What two ends of a call say to each other, checked and relayed between their two connections, in order.

A description goes by what the call is now, on whichever pod it was changed last, so that of two offers that cross one
counts. Candidates are many and harmless: they go by what it was a moment ago. Nothing is kept but candidates that are
held, and nothing is logged. Read ``SignalRelay.carry`` first.
"""

from typing import Final

from media import call as calls
from media.call import Call
from media.candidate import Malformed, check_candidate
from media.sdp import check_description
from protocol.contract.base import Failure, Refusal
from protocol.contract.calls import RELAY_PEER, SendSignal, Signal
from protocol.contract.sessions import Done
from signaling.calls.flow import CallFlow
from signaling.calls.relay_line import RelayLine, RelayWord
from signaling.calls.signals import SignalLimits, Signals
from signaling.hub import Caller
from signaling.pushes import push

__all__ = ["SignalRelay"]

_TOO_FAST: Final = Refusal(
    code="too_many_signals", message="signals come too fast, wait a moment", retryable=True, retry_after_ms=1_000
)
_TOO_MANY: Final = Refusal(code="too_many_candidates", message="too many candidates for one description")


class SignalRelay:
    """Relays for the connections of this pod."""

    def __init__(self, flow: CallFlow, limits: SignalLimits, line: RelayLine) -> None:
        self._flow = flow
        self._limits = limits
        self._line = line
        # By connection and call; none is made for who takes no part.
        self._signals: dict[tuple[str, str], Signals] = {}
        flow.on_change += [self._changed, line.changed]

    async def carry(self, caller: Caller, request: SendSignal) -> Done | Failure:
        """To the connection of one peer, wherever it is."""
        text = request.candidate if request.kind == "candidate" else request.sdp
        if not isinstance(text, str):
            return _refuse(Refusal(code="no_signal", message="a candidate has candidate, everything else has sdp"))
        refusal = await self._candidate(caller, request, text) if request.kind == "candidate" else None
        if request.kind != "candidate":
            refusal = await self._description(caller, request, text)
        return Done() if refusal is None else _refuse(refusal)

    def gone(self, caller: Caller) -> None:
        """A connection has ended."""
        for key in [key for key in self._signals if key[0] == caller.connection_id]:
            del self._signals[key]

    async def _candidate(self, caller: Caller, request: SendSignal, text: str) -> Refusal | None:
        call = await self._flow.recent(request.visit)
        if call is None or call.call_id != request.call_id:
            return Refusal(code="no_call", message="there is no such call, or no part of yours in it")
        sender = calls.may_send(call, caller.connection_id, request.to)
        if isinstance(sender, Refusal):
            return sender
        signals = self._of(caller, request)
        if not signals.admits(self._flow.parts.now_s()):
            return _TOO_FAST
        try:
            check_candidate(text, self._flow.parts.hosts)
        except Malformed as error:
            return Refusal(code="candidate_refused", message=str(error))
        held = signals.hold(request)
        if held is None:
            return _TOO_MANY
        return None if held else await self._carry(call, sender, caller, request)

    async def _description(self, caller: Caller, request: SendSignal, text: str) -> Refusal | None:
        known = (caller.connection_id, request.call_id) in self._signals
        if known and not self._of(caller, request).admits(self._flow.parts.now_s()):
            return _TOO_FAST
        try:
            found = check_description(text, self._flow.parts.hosts)
        except Malformed as error:
            return Refusal(code="sdp_refused", message=str(error))

        def describe(call: Call) -> Call | Refusal:
            return calls.describe(
                call,
                caller.connection_id,
                request.to,
                fingerprint=found.fingerprint,
                is_answer=request.kind == "answer",
                is_restart=request.kind == "restart",
                sends=found.sends,
            )

        call = await self._flow.change(request.visit, request.call_id, describe)
        if isinstance(call, Refusal):
            return call
        sender = calls.may_send(call, caller.connection_id, request.to)
        if isinstance(sender, Refusal):
            return sender
        refusal = await self._carry(call, sender, caller, request, sdp=found.sdp)
        if refusal is None:
            for held in self._of(caller, request).described(request.to):
                await self._carry(call, sender, caller, held)
        return refusal

    async def _carry(
        self, call: Call, sender: int, caller: Caller, request: SendSignal, *, sdp: str | None = None
    ) -> Refusal | None:
        if request.to == RELAY_PEER:
            return await self._to_server(call, sender, caller, request, sdp)
        signal = Signal(
            visit=call.visit,
            call_id=call.call_id,
            peer=sender,
            kind=request.kind,
            sdp=request.sdp if sdp is None else sdp,
            candidate=request.candidate,
            sdp_mid=request.sdp_mid,
            sdp_m_line_index=request.sdp_m_line_index,
        )
        push(self._flow.parts.clients.connection(call.legs[request.to].connection), signal)
        return None

    async def _to_server(
        self, call: Call, sender: int, caller: Caller, request: SendSignal, sdp: str | None
    ) -> Refusal | None:
        """To the server's own peer, which answers by itself and has nothing to answer to."""
        if request.kind == "answer":
            return Refusal(code="no_offer", message="there is no offer that this answers")
        word = RelayWord(
            request.kind,
            *(call.visit, call.call_id, sender, caller.connection_id),
            text=str(request.candidate) if sdp is None else sdp,
            may_talk=sdp is not None and await self._flow.parts.people.may_talk(caller, call.visit),
            mid=request.sdp_mid if isinstance(request.sdp_mid, str) else None,
            line=request.sdp_m_line_index if isinstance(request.sdp_m_line_index, int) else None,
        )
        return await self._line.say(call.relay, word)

    def _of(self, caller: Caller, request: SendSignal) -> Signals:
        key = (caller.connection_id, request.call_id)
        signals = self._signals.get(key)
        if signals is None:
            parts = self._flow.parts
            signals = self._signals[key] = Signals(self._limits, parts.metrics.reached, parts.now_s())
        return signals

    def _changed(self, before: Call | None, after: Call) -> None:
        """Whoever has another connection knows nothing of what was said to the one before."""
        had = () if before is None else before.legs
        moved = [n for n, leg in enumerate(after.legs) if n >= len(had) or leg.connection != had[n].connection]
        for key, signals in tuple(self._signals.items()):
            if key[1] == after.call_id and after.ended is not None:
                del self._signals[key]
            elif key[1] == after.call_id:
                for number in moved:
                    signals.anew(number)


def _refuse(refusal: Refusal) -> Failure:
    return Failure(error=refusal, errors=(refusal,))
