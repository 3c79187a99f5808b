"""How live work begins: the pod that carries the phone asks the wearer and opens the session, for a fitter anywhere.

One pod does all of it, so that a Stop that comes while the wearer thinks, and a second question, are known where they
count. Whether it may begin is decided in ``fitting.mode``. Read ``Beginning.here`` first, then ``elsewhere``.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import UNSET

from fitting.log_values import DeviceHead, LiveSession
from fitting.mode import Event, preconditions
from protocol.contract.base import Refusal
from protocol.contract.sessions import ConsentAnswer, ConsentAsked, SessionState
from protocol.errors import HubError
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.live_parts import LiveParts
from signaling.flows.opening import open_session
from signaling.flows.phone_words import Begin, Begun
from signaling.flows.phones import Phone
from signaling.flows.watch import Watch
from signaling.metrics import Metrics
from signaling.pushes import ask

__all__ = ["Beginning", "lease_refusal"]

_STOPPED: Final = Refusal(code="consent_declined", message="live work was stopped before it began")
_ASKING: Final = Refusal(code="asking", message="the patient is being asked already", retryable=True)
_OFFLINE: Final = Refusal(code="phone_offline", message="no phone carries the aids now", retryable=True)
_UNKNOWN: Final = Refusal(code="phone_offline", message="nobody tells what came of it, ask again", retryable=True)
# Beyond what the wearer and the phone may take: what the log does, before and after.
_SLACK_S: Final = 5.0


class Beginning:
    """``consent`` says why the patient takes no live work; ``began`` is given the session that has begun here."""

    def __init__(
        self,
        parts: LiveParts,
        *,
        delivery: DeliveryFlow,
        metrics: Metrics,
        consent: Callable[[str], Awaitable[Refusal | None]],
        began: Callable[[Begin, LiveSession], Awaitable[None]],
    ) -> None:
        self._watched = parts.watched
        self._log = parts.log
        self._phones = parts.phones
        self._far = parts.far
        self._delivery = delivery
        self._ends = parts.ends
        self._metrics = metrics
        self._limits = parts.limits
        self._times = parts.times
        self._consent = consent
        self._began = began

    async def begin(self, begin: Begin, head: DeviceHead, before_asking: Callable[[], None]) -> SessionState | Refusal:
        """Begin, wherever the phone is. ``before_asking`` is called before anything that takes long."""
        if self._is_asking(begin):
            return _ASKING
        # One that is here may have attached elsewhere since, without a word.
        self._phones.outdated(begin.device, head.generation)
        if self._phones.get(begin.device) is None and self._far.are_there:
            before_asking()
            return await self._elsewhere(begin, head)
        return await self._here(begin, head, before_asking)

    async def answer(self, begin: Begin) -> Begun:
        """Begin here for a fitter on another pod, who was found to be allowed to."""
        # What he has done a moment ago this process may not have read yet.
        self._log.overheard(begin.device)
        try:
            outcome = await self._answer(begin)
        except HubError:
            outcome = _UNKNOWN
        return Begun(refusal=outcome) if isinstance(outcome, Refusal) else Begun(state=outcome)

    async def _answer(self, begin: Begin) -> SessionState | Refusal:
        head = await self._log.head(begin.device)
        if isinstance(head, Refusal):
            return head
        refusal = lease_refusal(head, begin.fence, begin.user)
        if refusal is not None:
            return refusal
        watch = self._watched.get(begin.device)
        if head.live is not None and head.live.fence == begin.fence and watch is not None:
            return watch.state
        if self._is_asking(begin):
            return _ASKING
        self._phones.outdated(begin.device, head.generation)
        return await self._here(begin, head, lambda: None)

    def given_up(self, device: str, fence: int) -> None:
        """The fitter on another pod has gone while the wearer thinks: nothing begins. What has begun goes on."""
        watch = self._watched.get(device)
        if watch is not None and (watch.fence, watch.state) == (fence, "asking"):
            watch.stop(Event.LEFT, "server")

    def _is_asking(self, begin: Begin) -> bool:
        watch = self._watched.get(begin.device)
        return watch is not None and (watch.fence, watch.state) == (begin.fence, "asking")

    async def _here(self, begin: Begin, head: DeviceHead, before_asking: Callable[[], None]) -> SessionState | Refusal:
        phone = self._phones.get(begin.device)
        signs = None if phone is None else phone.signs(self._phones.now_s())
        refusal = preconditions(head, signs, self._limits) or await self._consent(begin.device)
        if refusal is not None or phone is None:
            return refusal or _OFFLINE
        # The patient may think for longer than the lease lives: renewals must get through meanwhile.
        before_asking()
        with self._asked(begin) as watch:
            refusal = await self._ask(phone, head, begin)
            if refusal is None and watch.stopped is not None:
                refusal = _STOPPED
            # Another process, which knows of no question, may have recorded that it is withdrawn.
            refusal = refusal or await self._consent(begin.device)
            return await self._open(begin, watch) if refusal is None else refusal

    async def _elsewhere(self, begin: Begin, head: DeviceHead) -> SessionState | Refusal:
        within_s = self._times.consent_s + self._times.make_way_s + _SLACK_S
        with self._asked(begin) as watch:
            begun = None
            try:
                begun = await self._far.begin(begin, head.generation, within_s=within_s)
            finally:
                if begun is None:
                    # Nobody answers, or nobody waits for an answer: whoever still thinks of it needs not.
                    self._phones.give_up(begin.device, begin.fence)
            if begun is None:
                return _OFFLINE
            if begun.refusal is not None:
                return begun.refusal
            if watch.stopped is not None:
                await self._ends.record(begin.device, *watch.stopped, watch, self._phones.now_s())
                return _STOPPED
            return begun.state

    @contextmanager
    def _asked(self, begin: Begin) -> Iterator[Watch]:
        now_s = self._phones.now_s()
        watch = Watch(begin.fence, begin.user, "asking", now_s, now_s, now_s, begin.connection_id)
        self._watched[begin.device] = watch
        try:
            yield watch
        finally:
            # Whatever came of it, the question is over. A session that may have begun is taken up by the sweep.
            if self._watched.get(begin.device) is watch:
                del self._watched[begin.device]

    async def _ask(self, phone: Phone, head: DeviceHead, begin: Begin) -> Refusal | None:
        question = ConsentAsked(
            device=head.device,
            session="" if head.lease is None else head.lease.session,
            fitter=begin.user,
            clinic=begin.clinic,
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

    async def _open(self, begin: Begin, asking: Watch) -> SessionState | Refusal:
        opened = await open_session(
            *(self._log, self._delivery, begin.device),
            fence=begin.fence,
            holder=begin.user,
            patience_s=self._times.make_way_s,
            reached=self._metrics.reached,
        )
        if isinstance(opened, Refusal):
            return opened
        if asking.stopped is not None:
            await self._ends.record(begin.device, *asking.stopped, asking, self._phones.now_s())
            return _STOPPED
        await self._began(begin, opened)
        self._ends.tell_mode(begin.device, "live", "accepted", detail=begin.reason)
        return "live"


def lease_refusal(head: DeviceHead, fence: int, user: str) -> Refusal | None:
    """Why somebody does not hold the device under that fence."""
    lease = head.lease
    if lease is None or (lease.fence, lease.holder) != (fence, user):
        return Refusal(code="lease_lost", message="the lease has ended or is another's")
    return None
