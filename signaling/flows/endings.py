"""How live work ends when nobody has asked for it to: what is done first, who is told why, and what is recorded.

What cannot wait is done from memory: the phone restores, then the log hears of it, as soon as it is there. Whether
something ends a session is decided in ``fitting.mode``. Read ``Endings.end_now`` and ``over`` first.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import UNSET, UnsetType

from fitting.log import DeviceLog
from fitting.log_values import DeviceHead, SessionEnded
from fitting.mode import ENDS, Event, end_of, reason_of
from protocol.contract.base import Refusal
from protocol.contract.fitting import Mode
from protocol.contract.sessions import Heartbeat, ModeChanged, ModeReason, RestoreCause, RevertNow, SessionState
from protocol.errors import Unavailable
from signaling.flows.delivery import DeliveryFlow
from signaling.flows.late_records import LateRecords
from signaling.flows.phones import Phones
from signaling.flows.watch import Watch
from signaling.hub import Caller
from signaling.metrics import Metrics
from signaling.pushes import push

__all__ = ["Endings", "mode_changed"]

_SERVER: Final = "server"


class Endings:
    """Carries out how live work ends. ``watched`` are the sessions that this pod knows of, by device."""

    def __init__(
        self,
        watched: dict[str, Watch],
        *,
        log: DeviceLog,
        phones: Phones,
        delivery: DeliveryFlow,
        metrics: Metrics,
        late: LateRecords,
    ) -> None:
        self._watched = watched
        self._log = log
        self._phones = phones
        self._delivery = delivery
        self._metrics = metrics
        self._late = late

    def token_expired(self, caller: Caller) -> None:
        """The connection is closed next because its token has ended: so does all live work that hangs on it."""
        for device, watch in tuple(self._watched.items()):
            if self._phones.of(device, caller) is not None:
                self.end_now(device, watch, Event.PHONE_TOKEN)
                # The last that it hears over this link; what the log makes of it comes too late.
                push(caller, mode_changed(device, "none", reason_of(Event.PHONE_TOKEN)))
            elif watch.fitter == caller.connection_id:
                self.end_now(device, watch, Event.TOKEN_EXPIRED)

    def heartbeat(self, caller: Caller, heartbeat: Heartbeat) -> None:
        """A fitter says whether the wearer can be talked to; who is not the one at work on the device says nothing."""
        if not isinstance(heartbeat.device, str) or isinstance(heartbeat.call, UnsetType):
            return
        watch = self._watched.get(heartbeat.device)
        is_fitter = watch is not None and watch.fitter == caller.connection_id
        if watch is not None and is_fitter and watch.talked(heartbeat.call, self._phones.now_s()):
            self.end_now(heartbeat.device, watch, Event.CALL_ENDED)

    def end_now(self, device: str, watch: Watch, event: Event) -> None:
        """End it with no log: the phone restores, and nothing rises nor feeds its dead-man from here on."""
        if watch.stopped is not None:
            return
        watch.stop(event, _SERVER)
        self._restore(device, watch.fence, ENDS[event].restore)
        self.record_soon(device, event, _SERVER, watch)

    async def visit_over(self, device: str, actor: str) -> None:
        """The visit in which the device was worked on is over: live work on it ends as when its fitter leaves.

        Raises Unavailable when the log is away; the phone has been told to restore by then, if live work is known here.
        """
        watch = self._watched.get(device)
        if watch is not None and watch.state == "asking":
            watch.stop(Event.LEFT, actor)
        try:
            head = await self._log.head(device)
            if isinstance(head, Refusal) or head.live is None:
                return
            left = reason_of(Event.LEFT)
            ended = await self._log.end_session(device, cause=left, actor=actor, fence=head.live.fence)
        except Unavailable:
            if watch is not None and watch.state != "asking":
                self.end_now(device, watch, Event.LEFT)
            raise
        if isinstance(ended, SessionEnded):
            self.over(device, ended)

    def call_over(self, device: str, has_ended: Callable[[str], bool], *, ago_s: float = 0.0) -> None:
        """A call about the device is over since ``ago_s``; ``has_ended`` says whether it was one with that fitter.

        Live work of his ends with it, whatever he says himself; what has begun since goes on.
        """
        watch = self._watched.get(device)
        if watch is not None and has_ended(watch.holder):
            if watch.state == "asking":
                watch.stop(Event.CALL_ENDED, _SERVER)
            elif not ago_s:
                self.end_now(device, watch, Event.CALL_ENDED)
                return
        at_s = self._phones.now_s() - ago_s
        self._late.add(partial(self._record_call, device, has_ended, at_s))

    async def _record_call(self, device: str, has_ended: Callable[[str], bool], at_s: float) -> None:
        head = await self._log.head(device)
        if not isinstance(head, Refusal) and head.live is not None and has_ended(head.live.holder):
            await self.record(device, Event.CALL_ENDED, _SERVER, None, at_s)

    def call_is(
        self,
        device: str,
        with_whom: Callable[[str], bool],
        *,
        is_bad: bool | None = None,
        is_away: bool | None = None,
        is_unseen: bool | None = None,
    ) -> None:
        """How a call about the device is, if it is with the fitter at work: what is not good enough freezes."""
        watch = self._watched.get(device)
        if watch is not None and with_whom(watch.holder):
            watch.call_is(self._phones.now_s(), is_bad=is_bad, is_away=is_away, is_unseen=is_unseen)

    def record_soon(self, device: str, event: Event, actor: str, watch: Watch | None) -> None:
        """Put into the log what was done without it, as soon as that can be."""
        self._late.add(partial(self.record, device, event, actor, watch, self._phones.now_s()))

    async def record(self, device: str, event: Event, actor: str, watch: Watch | None, at_s: float) -> None:
        """Put it into the log, ``watch`` being what was known then. What began since goes on."""
        head = await self._log.head(device)
        if isinstance(head, Refusal) or head.live is None:
            return
        live = head.live
        if (watch is not None and watch.fence != live.fence) or self._phones.now_s() - (head.at_s - live.at_s) > at_s:
            return
        ended = await self._log.end_session(device, cause=reason_of(event), actor=actor, fence=live.fence)
        if isinstance(ended, SessionEnded):
            self.over(device, ended)

    def over(self, device: str, ended: SessionEnded) -> None:
        """Tell everybody that live work has ended; the phone restores first."""
        watch = self._watched.get(device)
        if watch is not None and watch.fence == ended.live.fence:
            del self._watched[device]
        if ended.restore:
            self._restore(device, ended.live.fence, end_of(ended.cause).restore)
        self._delivery.ended(device, ended.ended)
        if ended.withdraw:
            self._delivery.appended(device)
        self.tell_mode(device, "none", ended.cause, draft=ended.draft)

    def noticed(self, head: DeviceHead, watch: Watch) -> None:
        """The log says that live work has ended. Only the phone's own pod has it restore, if it still must."""
        device, end = head.device, head.last_end
        del self._watched[device]
        phone = self._phones.get(device)
        if phone is not None and not head.is_saved and phone.ended_s < watch.began_s:
            self._restore(device, watch.fence, "session_ended")
        # Every other pod notices it as well, and tells its own.
        if end is not None and end.fence == watch.fence:
            self.tell_mode_here(device, "none", end.reason, draft=end.draft)
        else:
            self.tell_mode_here(device, "none", "ended")

    def tell_mode(
        self,
        device: str,
        state: SessionState,
        reason: ModeReason,
        *,
        detail: str | UnsetType = UNSET,
        draft: str | UnsetType | None = UNSET,
    ) -> None:
        """Tell both ends how the device is worked on now, and why. What was lost is the fitter's business alone."""
        self._phones.tell_fitters(device, mode_changed(device, state, reason, detail=detail, draft=draft))
        self._phones.relay(device, mode_changed(device, state, reason, detail=detail))

    def tell_mode_here(
        self, device: str, state: SessionState, reason: ModeReason, *, draft: str | UnsetType | None = UNSET
    ) -> None:
        """The same to the ends that hang on this pod: of those elsewhere their own pods know."""
        self._phones.tell_fitters_here(device, mode_changed(device, state, reason, draft=draft))
        if self._phones.get(device) is not None:
            self._phones.relay(device, mode_changed(device, state, reason))

    def _restore(self, device: str, fence: int, cause: RestoreCause | None) -> None:
        if cause is not None:
            self._phones.relay(device, RevertNow(device=device, fence=fence, cause=cause))
            self._metrics.restores.labels(cause).inc()


def mode_changed(
    device: str,
    state: SessionState,
    reason: ModeReason,
    *,
    detail: str | UnsetType = UNSET,
    draft: str | UnsetType | None = UNSET,
) -> ModeChanged:
    """The message of a state; without a session the device is in Standard mode."""
    mode: Mode = "standard" if state == "none" else "advanced"
    return ModeChanged(device=device, mode=mode, state=state, reason=reason, detail=detail, draft=draft)
