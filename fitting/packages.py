"""What there is to do for a package as time passes: when its phone is woken again, and when no more.

A push is a help, never a delivery: the package waits in the log whatever becomes of it. This module must not know a
push service, a clock or a store. Read ``judge_push`` first.
"""

from dataclasses import dataclass
from typing import Final, Literal

from .delivery import is_end
from .log_values import Delivery
from .push import Gone, Later, PushOutcome, Sent

__all__ = ["DEFAULT_PUSH_TIMES", "AfterPush", "PushTimes", "after_push", "judge_push"]

Judgement = Literal["push", "wait", "drop"]
_UNSEEN: Final = frozenset({"accepted", "offered"})


@dataclass(frozen=True, slots=True)
class PushTimes:
    """``schedule_s``: when a package is pushed, in seconds after it was accepted. ``online_s``: how long a phone that
    is there may take before it is looked at again. ``refused_s``: after a push that was our own fault.
    """

    schedule_s: tuple[float, ...] = (0.0, 3_600.0, 86_400.0, 259_200.0)
    online_s: float = 30.0
    refused_s: float = 3_600.0


DEFAULT_PUSH_TIMES: Final = PushTimes()


@dataclass(frozen=True, slots=True)
class AfterPush:
    """``due_at_s``: when to push again, None for never. ``tried``: whether this one counts."""

    due_at_s: float | None
    tried: bool = True


def judge_push(delivery: Delivery | None, *, is_online: bool) -> Judgement:
    """Whether a phone has to be woken for a package; not once it has it, nor when the package is over."""
    if delivery is None or is_end(delivery.kind, delivery.state) or delivery.withdrawn is not None:
        return "drop"
    if delivery.state not in _UNSEEN:
        return "drop"
    return "wait" if is_online else "push"


def after_push(
    outcome: PushOutcome, *, accepted_at_s: float, tries: int, now_s: float, times: PushTimes = DEFAULT_PUSH_TIMES
) -> AfterPush:
    """What follows the push that was the next after ``tries``."""
    if isinstance(outcome, Gone):
        return AfterPush(None)
    if isinstance(outcome, Later):
        return AfterPush(now_s + max(1.0, outcome.retry_after_s), tried=False)
    if tries + 1 >= len(times.schedule_s):
        return AfterPush(None)
    due_at_s = max(now_s, accepted_at_s + times.schedule_s[tries + 1])
    return AfterPush(due_at_s if isinstance(outcome, Sent) else max(due_at_s, now_s + times.refused_s))
