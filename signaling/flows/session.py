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

from fitting.digest import request_hash
from fitting.log import DeviceLog
from fitting.log_values import Attached, DeviceHead, LeaseGranted, LiveSession
from fitting.mode import TOLD_BY_PHONE, Event, ModeLimits, SessionTimes, reason_of
from protocol.contract.base import Failure, Refusal
from protocol.contract.devices import AttachDevice
from protocol.contract.sessions import (
    AnswerConsent,
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
from protocol.errors import Unavailable
from signaling.flows.beginning import Beginning, lease_refusal
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.endings import Endings, mode_changed
from signaling.flows.far_phones import FarPhones
from signaling.flows.judging import Judging
from signaling.flows.late_records import LateRecords
from signaling.flows.live_parts import LiveParts
from signaling.flows.phone_words import Begin
from signaling.flows.phones import Phones
from signaling.flows.watch import Watch
from signaling.hub import Caller
from signaling.metrics import Metrics
from signaling.pushes import push
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
        far: FarPhones,
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
        self._times = times
        self._watched: dict[str, Watch] = {}
        self._late = LateRecords(tasks=tasks, metrics=metrics, times=times, sleep=sleep)
        self.ends = Endings(self._watched, log=log, phones=phones, delivery=delivery, metrics=metrics, late=self._late)
        parts = LiveParts(self._watched, log, phones, far, self.ends, limits, times)
        self._judging = Judging(parts, tasks=tasks, troubles=troubles)
        self._beginning = Beginning(parts, delivery=delivery, metrics=metrics, consent=consent, began=self._began)
        far.serve(self._judging.told, self._beginning.answer, self._judging.frozen_elsewhere)
        phones.on_restoring = self._stopped_elsewhere
        phones.on_given_up = self._beginning.given_up
        delivery.is_frozen = lambda device: self.state_of(device) == "frozen"

    async def renew(self, caller: Caller, hold: Hold) -> LeaseRenewed | Failure:
        """The fitter is still there."""
        granted = await self._log.renew(
            hold.device, session=hold.session, holder=caller.principal.user, fence=hold.fence
        )
        if isinstance(granted, Refusal):
            return self._refuse(granted)
        watch = self._watched.get(hold.device)
        if self._judging.is_far(hold.device) and (watch is None or watch.fitter != caller.connection_id):
            watch = await self._follow(hold.device, granted.fence)
        if watch is not None and watch.fence == granted.fence:
            watch.renewed(caller.connection_id, self._phones.now_s())
        state: SessionState = "none" if watch is None or watch.fence != granted.fence else watch.state
        return LeaseRenewed(fence=granted.fence, lease_for_ms=int(granted.lease_for_s * 1_000), state=state)

    async def _follow(self, device: str, fence: int) -> Watch | None:
        """A fitter goes on over this pod: it has part in his session from now on, if there is one."""
        head = await self._log.head(device)
        if isinstance(head, Refusal) or head.live is None or head.live.fence != fence:
            return self._watched.get(device)
        return await self._part_in(head, head.live)

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
        refusal = lease_refusal(head, request.fence, caller.user)
        if refusal is not None:
            return self._refuse(refusal)
        if head.live is not None and head.live.fence == request.fence:
            return await self._joined(caller, head, head.live)
        begin = Begin(
            device=request.device,
            fence=request.fence,
            reason=request.reason,
            user=caller.user,
            clinic=caller.principal.clinic,
            connection_id=caller.connection_id,
        )
        begun = await self._beginning.begin(begin, head, caller.give_up_turn)
        if isinstance(begun, Refusal):
            return self._refuse(begun)
        if self._phones.get(request.device) is None:
            # Begun elsewhere: this pod has part in it from now on.
            self._log.overheard(request.device)
            head = await self._log.head(request.device)
            if not isinstance(head, Refusal) and head.live is not None and head.live.fence == request.fence:
                return await self._joined(caller, head, head.live)
        return ModeAnswer(mode="advanced", state=begun)

    async def _joined(self, caller: Caller, head: DeviceHead, live: LiveSession) -> ModeAnswer | Failure:
        """The patient has agreed to this session already, whether or not this process remembers that."""
        if not self._judging.is_far(head.device):
            self._take_up(head)
        watch = await self._part_in(head, live)
        watch.fitter = caller.connection_id
        if watch.stopped is not None:
            text = "an earlier session is just ending"
            return self._refuse(Refusal(code="not_read_back", message=text, retryable=True))
        return ModeAnswer(mode="advanced", state=watch.state)

    async def _part_in(self, head: DeviceHead, live: LiveSession) -> Watch:
        """Somebody here has part in a session from now on, wherever it was begun and its phone is."""
        watch = self._watch(head.device, live, age_s=head.at_s - live.at_s)
        self._judging.held(watch, head)
        await self._judging.look(head.device, watch)
        return watch

    async def _began(self, begin: Begin, live: LiveSession) -> None:
        self._watch(begin.device, live)
        await self._feed(begin.device)

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
        if watch is not None and watch.stopped is not None:
            self._judging.froze(request.device, watch)
        if event is None:
            self._late.add(partial(self._note, request.device, cause, actor))
        else:
            # What the wearer takes back with it is over, also when the log hears of it later.
            self.ends.record_soon(request.device, event, actor, watch)
        return Relayed(relayed=relayed)

    def _stopped_elsewhere(self, device: str, revert: RevertNow) -> None:
        """Another pod has had the phone here restore for good, and records it: nothing is fed or rises meanwhile."""
        watch, event = self._watched.get(device), TOLD_BY_PHONE.get(revert.cause)
        if watch is not None and event is not None and watch.fence <= revert.fence:
            watch.stop(event, "server")

    async def answer_consent(self, caller: Caller, answer: AnswerConsent) -> Done | Failure:
        """The patient takes a consent back: the base is restored, then live work ends."""
        if not answer.accepted:
            self.revert(caller, Revert(device=answer.device), "consent_withdrawn")
        return Done()

    # What the phone tells

    def attached(self, caller: Caller, claim: AttachDevice, attached: Attached) -> None:
        """A phone is there again: it hears whether the session that it knows goes on."""
        device = claim.device
        watch = None if attached.live is None else self._watch(device, attached.live)
        if watch is not None and watch.stopped is None:
            self._judging.has_come(device, watch)
            self._tasks.spawn(self._feed_or_later(device))
        elif claim.trial:
            push(caller, RevertNow(device=device, fence=_TOP_FENCE, cause="session_ended"))
        if attached.live is not None or claim.fence_max:
            # What became of a session that it knew was told while it was away.
            end, state = attached.last_end, self.state_of(device)
            is_known = state == "none" and end is not None and end.fence == claim.fence_max
            push(caller, mode_changed(device, state, end.reason if end is not None and is_known else "attached"))

    async def acquired(self, caller: Caller, head: DeviceHead) -> None:
        """A fitter has the device over a link that has heard nothing of it yet: how his last live work on it ended.

        What goes on he goes on with, and so its signs of life are asked for at once.
        """
        told: set[str] = caller.items.setdefault("devices", set())
        end = head.last_end
        if head.device not in told and head.live is None and end is not None and end.holder == caller.user:
            push(caller, mode_changed(head.device, "none", end.reason, draft=end.draft))
        told.add(head.device)
        if head.live is not None and head.live.holder == caller.user and self._judging.is_far(head.device):
            await self._part_in(head, head.live)

    def devices(self) -> tuple[str, ...]:
        """The devices of all live sessions that are known here, wherever their ends are."""
        return tuple(self._watched)

    def may_rise(self, head: DeviceHead) -> bool:
        """Whether nothing is known here that freezes a device; of a session that others know of that is not known."""
        state = self.state_of(head.device)
        is_unknown = state == "none" and head.live is not None and self._judging.is_far(head.device)
        return state != "frozen" and not is_unknown

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
            if watch.state == "asking" or watch.stopped is not None or not self._judging.concerns(device, watch):
                continue
            with self._troubles.of(device):
                await self._judging.judge(device, watch, now_s)
                if watch.state == "frozen":
                    # At every turn: what was appended just before, and what the log could not be told at the first.
                    self._delivery.withdrawn(device, await self._log.take_back_rises(device))
                if now_s - watch.alive_at_s >= self._times.alive_every_s and self._phones.get(device) is not None:
                    await self._feed(device)

    async def compare(self, device: str) -> None:
        """What this process remembers is held to what the log says, in case the answer to a call was lost."""
        watch = self._watched.get(device)
        head = await self._log.head(device)
        if isinstance(head, Refusal) or self._watched.get(device) is not watch:
            return
        # One that has attached elsewhere is judged there, also when no word of it came.
        self._phones.outdated(device, head.generation)
        self._take_up(head)
        if watch is not None and watch.stopped is not None and head.live is not None:
            await self.ends.record(device, *watch.stopped, watch, self._phones.now_s())

    def _take_up(self, head: DeviceHead) -> None:
        device, live, watch = head.device, head.live, self._watched.get(head.device)
        if live is not None:
            taken = self._watch(device, live, age_s=head.at_s - live.at_s)
            self._judging.held(taken, head)
            if taken is not watch and self._judging.concerns(device, taken):
                self._tasks.spawn(self._tell_of(device, taken))
        elif watch is not None and watch.state != "asking":
            self.ends.noticed(head, watch)

    async def _tell_of(self, device: str, watch: Watch) -> None:
        """Tell those who are here of a session that another process has begun, and how it stands."""
        with suppress(Unavailable):
            await self._judging.look(device, watch)
        if self._watched.get(device) is watch:
            self.ends.tell_mode_here(device, watch.state, "taken_up")

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
            self._judging.took_up(device, watch)
        watch.began_s = min(watch.began_s, now_s - age_s)
        return watch

    async def _note(self, device: str, cause: RestoreCause, actor: str) -> None:
        await self._log.note(device, "session", cause, actor=actor)

    def _refuse(self, refusal: Refusal) -> Failure:
        self._metrics.refusals.labels(refusal.code, refusal.rule or "").inc()
        return Failure(error=refusal, errors=(refusal,))
