"""What this pod knows of a live session without asking the log, and the signs of life that it is judged by.

The log knows which sessions there are: this is held to it with every sweep. Read ``Watch.signs`` first.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import msgspec

from fitting.mode import Event, ModeLimits, Signs
from protocol.contract.sessions import SessionState
from signaling.flows.phone_words import SignsTold
from signaling.flows.phones import Phone

__all__ = ["FarSigns", "Watch"]

# Longer than a bus takes to notice that it is away: an answer that was lost with it says nothing of a phone.
_LOST_AFTER_S: Final = 5.0


class FarSigns(NamedTuple):
    """What another pod has told of a phone when it was asked at ``asked_s``, monotonic: it is no older than that."""

    told: SignsTold
    asked_s: float


@dataclass(slots=True)
class Watch:
    """Times are monotonic.

    ``began_s``: by what the log says of its age. ``phone_heard_s``: when a phone of it was last heard, also one that
    has gone since. ``fitter``: the connection that began it or has renewed its lease last, "" before one has.
    ``call_heard_s``: when that fitter last told of a call beside it, None when he never did; ``is_unseen``: whether he
    misses the wearer's picture in it. ``call_bad_since_s``: since when the call between the two has been too bad to be
    understood; ``is_call_away``: whether one of them is lost in it, and may come back; ``is_call_unseen``: whether the
    fitter's end says that no picture of the wearer comes. ``slow_since_s``: since
    when the phone's link has been too slow. ``stopped``: what has ended it and who, until the log has recorded it;
    nothing is fed any more. ``far`` is what another pod has told of the phone, which was asked last at ``asked_s``;
    ``unanswered_since_s``: since when nobody has, although he could.
    """

    fence: int
    holder: str
    state: SessionState
    fitter_heard_s: float
    began_s: float
    phone_heard_s: float
    fitter: str = ""
    call_heard_s: float | None = None
    is_unseen: bool = False
    call_bad_since_s: float | None = None
    is_call_away: bool = False
    is_call_unseen: bool = False
    slow_since_s: float | None = None
    alive_at_s: float = 0.0
    stopped: tuple[Event, str] | None = None
    far: FarSigns | None = None
    asked_s: float = -math.inf
    unanswered_since_s: float | None = None

    def signs(self, phone: Phone | None, now_s: float, limits: ModeLimits) -> Signs:
        """What is known of both ends now. A phone that is gone is as silent as one that says nothing."""
        fitter_silent_s = now_s - self.fitter_heard_s
        if phone is None:
            signs = self._signs_from_afar(now_s, fitter_silent_s)
        else:
            self.far = self.unanswered_since_s = None
            self.phone_heard_s = phone.heard_s
            signs = phone.signs(now_s, fitter_silent_s)
        return replace(
            signs,
            slow_s=self._slow_s(phone, now_s, limits) if self.far is None else self.far.told.slow_s,
            call_silent_s=None if self.call_heard_s is None else now_s - self.call_heard_s,
            call_bad_s=None if self.call_bad_since_s is None else now_s - self.call_bad_since_s,
            is_unseen=self.is_unseen or self.is_call_away or self.is_call_unseen,
            session_s=now_s - self.began_s,
        )

    @property
    def there(self) -> SessionState:
        """The session as the phone's own pod has judged it; frozen as long as that is not known."""
        known = self.far is not None and self.far.told.fence == self.fence
        return self.far.told.state if known and self.far is not None else "frozen"

    def learned(self, far: FarSigns) -> None:
        """Another pod has told of the phone; what was asked before something newer says nothing."""
        if self.far is not None and far.asked_s <= self.far.asked_s:
            return
        self.far, self.unanswered_since_s = far, None
        self.phone_heard_s = max(self.phone_heard_s, far.asked_s - far.told.phone_silent_s)

    def froze_there(self, now_s: float) -> None:
        """The phone's pod has frozen it just now."""
        silent_s = now_s - self.phone_heard_s
        told = SignsTold(0, self.fence, "frozen", silent_s) if self.far is None else self.far.told
        self.far = FarSigns(msgspec.structs.replace(told, fence=self.fence, state="frozen"), now_s)

    def is_lost(self, now_s: float) -> bool:
        """Whether nobody tells of the phone any more who could."""
        return self.unanswered_since_s is not None and now_s - self.unanswered_since_s >= _LOST_AFTER_S

    def renewed(self, fitter: str, now_s: float) -> None:
        """The fitter is there, over that connection."""
        self.fitter, self.fitter_heard_s = fitter, now_s

    def called(self, heard_s: float) -> None:
        """Another pod says when the fitter last told it of a call."""
        self.call_heard_s = max(heard_s, -math.inf if self.call_heard_s is None else self.call_heard_s)

    def talked(self, call: Literal["on", "unseen", "ended"], now_s: float) -> bool:
        """The fitter tells of a call beside the session; whether it has ended."""
        if call != "ended":
            self.call_heard_s, self.is_unseen = now_s, call == "unseen"
        return call == "ended" and self.call_heard_s is not None

    def call_is(self, now_s: float, *, is_bad: bool | None, is_away: bool | None, is_unseen: bool | None) -> None:
        """How the call between fitter and wearer is, as far as something new is known of it."""
        if is_away is not None:
            self.is_call_away = is_away
        if is_unseen is not None:
            self.is_call_unseen = is_unseen
        if is_bad is False:
            self.call_bad_since_s = None
        elif is_bad and self.call_bad_since_s is None:
            self.call_bad_since_s = now_s

    def stop(self, event: Event, actor: str) -> None:
        """From now on nothing feeds the phone's dead-man and nothing rises, whatever becomes of the log."""
        self.stopped = self.stopped or (event, actor)
        if self.state != "asking":
            self.state = "frozen"

    def _signs_from_afar(self, now_s: float, fitter_silent_s: float) -> Signs:
        """A phone that is gone is as silent as one that says nothing; what was told of one has gone on since."""
        signs = Signs(now_s - self.phone_heard_s, fitter_silent_s)
        if self.far is None:
            return signs
        told, age_s = self.far.told, now_s - self.far.asked_s
        return replace(
            signs,
            background_s=None if told.background_s is None else told.background_s + age_s,
            aids_away_s=None if told.aids_away_s is None else told.aids_away_s + age_s,
            battery_percent=told.battery_percent,
            rtt_p95_ms=told.rtt_p95_ms,
        )

    def _slow_s(self, phone: Phone | None, now_s: float, limits: ModeLimits) -> float | None:
        rtt_ms = None if phone is None else phone.recent_rtt_ms(now_s, limits.rtt_ends_after_s)
        if rtt_ms is None or rtt_ms <= limits.rtt_to_go_on_ms:
            # Of a link that is gone nothing is known, nor of the next one what that one was like.
            self.slow_since_s = None
            return None
        self.slow_since_s = now_s if self.slow_since_s is None else self.slow_since_s
        return now_s - self.slow_since_s
