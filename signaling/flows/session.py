"""A live session: its lease, the patient's consent, and what keeps it alive.

``fitting.mode`` decides what begins, freezes and ends one; the log keeps it; this carries it out, and ``endings`` the
ways out of it. Stop, Undo and Revert need neither: they are relayed from memory first and recorded afterwards. Read
``SessionFlow.set_mode`` and ``sweep`` first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from msgspec import UNSET

from fitting.digest import request_hash
from fitting.log import DeviceLog
from fitting.log_values import Attached, DeviceHead, LeaseGranted, LiveSession, SessionEnded
from fitting.mode import TOLD_BY_PHONE, Event, ModeLimits, SessionTimes, judge_signs, preconditions, reason_of, step
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import AttachDevice
from protocol.contract.sessions import (
    AnswerConsent,
    ConsentAnswer,
    ConsentAsked,
    Done,
    Hold,
    LeaseLost,
    LeaseRenewed,
    ModeAnswer,
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
from signaling.flows.endings import Endings, mode_changed
from signaling.flows.late_records import LateRecords
from signaling.flows.opening import open_session
from signaling.flows.phones import Phone, Phones
from signaling.flows.watch import Watch
from signaling.hub import Caller
from signaling.metrics import Metrics
from signaling.pushes import ask, push
from signaling.tasks import TaskSet
from signaling.troubles import Troubles

__all__ = ["SessionFlow"]

_TOP_FENCE: Final = 2**53 - 1
_STOPPED: Final = Refusal(code="consent_declined", message="live work was stopped before it began")


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
        troubles: Troubles,
        limits: ModeLimits,
        times: SessionTimes,
        consent: Callable[[str], Awaitable[Refusal | None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log = log
        self._phones = phones
        self._delivery = delivery
        self._tasks = tasks
        self._metrics = metrics
        self._troubles = troubles
        self._limits = limits
        self._times = times
        self._consent = consent
        self._watched: dict[str, Watch] = {}
        self._late = LateRecords(tasks=tasks, metrics=metrics, times=times, sleep=sleep)
        self.ends = Endings(self._watched, log=log, phones=phones, delivery=delivery, metrics=metrics, late=self._late)

    async def renew(self, caller: Caller, hold: Hold) -> LeaseRenewed | Failure:
        """The fitter is still there."""
        granted = await self._log.renew(
            hold.device, session=hold.session, holder=caller.principal.user, fence=hold.fence
        )
        if isinstance(granted, Refusal):
            return self._refuse(granted)
        watch = self._watched.get(hold.device)
        if watch is not None and watch.fence == granted.fence:
            watch.renewed(caller.connection_id, self._phones.now_s())
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
            self.ends.over(request.device, released.session)
        return Done()

    async def steal(self, caller: Caller, request: StealLease) -> LeaseGranted | Failure:
        """Another fitter takes the device; the one before is told why."""
        stolen = await self._log.steal(
            request.device,
            session=request.session,
            holder=caller.principal.user,
            reason=request.reason,
            key=request.idempotency_key,
            request_hash=request_hash(request),
        )
        if isinstance(stolen, Refusal):
            return self._refuse(stolen)
        if stolen.loser is not None:
            lost = LeaseLost(device=request.device, reason="stolen", detail=request.reason)
            self._phones.tell_fitters(request.device, lost)
        if stolen.session is not None:
            self.ends.over(request.device, stolen.session)
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
        if head.live is not None and head.live.fence == request.fence:
            return self._joined(caller, head, head.live)
        watch = self._watched.get(request.device)
        if watch is not None and (watch.fence, watch.state) == (request.fence, "asking"):
            return self._refuse(Refusal(code="asking", message="the patient is being asked already", retryable=True))
        phone = self._phones.get(request.device)
        signs = None if phone is None else phone.signs(self._phones.now_s())
        refusal = preconditions(head, signs, self._limits) or await self._consent(request.device)
        if refusal is not None or phone is None:
            return self._refuse(refusal or Refusal(code="phone_offline", message="no phone carries the aids now"))
        # The patient may think for longer than the lease lives: renewals must get through meanwhile.
        caller.give_up_turn()
        now_s = self._phones.now_s()
        watch = Watch(head.fence, caller.principal.user, "asking", now_s, now_s, now_s, caller.connection_id)
        self._watched[request.device] = watch
        try:
            refusal = await self._ask(phone, head, lease.session, caller)
            if refusal is None and watch.stopped is not None:
                refusal = _STOPPED
            # Another process, which knows of no question, may have recorded that it is withdrawn.
            refusal = refusal or await self._consent(request.device)
            return await self._begin(caller, request, watch) if refusal is None else self._refuse(refusal)
        finally:
            # Whatever came of it, the question is over. A session that may have begun is taken up by the sweep.
            if self._watched.get(request.device) is watch:
                del self._watched[request.device]

    def _joined(self, caller: Caller, head: DeviceHead, live: LiveSession) -> ModeAnswer | Failure:
        """The patient has agreed to this session already, whether or not this process remembers that."""
        self._take_up(head)
        watch = self._watch(head.device, live)
        watch.fitter = caller.connection_id
        if watch.stopped is not None:
            text = "an earlier session is just ending"
            return self._refuse(Refusal(code="not_read_back", message=text, retryable=True))
        return ModeAnswer(mode="advanced", state=watch.state)

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
        event = Event.NO_ANSWER
        try:
            answer = await ask(phone.caller, question, answer=ConsentAnswer)
            agreed = answer.accepted and (answer.scopes is UNSET or "live_tuning" in answer.scopes)
            event = Event.ACCEPTED if agreed else Event.DECLINED
        except HubError:
            agreed = False
        await self._log.note(head.device, "session", f"consent_{event}", actor=phone.caller.principal.user)
        if agreed:
            return None
        text = "the patient did not agree" if event is Event.DECLINED else "the patient did not answer"
        return Refusal(code="consent_declined", message=text, retryable=event is Event.NO_ANSWER)

    async def _begin(self, caller: Caller, request: SetMode, asking: Watch) -> ModeAnswer | Failure:
        where, holder = (self._log, self._delivery, request.device), caller.principal.user
        opened = await open_session(
            *where,
            fence=request.fence,
            holder=holder,
            patience_s=self._times.make_way_s,
            reached=self._metrics.reached,
        )
        if isinstance(opened, Refusal):
            return self._refuse(opened)
        if asking.stopped is not None:
            await self.ends.record(request.device, *asking.stopped, asking, self._phones.now_s())
            return self._refuse(_STOPPED)
        self._watch(request.device, opened)
        await self._feed(request.device)
        self.ends.tell_mode(request.device, "live", "accepted", detail=request.reason)
        return ModeAnswer(mode="advanced", state="live")

    async def _leave(self, caller: Caller, request: SetMode) -> ModeAnswer | Failure:
        ended = await self._log.end_session(
            request.device,
            cause=reason_of(Event.LEFT),
            actor=caller.principal.user,
            fence=request.fence,
            discard=request.discard,
        )
        if isinstance(ended, Refusal):
            return self._refuse(ended)
        if ended is not None:
            self.ends.over(request.device, ended)
        return ModeAnswer(mode="standard", state="none")

    # The safety lane: from memory first, recorded afterwards

    def revert(self, caller: Caller, request: Revert, cause: RestoreCause) -> Relayed:
        """Back to what the session began with, on both ears. Needs no log."""
        phone = self._phones.of(request.device, caller)
        if phone is not None:
            phone.restores(cause, self._phones.now_s())
        return self.restore(request, cause, actor=caller.principal.user, by_phone=phone is not None)

    def restore(self, request: Revert, cause: RestoreCause, *, actor: str, by_phone: bool = False) -> Relayed:
        """The same for somebody without a connection: a consent may be taken back over REST."""
        watch = self._watched.get(request.device)
        event = TOLD_BY_PHONE.get(cause)
        if event is not None and watch is not None:
            watch.stop(event, actor)
        fence = watch.fence if watch is not None else request.fence if isinstance(request.fence, int) else _TOP_FENCE
        revert = RevertNow(device=request.device, fence=fence, cause=cause)
        relayed = by_phone or self._phones.relay(request.device, revert)
        self._metrics.restores.labels(cause).inc()
        if event is None:
            self._late.add(partial(self._note, request.device, cause, actor))
        else:
            # What the wearer takes back with it is over, also when the log hears of it later.
            self.ends.record_soon(request.device, event, actor, watch)
        return Relayed(relayed=relayed)

    async def answer_consent(self, caller: Caller, answer: AnswerConsent) -> Done | Failure:
        """The patient takes a consent back: the base is restored, then live work ends."""
        if not answer.accepted:
            self.revert(caller, Revert(device=answer.device), "consent_withdrawn")
        return Done()

    # What the phone tells

    def attached(self, caller: Caller, claim: AttachDevice, attached: Attached) -> None:
        """A phone is there again: it hears whether the session that it knows goes on."""
        device = claim.device
        if attached.live is not None and self._watch(device, attached.live).stopped is None:
            self._tasks.spawn(self._feed_or_later(device))
        elif claim.trial:
            push(caller, RevertNow(device=device, fence=_TOP_FENCE, cause="session_ended"))
        if attached.live is not None or claim.fence_max:
            # What became of a session that it knew was told while it was away.
            end, state = attached.last_end, self.state_of(device)
            is_known = state == "none" and end is not None and end.fence == claim.fence_max
            push(caller, mode_changed(device, state, end.reason if end is not None and is_known else "attached"))

    def acquired(self, caller: Caller, head: DeviceHead) -> None:
        """A fitter has the device over a link that has heard nothing of it yet: how his last live work on it ended."""
        told: set[str] = caller.items.setdefault("devices", set())
        end = head.last_end
        if head.device not in told and head.live is None and end is not None and end.holder == caller.user:
            push(caller, mode_changed(head.device, "none", end.reason, draft=end.draft))
        told.add(head.device)

    def devices(self) -> tuple[str, ...]:
        """The devices of all live sessions that are known here, wherever their ends are."""
        return tuple(self._watched)

    def state_of(self, device: str) -> SessionState:
        """Whether live work goes on here, and whether raises are frozen."""
        watch = self._watched.get(device)
        return "none" if watch is None else watch.state

    async def sweep(self) -> None:
        """End what has lapsed, judge the signs of life, and feed the phones of live sessions."""
        for device, ended in await self._log.lapsed():
            with self._troubles.of(device):
                self._phones.tell_fitters(device, LeaseLost(device=device, reason="expired"))
                self.ends.over(device, ended)
        for device in {*await self._log.in_session(), *self._watched}:
            with self._troubles.of(device):
                await self.compare(device)
        now_s = self._phones.now_s()
        for device, watch in tuple(self._watched.items()):
            if watch.state == "asking" or watch.stopped is not None:
                continue
            with self._troubles.of(device):
                await self._judge(device, watch, now_s)
                if watch.state == "frozen":
                    # At every turn: what was appended just before, and what the log could not be told at the first.
                    self._delivery.withdrawn(device, await self._log.take_back_rises(device))
                if now_s - watch.alive_at_s >= self._times.alive_every_s:
                    await self._feed(device)

    async def compare(self, device: str) -> None:
        """What this process remembers is held to what the log says, in case the answer to a call was lost."""
        watch = self._watched.get(device)
        head = await self._log.head(device)
        if isinstance(head, Refusal) or self._watched.get(device) is not watch:
            return
        self._take_up(head)
        if watch is not None and watch.stopped is not None and head.live is not None:
            await self.ends.record(device, *watch.stopped, watch, self._phones.now_s())

    def _take_up(self, head: DeviceHead) -> None:
        device, live, watch = head.device, head.live, self._watched.get(head.device)
        if live is not None:
            self._watch(device, live, age_s=head.at_s - live.at_s)
            if watch is None or self._watched[device] is not watch:
                self.ends.tell_mode(device, "live", "taken_up")
        elif watch is not None and watch.state != "asking":
            self.ends.noticed(head, watch)

    async def _judge(self, device: str, watch: Watch, now_s: float) -> None:
        signs = watch.signs(self._phones.get(device), now_s, self._limits)
        event = judge_signs(watch.state, signs, self._limits)
        if event is None:
            return
        if event is Event.FREEZE or event is Event.THAW:
            watch.state = step(watch.state, event).state
            self.ends.tell_mode(device, watch.state, "freeze" if event is Event.FREEZE else "thaw")
            return
        ended = await self._log.end_session(device, cause=reason_of(event), actor="server", fence=watch.fence)
        if isinstance(ended, SessionEnded):
            self.ends.over(device, ended)

    async def _feed_or_later(self, device: str) -> None:
        # With the log away nothing is lost: a session that was not fed is fed by the next sweep.
        with suppress(Unavailable):
            await self._feed(device)

    async def _feed(self, device: str) -> None:
        """Tell the phone that its session is live, only while the log says so."""
        alive = await self._log.alive(device)
        watch, phone = self._watched.get(device), self._phones.get(device)
        if alive is None or watch is None or watch.fence != alive[0].fence or watch.stopped is not None:
            return
        watch.alive_at_s = self._phones.now_s()
        if phone is not None:
            ttl_ms = int(alive[1] * 1_000)
            push(phone.caller, SessionAlive(device=device, fence=watch.fence, ttl_ms=ttl_ms))

    def _watch(self, device: str, live: LiveSession, *, age_s: float = 0.0) -> Watch:
        watch, now_s = self._watched.get(device), self._phones.now_s()
        if watch is None or watch.fence != live.fence or watch.state == "asking":
            stopped = None if watch is None or watch.fence != live.fence else watch.stopped
            state: SessionState = "live" if stopped is None else "frozen"
            fitter = "" if watch is None or watch.fence != live.fence else watch.fitter
            watch = Watch(live.fence, live.holder, state, now_s, now_s, now_s, fitter, stopped=stopped)
            self._watched[device] = watch
        watch.began_s = min(watch.began_s, now_s - age_s)
        return watch

    async def _note(self, device: str, cause: RestoreCause, actor: str) -> None:
        await self._log.note(device, "session", cause, actor=actor)

    def _refuse(self, refusal: Refusal) -> Failure:
        self._metrics.refusals.labels(refusal.code, refusal.rule or "").inc()
        return Failure(error=refusal, errors=(refusal,))
