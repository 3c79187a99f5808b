"""What is kept of a call that is over: who took part, for how long, and how good it was; nothing that was said."""

from msgspec import UNSET, UnsetType

from .base import Wire
from .calls import CallEndReason, Grade, LegReason, Media
from .visits import VisitRole

__all__ = ["CallPerson", "CallRecord", "LinkQuality"]


class CallPerson(Wire, frozen=True, kw_only=True):
    """Somebody who was rung or took part. ``took_part`` is whether he has; ``reason`` how it ended for him.

    ``participant`` and ``role`` are his in the visit, absent when he was sent away since.
    """

    peer: int
    user: str
    took_part: bool
    reason: LegReason | UnsetType = UNSET
    participant: str | UnsetType = UNSET
    role: VisitRole | UnsetType = UNSET


class LinkQuality(Wire, frozen=True, kw_only=True):
    """What ``peer`` has reported of the way from ``to``. Numbers are those of the last reports that were kept.

    ``grade`` and ``worst``: what was told last, and the worst of it. ``rtt_ms``, ``jitter_ms``: medians.
    ``loss_permille``, ``in_kbps``, ``out_kbps``, ``frames_per_s``: means.
    """

    peer: int
    to: int
    reports: int
    grade: Grade
    worst: Grade
    loss_permille: int
    jitter_ms: int
    rtt_ms: int | UnsetType = UNSET
    in_kbps: int | UnsetType = UNSET
    out_kbps: int | UnsetType = UNSET
    frames_per_s: int | UnsetType = UNSET
    relayed: bool = False


class CallRecord(Wire, frozen=True, kw_only=True):
    """One call that is over. ``duration_s``: from the first answer to the end; 0 when nobody has answered."""

    call_id: str
    visit: str
    backend: str
    media: Media
    began_at: str
    ended_at: str
    reason: CallEndReason
    duration_s: int
    people: tuple[CallPerson, ...]
    answered_at: str | UnsetType = UNSET
    quality: tuple[LinkQuality, ...] = ()
