"""What this pod knows of a live session without asking the log, and the signs of life that it is judged by.

The log knows which sessions there are: this is held to it with every sweep. Read ``Watch.signs`` first.
"""

from dataclasses import dataclass, replace

from fitting.mode import Signs
from protocol.contract.sessions import ModeChanged, RestoreCause, SessionState
from signaling.flows.phones import Phone

__all__ = ["Watch", "mode_changed"]


@dataclass(slots=True)
class Watch:
    """Times are monotonic.

    ``began_s``: by what the log says of its age. ``phone_heard_s``: when a phone of it was last heard, also one that
    has gone since. ``stopped``: why and by whom, until the log has recorded it; nothing is fed any more.
    """

    fence: int
    holder: str
    state: SessionState
    fitter_heard_s: float
    began_s: float
    phone_heard_s: float
    alive_at_s: float = 0.0
    stopped: tuple[RestoreCause, str] | None = None

    def signs(self, phone: Phone | None, now_s: float) -> Signs:
        """What is known of both ends now. A phone that is gone is as silent as one that says nothing."""
        fitter_silent_s = now_s - self.fitter_heard_s
        if phone is None:
            return Signs(now_s - self.phone_heard_s, fitter_silent_s, session_s=now_s - self.began_s)
        self.phone_heard_s = phone.heard_s
        return replace(phone.signs(now_s, fitter_silent_s), session_s=now_s - self.began_s)

    def stop(self, cause: RestoreCause, actor: str) -> None:
        """From now on nothing feeds the phone's dead-man and nothing rises, whatever becomes of the log."""
        self.stopped = self.stopped or (cause, actor)
        if self.state != "asking":
            self.state = "frozen"


def mode_changed(device: str, state: SessionState, reason: str) -> ModeChanged:
    """How the state of a session is told."""
    return ModeChanged(device=device, mode="standard" if state == "none" else "advanced", state=state, reason=reason)
