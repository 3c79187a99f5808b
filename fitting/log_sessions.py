"""The lease and the live session in a device's log, as pure steps: who holds the device, and what ends that.

Whether a lease may be had is decided in ``lease``; what a session may do, in ``mode``. Time is given, no store is
known. Read ``acquire`` and ``end_session`` first.
"""

import math
from collections.abc import Callable

from protocol.contract.base import Refusal
from protocol.contract.sessions import EndReason

from .lease import Granted, Held, live, request
from .log_commands import ask_back, withdraw
from .log_pace import is_rise
from .log_parts import KnownKey
from .log_rows import DeviceRows
from .log_values import (
    Delivery,
    Ended,
    LastEnd,
    LeaseGranted,
    LeaseState,
    LiveSession,
    Moment,
    Released,
    SessionEnded,
    Stolen,
    Withdrawn,
)
from .mode import end_of

__all__ = [
    "acquire",
    "alive",
    "end_session",
    "lapse",
    "leave",
    "open_session",
    "release",
    "renew",
    "steal",
    "take_back_rises",
    "unready",
]


def acquire(rows: DeviceRows, now_s: float, *, session: str, holder: str) -> LeaseGranted | Refusal:
    """See ``DeviceLog.acquire``."""
    outcome = _request(rows, now_s, session=session, holder=holder)
    if isinstance(outcome, Held):
        return Refusal(
            code="lease_held",
            message="another session is fitting this device",
            retryable=True,
            retry_after_ms=math.ceil(outcome.remaining_s * 1_000),
        )
    return _grant(rows, now_s, outcome)


def renew(rows: DeviceRows, now_s: float, *, session: str, holder: str, fence: int) -> LeaseGranted | Refusal:
    """See ``DeviceLog.renew``."""
    if fence != rows.fence:
        return Refusal(code="fence_stale", message="another lease was granted since")
    lease = live(rows.lease, now_s)
    if lease is None or (lease.session, lease.holder) != (session, holder):
        return Refusal(code="lease_lost", message="the lease has ended or is another's")
    return acquire(rows, now_s, session=session, holder=holder)


def release(
    rows: DeviceRows, now_s: float, *, session: str, holder: str, fence: int, discard: bool
) -> Released | Refusal:
    """See ``DeviceLog.release``."""
    held = renew(rows, now_s, session=session, holder=holder, fence=fence)
    if isinstance(held, Refusal):
        return held
    if not discard and is_unsaved(rows):
        return _unsaved()
    ended = end_session(rows, now_s, cause="released", actor=holder)
    rows.lease = None
    rows.note("lease", "released", now_s, actor=holder)
    return Released(ended)


def steal(
    rows: DeviceRows, now_s: float, *, session: str, holder: str, reason: str, asked: tuple[str, str] | None
) -> Stolen | Refusal:
    """See ``DeviceLog.steal``. The reason is kept with the event. ``asked``: the key, and the digest of the request."""
    if asked is None:
        return _steal(rows, now_s, session=session, holder=holder, reason=reason)
    key, request_hash = asked[0], f"{asked[1]} {holder}"
    known = rows.keys.get(key)
    if known is not None:
        if known.request_hash != request_hash or not isinstance(known.answer, LeaseGranted):
            return Refusal(code="idempotency_conflict", message="the idempotency key stood for another request")
        lease = live(rows.lease, now_s)
        left_s = 0.0 if lease is None or lease.fence != known.answer.fence else lease.until_s - now_s
        return Stolen(LeaseGranted(known.answer.fence, left_s, known.answer.renewed))
    stolen = _steal(rows, now_s, session=session, holder=holder, reason=reason)
    if stolen.granted.renewed:
        # Keys are numbered by the events that they come with.
        rows.note("lease", "renewed", now_s, actor=holder)
    rows.fresh.keys[key] = known = KnownKey(request_hash, stolen.granted)
    rows.remember(key, known)
    return stolen


def _steal(rows: DeviceRows, now_s: float, *, session: str, holder: str, reason: str) -> Stolen:
    lease = live(rows.lease, now_s)
    if lease is None or (lease.session, lease.holder) == (session, holder):
        outcome = _request(rows, now_s, session=session, holder=holder)
        if isinstance(outcome, Granted):
            return Stolen(_grant(rows, now_s, outcome))
    ended = end_session(rows, now_s, cause="stolen", actor=holder)
    rows.lease = None
    rows.note("lease", "stolen", now_s, actor=holder, text=reason)
    ttl_s = rows.limits.lease_ttl_s
    rows.lease = LeaseState(holder, session, rows.fence + 1, now_s + ttl_s)
    rows.fence += 1
    rows.note("lease", "granted", now_s, actor=holder)
    return Stolen(LeaseGranted(rows.fence, ttl_s, renewed=False), lease, ended)


def open_session(rows: DeviceRows, now_s: float, *, fence: int, holder: str) -> LiveSession | Refusal:
    """See ``DeviceLog.open_session``."""
    lease = live(rows.lease, now_s)
    refusal = unready(rows, lease, fence=fence, holder=holder)
    if refusal is not None or lease is None:
        return refusal or _lease_lost()
    if rows.live is not None:
        return rows.live
    if rows.head is None or rows.pending or not rows.truth.holds(rows.head):
        return _not_read_back("what the aids hold is not known yet")
    rows.fresh.lease = "live"
    moment = Moment(now_s, rows.head)
    rows.live = LiveSession(fence, lease.session, holder, rows.head, now_s, (moment,), (moment,))
    rows.last_end = None
    rows.note("session", "live", now_s, actor=holder)
    return rows.live


def unready(rows: DeviceRows, lease: LeaseState | None, *, fence: int, holder: str) -> Refusal | None:
    """Why a session cannot begin, nor go on, whatever gives way to it. ``lease``: the one that is live."""
    if lease is None or (lease.fence, lease.holder) != (fence, holder):
        return _lease_lost()
    if rows.live is not None:
        # The end of an earlier one has not been told yet: the aids may still hold what it tried.
        return None if rows.live.fence == fence else _not_read_back("an earlier session is just ending")
    if rows.head is None:
        return _not_read_back("the aids were never read back")
    if not rows.aids.keys() <= rows.truth.ears.keys():
        # What one aid holds bounds neither ear of a change, and is no base to go back to.
        return _not_read_back("one of the aids was never read back")
    return _not_read_back("what the aids hold is not known yet") if rows.read_due else None


def end_session(rows: DeviceRows, now_s: float, *, cause: EndReason, actor: str) -> SessionEnded | None:
    """End the live session if there is one; the lease stays as it is. Work in flight goes the way of the mode table."""
    session = rows.live
    if session is None:
        return None
    work = end_of(cause).work
    restore = is_unsaved(rows)
    rows.read_due.update(rows.aids if restore else ())
    ended: list[Ended] = []
    asked: list[Delivery] = []
    for entry in [rows.entries[seq] for seq in rows.pending]:
        fate = work.fate(entry.delivery)
        if fate == "cancelled":
            ended.append(rows.end(entry, "cancelled", now_s, actor=actor, code="E_USER_STOP"))
        elif fate == "withdrawn" and ask_back(rows, entry, "cancelled"):
            asked.append(entry.delivery)
    draft = _heard_and_lost(session) if work.in_ram == "restored" else None
    rows.live, rows.last_end = None, LastEnd(cause, session.fence, session.holder, draft)
    rows.note("session", cause, now_s, actor=actor)
    return SessionEnded(session, cause, restore, tuple(ended), tuple(asked), draft)


def _heard_and_lost(session: LiveSession) -> str | None:
    """The newest revision that came about and is not what the aids go back to."""
    if not session.heard or session.heard[-1].revision.digests.pair == session.base.digests.pair:
        return None
    return session.heard[-1].revision.revision_id


def leave(
    rows: DeviceRows, now_s: float, *, cause: EndReason, actor: str, fence: int | None, discard: bool
) -> SessionEnded | Refusal | None:
    """See ``DeviceLog.end_session``."""
    if fence is not None and (rows.live is None or rows.live.fence != fence):
        return Refusal(code="fence_stale", message="that session is over")
    return end_session(rows, now_s, cause=cause, actor=actor) if discard or not is_unsaved(rows) else _unsaved()


def lapse(rows: DeviceRows, now_s: float) -> SessionEnded | None:
    """End the live session whose lease was not renewed in time; None when there is none such."""
    lease = live(rows.lease, now_s)
    if rows.live is None or (lease is not None and lease.fence == rows.live.fence):
        return None
    rows.fresh.lease = "ended" if lease is None else None
    return end_session(rows, now_s, cause="lease_lost", actor="server")


def alive(rows: DeviceRows, now_s: float) -> tuple[LiveSession, float] | None:
    """The live session with the seconds that its lease still has; only this feeds a phone's dead-man."""
    lease = live(rows.lease, now_s)
    if rows.live is None or lease is None or lease.fence != rows.live.fence:
        return None
    return rows.live, lease.until_s - now_s


def take_back_rises(rows: DeviceRows, now_s: float, new_id: Callable[[], str]) -> tuple[Withdrawn, ...]:
    """See ``DeviceLog.take_back_rises``."""
    found: list[Withdrawn] = []
    for seq in tuple(rows.pending):
        entry = rows.entries.get(seq)
        if entry is not None and entry.delivery.withdrawn is None and is_rise(entry.delivery):
            found += withdraw(rows, now_s, entry, "cancelled", new_id, code="frozen") or ()
    return tuple(found)


def is_unsaved(rows: DeviceRows) -> bool:
    """Whether the aids may hold what was tried in the session and not saved."""
    return rows.live is not None and (bool(rows.pending) or not rows.truth.is_saved(rows.aids))


def _request(rows: DeviceRows, now_s: float, *, session: str, holder: str) -> Granted | Held:
    ttl_s = rows.limits.lease_ttl_s
    return request(rows.lease, fence=rows.fence, session=session, holder=holder, now_s=now_s, ttl_s=ttl_s)


def _grant(rows: DeviceRows, now_s: float, outcome: Granted) -> LeaseGranted:
    rows.fresh.lease = "live" if outcome.renewed else "ended"
    rows.lease, rows.fence = outcome.lease, outcome.lease.fence
    if outcome.renewed:
        rows.touch()
    else:
        rows.note("lease", "granted", now_s, actor=outcome.lease.holder)
    return LeaseGranted(rows.fence, rows.limits.lease_ttl_s, outcome.renewed)


def _lease_lost() -> Refusal:
    return Refusal(code="lease_lost", message="the lease has ended or is another's, acquire it anew")


def _not_read_back(why: str) -> Refusal:
    return Refusal(code="not_read_back", message=why, retryable=True)


def _unsaved() -> Refusal:
    return Refusal(code="unsaved", message="what was tried is not saved: save it, or say that it may be lost")
