"""What this pod knows of a live session without asking the log, and the signs of life that it is judged by.

The log knows which sessions there are: this is held to it with every sweep. Read ``Watch.signs`` first.
"""

from dataclasses import dataclass, replace
from typing import Literal

from fitting.mode import Event, ModeLimits, Signs
from protocol.contract.sessions import SessionState
from signaling.flows.phones import Phone

__all__ = ["Watch"]


@dataclass(slots=True)
class Watch:
    """Times are monotonic.

    ``began_s``: by what the log says of its age. ``phone_heard_s``: when a phone of it was last heard, also one that
    has gone since. ``fitter``: the connection that began it or has renewed its lease last, "" before one has.
    ``call_heard_s``: when that fitter last told of a call beside it, None when he never did. ``slow_since_s``: since
    when the phone's link has been too slow. ``stopped``: what has ended it and who, until the log has recorded it;
    nothing is fed any more.
    """

    fence: int
    holder: str
    state: SessionState
    fitter_heard_s: float
    began_s: float
    phone_heard_s: float
    fitter: str = ""
    call_heard_s: float | None = None
    slow_since_s: float | None = None
    alive_at_s: float = 0.0
    stopped: tuple[Event, str] | None = None

    def signs(self, phone: Phone | None, now_s: float, limits: ModeLimits) -> Signs:
        """What is known of both ends now. A phone that is gone is as silent as one that says nothing."""
        fitter_silent_s = now_s - self.fitter_heard_s
        if phone is None:
            signs = Signs(now_s - self.phone_heard_s, fitter_silent_s)
        else:
            self.phone_heard_s = phone.heard_s
            signs = phone.signs(now_s, fitter_silent_s)
        return replace(
            signs,
            slow_s=self._slow_s(phone, now_s, limits),
            call_silent_s=None if self.call_heard_s is None else now_s - self.call_heard_s,
            session_s=now_s - self.began_s,
        )

    def renewed(self, fitter: str, now_s: float) -> None:
        """The fitter is there, over that connection."""
        self.fitter, self.fitter_heard_s = fitter, now_s

    def talked(self, call: Literal["on", "ended"], now_s: float) -> bool:
        """The fitter tells of a call beside the session; whether it has ended."""
        if call == "on":
            self.call_heard_s = now_s
        return call == "ended" and self.call_heard_s is not None

    def stop(self, event: Event, actor: str) -> None:
        """From now on nothing feeds the phone's dead-man and nothing rises, whatever becomes of the log."""
        self.stopped = self.stopped or (event, actor)
        if self.state != "asking":
            self.state = "frozen"

    def _slow_s(self, phone: Phone | None, now_s: float, limits: ModeLimits) -> float | None:
        rtt_ms = None if phone is None else phone.recent_rtt_ms(now_s, limits.rtt_ends_after_s)
        if rtt_ms is None or rtt_ms <= limits.rtt_to_go_on_ms:
            # Of a link that is gone nothing is known, nor of the next one what that one was like.
            self.slow_since_s = None
            return None
        self.slow_since_s = now_s if self.slow_since_s is None else self.slow_since_s
        return now_s - self.slow_since_s
