"""The signs of life of live sessions, judged by every pod that one of its ends or somebody who watches hangs on.

The phone's pod judges its phone by what it hears. Any other asks that pod, and follows it; without an answer it takes
the phone for silent. Each pod tells its own people. Who has the fitter is known from the log, where his lease is
renewed. Knows neither how a session begins nor what its end comes to. Read ``Judging.judge`` first.
"""

from contextlib import suppress

from fitting.log_values import DeviceHead, SessionEnded
from fitting.mode import Event, judge_from_afar, judge_signs, reason_of, step
from protocol.contract.base import Refusal
from protocol.errors import Unavailable
from signaling.flows.live_parts import LiveParts
from signaling.flows.phone_words import SignsAsked, SignsTold
from signaling.flows.phones import Phone
from signaling.flows.watch import Watch
from signaling.tasks import TaskSet
from signaling.troubles import Troubles

__all__ = ["Judging"]


class Judging:
    """Judges every session that this pod knows of and somebody here has to do with."""

    def __init__(
        self,
        parts: LiveParts,
        *,
        tasks: TaskSet,
        troubles: Troubles,
    ) -> None:
        self._watched = parts.watched
        self._log = parts.log
        self._phones = parts.phones
        self._far = parts.far
        self._ends = parts.ends
        self._tasks = tasks
        self._troubles = troubles
        self._limits = parts.limits
        self._times = parts.times

    def concerns(self, device: str, watch: Watch) -> bool:
        """Whether somebody here has to do with it: alone everybody is here."""
        phones = self._phones
        is_end = phones.get(device) is not None or phones.is_connected_here(watch.fitter)
        return is_end or phones.is_watched_here(device) or not self._far.are_there

    def is_far(self, device: str) -> bool:
        """Whether its phone hangs on another pod, if anywhere."""
        return self._far.are_there and self._phones.get(device) is None

    def took_up(self, device: str, watch: Watch) -> None:
        """A session that this pod has just learned of: a phone elsewhere has to be heard of first."""
        if self.is_far(device):
            watch.state = "frozen"
            watch.phone_heard_s -= self._limits.freeze_after_s

    def has_come(self, device: str, watch: Watch) -> None:
        """Its phone hangs here from now on: what was only not known of it freezes nothing any more."""
        if self._far.are_there and self._event(device, watch, self._phones.now_s()) is Event.THAW:
            watch.state = "live"

    def held(self, watch: Watch, head: DeviceHead) -> None:
        """What the log says of the fitter: he was there when his lease was renewed, over whichever pod."""
        lease = head.lease
        if self._far.are_there and lease is not None and lease.fence == watch.fence:
            age_s = max(0.0, self._times.lease_ttl_s - (lease.until_s - head.at_s))
            watch.fitter_heard_s = max(watch.fitter_heard_s, self._phones.now_s() - age_s)

    async def judge(self, device: str, watch: Watch, now_s: float) -> None:
        """Freeze it, let it go on, or end it."""
        if self.is_far(device):
            self._ask_soon(device, watch, now_s)
        event = self._event(device, watch, now_s)
        if event is Event.FREEZE or event is Event.THAW:
            self._move(device, watch, event)
        elif event is not None:
            ended = await self._log.end_session(device, cause=reason_of(event), actor="server", fence=watch.fence)
            if isinstance(ended, SessionEnded):
                self._ends.over(device, ended)

    async def look(self, device: str, watch: Watch) -> None:
        """Ask now how a phone elsewhere is, and begin with what its pod says."""
        if not self.is_far(device):
            return
        watch.asked_s = self._phones.now_s()
        await self._learn(device, watch)
        if watch.stopped is None and self._event(device, watch, self._phones.now_s()) is Event.THAW:
            watch.state = "live"

    def froze(self, device: str, watch: Watch) -> None:
        """Nothing may rise any more: pods that follow this one hear it at once."""
        phone = self._phones.get(device)
        if phone is not None:
            self._far.frozen(device, phone, watch.fence)

    # What other pods ask, and tell unasked

    def told(self, device: str, phone: Phone, asked: SignsAsked) -> SignsTold:
        """How a phone of this pod is, and the session that it has part in."""
        watch, now_s = self._watched.get(device), self._phones.now_s()
        slow_s = None
        if watch is not None:
            if asked.call_silent_s is not None and asked.fence == watch.fence:
                watch.called(now_s - asked.call_silent_s)
            slow_s = watch.signs(phone, now_s, self._limits).slow_s
        signs = phone.signs(now_s)
        return SignsTold(
            generation=phone.generation,
            fence=0 if watch is None else watch.fence,
            state="none" if watch is None else watch.state,
            phone_silent_s=signs.phone_silent_s,
            background_s=signs.background_s,
            aids_away_s=signs.aids_away_s,
            battery_percent=signs.battery_percent,
            rtt_p95_ms=signs.rtt_p95_ms,
            slow_s=slow_s,
        )

    def frozen_elsewhere(self, device: str, fence: int) -> None:
        """The phone's pod has frozen it a moment ago: no answer to an earlier question lets it go on."""
        watch = self._watched.get(device)
        if watch is None or watch.fence != fence or self._phones.get(device) is not None:
            return
        watch.froze_there(self._phones.now_s())
        if watch.state == "live":
            self._move(device, watch, Event.FREEZE)

    def _move(self, device: str, watch: Watch, event: Event) -> None:
        watch.state = step(watch.state, event).state
        self._ends.tell_mode_here(device, watch.state, "freeze" if event is Event.FREEZE else "thaw")
        if event is Event.FREEZE:
            self.froze(device, watch)

    def _ask_soon(self, device: str, watch: Watch, now_s: float) -> None:
        if not self._far.can_be_heard:
            # Nobody could answer: that nobody does says nothing of the phone, but that it is not known to be there.
            watch.unanswered_since_s = None
        elif now_s - watch.asked_s >= self._times.signs_every_s:
            watch.asked_s = now_s
            if watch.unanswered_since_s is None:
                watch.unanswered_since_s = now_s
            self._tasks.spawn(self._ask(device, watch))

    async def _ask(self, device: str, watch: Watch) -> None:
        with suppress(Unavailable), self._troubles.of(device):
            await self._learn(device, watch)
            if self._watched.get(device) is watch and watch.stopped is None:
                await self.judge(device, watch, self._phones.now_s())

    async def _learn(self, device: str, watch: Watch) -> None:
        """Ask the pod that carries the phone."""
        head = await self._log.head(device)
        if isinstance(head, Refusal):
            return
        call_silent_s = None if watch.call_heard_s is None else self._phones.now_s() - watch.call_heard_s
        found = await self._far.signs(device, head.generation, SignsAsked(watch.fence, call_silent_s))
        if found is not None:
            watch.learned(found)

    def _event(self, device: str, watch: Watch, now_s: float) -> Event | None:
        signs = watch.signs(self._phones.get(device), now_s, self._limits)
        if not self.is_far(device):
            return judge_signs(watch.state, signs, self._limits)
        return judge_from_afar(watch.state, signs, self._limits, there=watch.there, is_lost=watch.is_lost(now_s))
