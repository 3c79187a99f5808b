"""A live session: its lease, the patient's consent, what keeps it alive, and the ways out of it.

``fitting.mode`` decides what begins, freezes and ends one; the log keeps it; this carries it out. Stop, Undo and
Revert need neither: they are relayed from memory first and recorded afterwards. Read ``SessionFlow.set_mode`` and
``sweep`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from msgspec import UNSET

from fitting.log import DeviceLog
from fitting.log_values import Attached, DeviceHead, LeaseGranted, LiveSession, SessionEnded
from fitting.mode import Event, ModeLimits, SessionTimes, judge_signs, preconditions, step
from protocol.contract.base import Failure, Refusal
from protocol.contract.sessions import (
    AnswerConsent,
    ConsentAnswer,
    ConsentAsked,
    Done,
    Hold,
    LeaseLost,
    LeaseRenewed,
    ModeAnswer,
    ModeChanged,
    Relayed,
    ReleaseLease,
    RestoreCause,
    Revert,
    RevertNow,
    SessionAlive,
    SessionState,
    SetMode,
    StealLease,
)
from protocol.errors import HubError, Unavailable
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.phones import Phone, Phones
from signaling.hub import Caller
from signaling.metrics import Metrics
from signaling.pushes import ask, push
from signaling.tasks import TaskSet

__all__ = ["SessionFlow"]

_TOP_FENCE: Final = 2**53 - 1


@dataclass(slots=True)
class _Watch:
    """What this pod knows of a live session without asking the log. Times are monotonic.

    ``began_s``: when this process first heard of it.
    """

    fence: int
    holder: str
    state: SessionState
    fitter_heard_s: float
    began_s: float
    alive_at_s: float = 0.0


class SessionFlow:
    """Carries out everything about the lease and the live session of devices."""

    def __init__(
        self,
        *,
        log: DeviceLog,
        phones: Phones,
        delivery: DeliveryFlow,
        tasks: TaskSet,
        metrics: Metrics,
        limits: ModeLimits,
        times: SessionTimes,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log = log
        self._phones = phones
        self._delivery = delivery
        self._tasks = tasks
        self._metrics = metrics
        self._limits = limits
        self._times = times
        self._sleep = sleep
        self._watched: dict[str, _Watch] = {}
        self._late = 0

    # The lease

    async def renew(self, caller: Caller, hold: Hold) -> LeaseRenewed | Failure:
        """The fitter is still there."""
        granted = await self._log.renew(
            hold.device, session=hold.session, holder=caller.principal.user, fence=hold.fence
        )
        if isinstance(granted, Refusal):
            return self._refuse(granted)
        watch = self._watched.get(hold.device)
        if watch is not None and watch.fence == granted.fence:
            watch.fitter_heard_s = self._phones.now_s()
        state: SessionState = "none" if watch is None or watch.fence != granted.fence else watch.state
        return LeaseRenewed(fence=granted.fence, lease_for_ms=int(granted.lease_for_s * 1_000), state=state)

    async def release(self, caller: Caller, request: ReleaseLease) -> Done | Failure:
        """The fitter gives the device back."""
        released = await self._log.release(
            request.device,
            session=request.session,
            holder=caller.principal.user,
            fence=request.fence,
            discard=request.discard,
        )
        if isinstance(released, Refusal):
            return self._refuse(released)
        if released.session is not None:
            self._over(request.device, released.session, Event.RELEASED)
        return Done()

    async def steal(self, caller: Caller, request: StealLease) -> LeaseGranted | Failure:
        """Another fitter takes the device; the one before is told why."""
        stolen = await self._log.steal(
            request.device, session=request.session, holder=caller.principal.user, reason=request.reason
        )
        if isinstance(stolen, Refusal):
            return self._refuse(stolen)
        if stolen.loser is not None:
            lost = LeaseLost(device=request.device, reason="stolen", detail=request.reason)
            self._phones.tell_fitters(request.device, lost)
        if stolen.session is not None:
            self._over(request.device, stolen.session, Event.STOLEN)
        return stolen.granted

    # Live work

    async def set_mode(self, caller: Caller, request: SetMode) -> ModeAnswer | Failure:
        """Begin live work, once the patient has agreed; or end it."""
        if request.mode == "standard":
            return await self._leave(caller, request)
        head = await self._log.head(request.device)
        if isinstance(head, Refusal):
            return self._refuse(head)
        lease = head.lease
        if lease is None or (lease.fence, lease.holder) != (request.fence, caller.principal.user):
            return self._refuse(Refusal(code="lease_lost", message="the lease has ended or is another's"))
        watch = self._watched.get(request.device)
        if head.live is not None and head.live.fence == request.fence and watch is not None:
            return ModeAnswer(mode="advanced", state=watch.state)
        phone = self._phones.get(request.device)
        signs = None if phone is None else phone.signs(self._phones.now_s())
        refusal = preconditions(head, signs, self._limits)
        if refusal is not None or phone is None:
            return self._refuse(refusal or Refusal(code="phone_offline", message="no phone carries the aids now"))
        # The patient may think for longer than the lease lives: renewals must get through meanwhile.
        caller.give_up_turn()
        refusal = await self._ask(phone, head, lease.session, caller)
        if refusal is not None:
            return self._refuse(refusal)
        return await self._begin(caller, request)

    async def _ask(self, phone: Phone, head: DeviceHead, session: str, caller: Caller) -> Refusal | None:
        question = ConsentAsked(
            device=head.device,
            session=session,
            fitter=caller.principal.user,
            clinic=caller.principal.clinic,
            scopes=("live_tuning",),
            fence=head.fence,
            expires_in_s=int(self._times.consent_s),
        )
        now_s = self._phones.now_s()
        self._watched[head.device] = _Watch(head.fence, caller.principal.user, "asking", now_s, now_s)
        event = Event.NO_ANSWER
        try:
            answer = await ask(phone.caller, question, answer=ConsentAnswer)
            agreed = answer.accepted and (answer.scopes is UNSET or "live_tuning" in answer.scopes)
            event = Event.ACCEPTED if agreed else Event.DECLINED
        except HubError:
            agreed = False
        if not agreed:
            self._watched.pop(head.device, None)
        await self._log.note(head.device, "session", f"consent_{event}", actor=phone.caller.principal.user)
        if agreed:
            return None
        text = "the patient did not agree" if event is Event.DECLINED else "the patient did not answer"
        return Refusal(code="consent_declined", message=text, retryable=event is Event.NO_ANSWER)

    async def _begin(self, caller: Caller, request: SetMode) -> ModeAnswer | Failure:
        opened = await self._log.open_session(request.device, fence=request.fence, holder=caller.principal.user)
        if isinstance(opened, Refusal):
            self._watched.pop(request.device, None)
            return self._refuse(opened)
        self._watch(request.device, opened)
        await self._feed(request.device)
        self._tell_mode(request.device, "live", request.reason)
        return ModeAnswer(mode="advanced", state="live")

    async def _leave(self, caller: Caller, request: SetMode) -> ModeAnswer | Failure:
        ended = await self._log.end_session(
            request.device,
            cause="left",
            actor=caller.principal.user,
            fence=request.fence,
            discard=request.discard,
        )
        if isinstance(ended, Refusal):
            return self._refuse(ended)
        if ended is not None:
            self._over(request.device, ended, Event.LEFT)
        return ModeAnswer(mode="standard", state="none")

    # The safety lane: from memory first, recorded afterwards

    def revert(self, caller: Caller, request: Revert, cause: RestoreCause) -> Relayed:
        """Back to what the session began with, on both ears. Needs no log."""
        watch = self._watched.get(request.device)
        if cause == "stop":
            # From now on nothing feeds the phone's dead-man, whatever becomes of the log.
            self._watched.pop(request.device, None)
        fence = watch.fence if watch is not None else request.fence if isinstance(request.fence, int) else _TOP_FENCE
        is_phone = self._phones.of(request.device, caller) is not None
        revert = RevertNow(device=request.device, fence=fence, cause=cause)
        relayed = is_phone or self._phones.relay(request.device, revert)
        self._metrics.restores.labels(cause).inc()
        self._record_later(request.device, cause, caller.principal.user)
        return Relayed(relayed=relayed)

    async def answer_consent(self, caller: Caller, answer: AnswerConsent) -> Done | Failure:
        """The patient takes a consent back: the base is restored, then everything is frozen."""
        if not answer.accepted:
            self.revert(caller, Revert(device=answer.device), "consent_withdrawn")
            ended = await self._log.end_session(answer.device, cause="consent_withdrawn", actor=caller.principal.user)
            if isinstance(ended, SessionEnded):
                self._over(answer.device, ended, Event.CONSENT_WITHDRAWN)
        return Done()

    # What the phone tells

    def attached(self, caller: Caller, device: str, attached: Attached, *, trial: bool) -> None:
        """A phone is there again: it hears whether the session that it knows goes on."""
        if attached.live is not None:
            self._watch(device, attached.live)
            self._tasks.spawn(self._feed(device))
        elif trial:
            push(caller, RevertNow(device=device, fence=_TOP_FENCE, cause="session_ended"))

    # Time

    def state_of(self, device: str) -> SessionState:
        """Whether live work goes on here, and whether raises are frozen."""
        watch = self._watched.get(device)
        return "none" if watch is None else watch.state

    async def sweep(self) -> None:
        """End what has lapsed, judge the signs of life, and feed the phones of live sessions."""
        for device, ended in await self._log.lapsed():
            self._phones.tell_fitters(device, LeaseLost(device=device, reason="expired"))
            self._over(device, ended, Event.LEASE_LOST)
        now_s = self._phones.now_s()
        for device, watch in tuple(self._watched.items()):
            if watch.state not in {"live", "frozen"}:
                continue
            await self._judge(device, watch, now_s)
            if watch.state == "frozen":
                # At every turn: what was appended just before, and what the log could not be told at the first.
                self._delivery.withdrawn(device, await self._log.take_back_rises(device))
            if now_s - watch.alive_at_s >= self._times.alive_every_s:
                await self._feed(device)

    async def _judge(self, device: str, watch: _Watch, now_s: float) -> None:
        phone = self._phones.get(device)
        if phone is None:
            return
        signs = phone.signs(now_s, now_s - watch.fitter_heard_s)
        signs = replace(signs, session_s=now_s - watch.began_s)
        event = judge_signs(watch.state, signs, self._limits)
        if event is None:
            return
        if event in {Event.FREEZE, Event.THAW}:
            watch.state = step(watch.state, event).state
            self._tell_mode(device, watch.state, str(event))
            return
        ended = await self._log.end_session(device, cause=str(event), actor="server", fence=watch.fence)
        if isinstance(ended, SessionEnded):
            self._over(device, ended, event)
        else:
            self._watched.pop(device, None)

    async def _feed(self, device: str) -> None:
        """Tell the phone that its session is live, only while the log says so."""
        alive = await self._log.alive(device)
        watch, phone = self._watched.get(device), self._phones.get(device)
        if alive is None or watch is None or watch.fence != alive[0].fence:
            return
        watch.alive_at_s = self._phones.now_s()
        if phone is not None:
            ttl_ms = int(alive[1] * 1_000)
            push(phone.caller, SessionAlive(device=device, fence=watch.fence, ttl_ms=ttl_ms))

    # Within

    def _watch(self, device: str, live: LiveSession) -> None:
        known = self._watched.get(device)
        if known is None or known.fence != live.fence or known.state == "asking":
            now_s = self._phones.now_s()
            self._watched[device] = _Watch(live.fence, live.holder, "live", now_s, now_s)

    def _over(self, device: str, ended: SessionEnded, event: Event) -> None:
        """Tell everybody that live work has ended; the phone restores first."""
        self._watched.pop(device, None)
        move = step("live", event)
        if ended.restore and move.restore is not None:
            revert = RevertNow(device=device, fence=ended.live.fence, cause=move.restore)
            self._phones.relay(device, revert)
            self._metrics.restores.labels(move.restore).inc()
        self._delivery.ended(device, ended.ended)
        if ended.withdraw:
            self._delivery.appended(device)
        self._tell_mode(device, "none", ended.cause)

    def _tell_mode(self, device: str, state: SessionState, reason: str) -> None:
        mode = ModeChanged(
            device=device, mode="standard" if state == "none" else "advanced", state=state, reason=reason
        )
        self._phones.tell_fitters(device, mode)
        phone = self._phones.get(device)
        if phone is not None:
            push(phone.caller, mode)

    def _record_later(self, device: str, cause: RestoreCause, actor: str) -> None:
        if self._late >= self._times.max_late:
            self._metrics.reached("max_late_records")
            return
        self._late += 1
        self._tasks.spawn(self._record(device, cause, actor))

    async def _record(self, device: str, cause: RestoreCause, actor: str) -> None:
        """Put into the log what was done without it, as soon as it is there."""
        try:
            for delay_s in (*self._times.record_again_s, None):
                try:
                    await self._record_once(device, cause, actor)
                except Unavailable:
                    if delay_s is None:
                        self._metrics.reached("max_late_records")
                        return
                    await self._sleep(delay_s)
                else:
                    return
        finally:
            self._late -= 1

    async def _record_once(self, device: str, cause: RestoreCause, actor: str) -> None:
        if cause != "stop":
            await self._log.note(device, "session", cause, actor=actor)
            return
        ended = await self._log.end_session(device, cause="stop", actor=actor)
        if isinstance(ended, SessionEnded):
            self._over(device, ended, Event.STOP)

    def _refuse(self, refusal: Refusal) -> Failure:
        self._metrics.refusals.labels(refusal.code, refusal.rule or "").inc()
        return Failure(error=refusal, errors=(refusal,))
