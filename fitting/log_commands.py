"""The calls of a device log as pure steps on one device's rows: what may be done, and what it comes to.

What may follow what is decided in ``delivery`` and ``lease``; here the decisions meet what the log holds. Time and ids
are given, never taken; no store is known. Read ``append`` first, then ``report``.
"""

from collections.abc import Callable
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from protocol.contract.base import Refusal
from protocol.contract.devices import Report
from protocol.errors import BadArgument

from .delivery import Judged, is_end, judge, move
from .lease import live
from .log_pace import hears, is_too_soon
from .log_parts import Entry
from .log_rows import DeviceRows
from .log_settling import MAY_BE_KEPT, after_commit, count_kept, follow_truth, ground, is_kept
from .log_values import (
    Accepted,
    Delivery,
    DeviceHead,
    Ended,
    Moment,
    Proposal,
    Recorded,
    Revision,
    WithdrawCause,
    Withdrawn,
)

__all__ = [
    "OVER_TRIAL",
    "append",
    "ask_back",
    "cancel",
    "expire",
    "fall_away",
    "head",
    "is_not_begun",
    "is_quiet",
    "may_fall_away",
    "next_offer",
    "reoffer",
    "report",
    "revive",
    "shown",
    "waiting",
    "withdraw",
]

NewId = Callable[[], str]
OVER_TRIAL: Final = "over_trial"
"""Why a package waits: the aids play what nobody has saved. It is offered by itself when they do not any more."""
# What brings both ears to one revision again.
_RECONCILES: Final = frozenset({"save", "rollback"})
_NOT_BEGUN: Final = frozenset({"accepted", "offered", "received", "awaiting_install"})
_SUCCESS: Final = frozenset({"confirmed", "active"})
_TOO_MUCH: Final = Refusal(code="overloaded", message="the delivery has had too many reports")


def revive(rows: DeviceRows, now_s: float) -> None:
    """Before any step on rows whose phone another process may carry: what it told may not be written down.

    It may have offered the oldest delivery, which then must not end as one that was never offered, and what the phone
    says of it counts.
    """
    entry = rows.oldest()
    if entry is None or is_too_soon(rows.live, entry.delivery, now_s) or _is_over_a_trial(rows, entry.delivery):
        return
    if rows.attached and not entry.delivery.attempt:
        entry.delivery = replace(move(entry.delivery, "offered"), attempt=1)


def head(rows: DeviceRows, now_s: float, *, key: str | None, request_hash: str | None) -> DeviceHead:
    """See ``DeviceLog.head``."""
    answered = None if key is None else rows.answer_to(key, request_hash)
    # Of live work nobody asks, and it is asked for with every change.
    under = ground(rows) if rows.live is None else None
    return rows.snapshot(now_s, live(rows.lease, now_s), answered, under)


def append(rows: DeviceRows, now_s: float, proposal: Proposal, new_id: NewId) -> Accepted | Refusal:
    """See ``DeviceLog.append``. Raises BadArgument for a proposal that changes no ear."""
    if not proposal.ears:
        raise BadArgument("the change changes nothing")
    answered = rows.answer_to(proposal.key, proposal.request_hash)
    if answered is not None:
        return answered
    if proposal.fence != rows.fence:
        return Refusal(code="fence_stale", message="another lease was granted since, acquire it anew")
    lease = live(rows.lease, now_s)
    if lease is None or lease.holder != proposal.author:
        return Refusal(code="lease_lost", message="the lease has ended or is another's, acquire it anew")
    rows.fresh.lease = "live"
    return _impediment(rows, proposal) or rows.append(proposal, new_id, now_s)


def _impediment(rows: DeviceRows, proposal: Proposal) -> Refusal | None:
    """What the state of the device forbids, whoever asks."""
    if proposal.mode == "advanced" and (rows.live is None or rows.live.fence != proposal.fence):
        return Refusal(code="not_live", message="there is no live session: begin one with SetMode")
    if "locked" in rows.alarms:
        return Refusal(code="locked", message="the aids are not those that were signed for: attach them anew")
    if "split" in rows.alarms and proposal.origin not in _RECONCILES:
        return Refusal(code="split", message="the two ears hold different revisions: save or restore one on both")
    if proposal.expect is None:
        return None
    if rows.pending:
        return Refusal(code="not_confirmed", message="changes are still on their way", retryable=True)
    held = {ear: truth.ram for ear, truth in rows.truth.ears.items()}
    if rows.head is None or not rows.truth.holds(rows.head) or dict(proposal.expect) != held:
        return Refusal(code="base_mismatch", message="the aids hold something else: read them back")
    return None


def fall_away(rows: DeviceRows, now_s: float, *, code: str, actor: str = "server") -> tuple[Ended, ...]:
    """End every live change that was never offered: what it was thought of on is not there any more."""
    waiting = [rows.entries[seq] for seq in rows.pending if rows.entries[seq].delivery.attempt == 0]
    live_ones = [entry for entry in waiting if entry.delivery.mode == "advanced"]
    return tuple(rows.end(entry, "cancelled", now_s, actor=actor, code=code) for entry in live_ones)


def _fall_with(rows: DeviceRows, gone: Revision, now_s: float) -> tuple[Ended, ...]:
    """End what was thought of on a revision that did not come about, and what was thought of on that in turn.

    A package stays that is written over what the aids keep all the same: what has ended was no other than that.
    """
    ended: list[Ended] = []
    lost = {gone.revision_id}
    for entry in [rows.entries[seq] for seq in rows.pending]:
        stays = entry.delivery.mode == "standard" and is_kept(rows, entry.delivery.base)
        if entry.delivery.attempt == 0 and entry.delivery.base.revision_id in lost and not stays:
            lost.add(entry.delivery.revision.revision_id)
            ended.append(rows.end(entry, "cancelled", now_s, code="E_BASE"))
    return tuple(ended)


def next_offer(rows: DeviceRows, now_s: float, generation: int) -> Delivery | None:
    """See ``DeviceLog.next_offer``."""
    entry = rows.oldest()
    if not _carries(rows, generation) or entry is None:
        return None
    if entry.delivery.withdrawn is not None:
        return rows.ask(entry, now_s) if entry.asked_of != generation else None
    if entry.offered_to == generation or _is_too_late(entry, now_s) or is_too_soon(rows.live, entry.delivery, now_s):
        return None
    if _is_over_a_trial(rows, entry.delivery):
        return None
    return rows.offer(entry, now_s)


def expire(rows: DeviceRows, now_s: float, new_id: NewId) -> tuple[Withdrawn, ...]:
    """See ``DeviceLog.expire``."""
    late: list[Withdrawn] = []
    for seq in tuple(rows.pending):
        entry = rows.entries.get(seq)
        if entry is None or now_s < entry.delivery.expires_at_s or entry.delivery.withdrawn is not None:
            continue
        withdrawn = withdraw(rows, now_s, entry, "expired", new_id)
        late += () if withdrawn is None else withdrawn
    return tuple(late)


def cancel(
    rows: DeviceRows, now_s: float, seq: int, actor: str, new_id: NewId, *, epoch: str | None
) -> tuple[Withdrawn, ...] | Refusal:
    """See ``DeviceLog.cancel``."""
    entry = rows.entries.get(seq)
    if entry is None or epoch not in {None, entry.delivery.epoch}:
        return Refusal(code="unknown_delivery", message="no such change is on its way")
    lease = live(rows.lease, now_s)
    if lease is not None and lease.holder != actor:
        # What is taken back may have been to make the aids quieter; whoever works on them now has to know.
        return Refusal(code="lease_lost", message="the lease is another's: steal it, or stop the session")
    withdrawn = withdraw(rows, now_s, entry, "cancelled", new_id, actor=actor)
    if withdrawn is None:
        return Refusal(code="too_late", message="the change has begun: revert it instead")
    return withdrawn


def withdraw(
    rows: DeviceRows,
    now_s: float,
    entry: Entry,
    cause: WithdrawCause,
    new_id: NewId,
    *,
    actor: str = "server",
    code: str | None = None,
) -> tuple[Withdrawn, ...] | None:
    """End what was never offered, with all that was thought of on it; else the phone is asked. None: it has begun."""
    if entry.delivery.attempt == 0:
        ended = rows.end(entry, cause, now_s, actor=actor, code=code)
        others = _after_end(rows, entry, now_s, new_id)
        return tuple(Withdrawn(one.delivery, one) for one in (ended, *others))
    return (Withdrawn(entry.delivery),) if ask_back(rows, entry, cause) else None


def ask_back(rows: DeviceRows, entry: Entry, cause: WithdrawCause) -> bool:
    """Remember that the phone is to be asked not to begin; False when it has begun already."""
    delivery = entry.delivery
    if not is_not_begun(delivery):
        return False
    entry.delivery = replace(delivery, withdrawn=delivery.withdrawn or cause)
    rows.touch()
    return True


def may_fall_away(delivery: Delivery) -> bool:
    """Whether time can still end it, or have the phone asked: not what has begun, nor what was asked for already."""
    return delivery.withdrawn is None and (delivery.attempt == 0 or is_not_begun(delivery))


def is_not_begun(delivery: Delivery) -> bool:
    return all(state in _NOT_BEGUN for state in delivery.ears.values())


def reoffer(rows: DeviceRows, now_s: float, generation: int, older_than_s: float) -> Delivery | None:
    """See ``DeviceLog.reoffer``."""
    entry = rows.oldest()
    if not _carries(rows, generation) or entry is None:
        return None
    is_asked = entry.delivery.withdrawn is not None
    if (entry.asked_of if is_asked else entry.offered_to) != generation or (entry.answered and not is_asked):
        return None
    offered_at_s = entry.delivery.offered_at_s
    if offered_at_s is None or now_s - offered_at_s < older_than_s:
        return None
    return rows.ask(entry, now_s) if is_asked else rows.offer(entry, now_s)


def is_quiet(rows: DeviceRows, generation: int) -> bool:
    """See ``DeviceLog.is_quiet``: neither ``next_offer`` nor ``reoffer`` has anything, whatever time it is."""
    entry = rows.oldest()
    if entry is None or not _carries(rows, generation):
        return True
    return entry.offered_to == generation and entry.answered and entry.delivery.withdrawn is None


def report(
    rows: DeviceRows, now_s: float, told: Report, *, generation: int, new_id: NewId, ended: Delivery | None
) -> Recorded | Refusal:
    """See ``DeviceLog.report``. ``ended`` is the delivery of that number when it has an end already."""
    entry = rows.entries.get(told.seq)
    if entry is None:
        return _of_ended(rows, told, ended)
    if entry.delivery.attempt == 0 or told.epoch != entry.delivery.epoch:
        return _unknown_delivery()
    if generation == entry.offered_to and not entry.answered:
        entry.answered = rows.fresh.is_soft = True
    if (told.ear, told.n, told.state, told.digest) in entry.seen:
        return rows.recorded(entry.delivery, repeated=True)
    judged = judge(entry.delivery, told)
    if not isinstance(judged, Refusal) and judged.delivery is entry.delivery:
        return rows.recorded(entry.delivery, repeated=True)
    if not isinstance(judged, Refusal) and not _is_too_much(rows, entry, judged):
        return _take(rows, now_s, entry, told, judged, new_id=new_id)
    if told.ear is not UNSET and told.state in MAY_BE_KEPT and told.ear not in entry.copied:
        # The aid does not mind what is refused here.
        entry.copied.add(told.ear)
        rows.fresh.is_soft = True
    return judged if isinstance(judged, Refusal) else _TOO_MUCH


def _of_ended(rows: DeviceRows, told: Report, ended: Delivery | None) -> Recorded | Refusal:
    if ended is None or ended.attempt == 0 or told.epoch != ended.epoch:
        return _unknown_delivery()
    judged = judge(ended, told)
    if isinstance(judged, Refusal) and (judged.code != "illegal_report" or is_end(ended.kind, told.state)):
        return judged
    # A phone that answers from its journal tells the way again before the end.
    return rows.recorded(ended, repeated=True)


def _is_too_much(rows: DeviceRows, entry: Entry, judged: Judged) -> bool:
    """Whether it is one report too many; an end of an ear never is."""
    return len(entry.seen) >= rows.limits.max_reports and not is_end(entry.delivery.kind, judged.event)


def _take(rows: DeviceRows, now_s: float, entry: Entry, told: Report, judged: Judged, *, new_id: NewId) -> Recorded:
    entry.seen.add((told.ear, told.n, told.state, told.digest))
    events = rows.record(entry, judged.delivery, now_s, report=told, judged=judged)
    if judged.code == "E_DEVICE":
        rows.truth.unidentified.update(entry.delivery.ears if told.ear is UNSET else (told.ear,))
        rows.alarm("locked", now_s, on=True)
    changed = () if told.ear in rows.fresh.moved_on else rows.truth.learn(entry.delivery, told, now_s)
    others: tuple[Ended, ...] = ()
    if is_end(entry.delivery.kind, entry.delivery.state):
        rows.close(entry)
        others = _after_end(rows, entry, now_s, new_id)
    unproven = any("indeterminate" in other.delivery.ears.values() for other in rows.entries.values())
    rows.alarm("indeterminate", now_s, on=unproven)
    recorded = rows.recorded(entry.delivery, events=events, changed=changed)
    return replace(recorded, others=others, alarm_moves=rows.fresh.alarm_moves())


def _after_end(rows: DeviceRows, entry: Entry, now_s: float, new_id: NewId) -> tuple[Ended, ...]:
    """What an end brings about: what was thought of on something that did not come falls away with it."""
    delivery = entry.delivery
    others: tuple[Ended, ...] = ()
    if delivery.code == "poison":
        rows.alarm("poison", now_s, on=False)
    if delivery.state not in _SUCCESS:
        others = _fall_with(rows, delivery.revision, now_s)
    if delivery.state == "confirmed" and rows.live is not None:
        rows.live = hears(rows.live, Moment(now_s, delivery.revision))
    if delivery.kind == "persist":
        after_commit(rows, entry, now_s, new_id)
    elif delivery.state == "confirmed" and delivery.revision.origin == "first_fit":
        rows.counts_from(delivery.revision, now_s, new_id)
    if not rows.pending:
        # The head may be a later change that was taken back meanwhile.
        follow_truth(rows, rows.head or delivery.revision, now_s, new_id)
        if delivery.kind == "persist" and delivery.state not in _SUCCESS and rows.head is not None:
            # What was read while it was on its way was not counted then.
            count_kept(rows, rows.head, now_s, new_id)
    return others


def _is_over_a_trial(rows: DeviceRows, delivery: Delivery) -> bool:
    """Whether a package would come over what a session has left in RAM: it waits until the aids play what they keep.

    Not for what its wearer wants back: a phone lets that take the place of what nobody has saved.
    """
    if delivery.mode != "standard" or delivery.attempt or delivery.seq == rows.wish:
        return False
    return not rows.truth.is_saved(rows.aids)


def shown(rows: DeviceRows, delivery: Delivery) -> Delivery:
    """A delivery without an end as others see it: with the reason why it is not offered, where there is one."""
    waits = delivery.withdrawn is None and _is_over_a_trial(rows, delivery)
    return replace(delivery, code=OVER_TRIAL) if waits else delivery


def waiting(rows: DeviceRows, seq: int) -> Delivery | None:
    """``shown`` of a number, None when that has an end or never was."""
    entry = rows.entries.get(seq)
    return None if entry is None else shown(rows, entry.delivery)


def _carries(rows: DeviceRows, generation: int) -> bool:
    return rows.attached and rows.generation == generation


def _is_too_late(entry: Entry, now_s: float) -> bool:
    """Once offered, only the phone can tell whether it is too late."""
    return entry.delivery.attempt == 0 and now_s >= entry.delivery.expires_at_s


def _unknown_delivery() -> Refusal:
    return Refusal(code="unknown_delivery", message="no such delivery was ever offered")
