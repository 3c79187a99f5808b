"""Packages in a device's log: what waits for a phone that may be asleep, and what it gives way to.

A package is a ``persist`` delivery in Standard mode. It needs no lease, is written over what the aids keep, and never
stands in the way: a newer one takes its place, and live work does. A lease alone keeps no wearer from taking one back.
Time and ids are given, no store is known. Read ``append_package`` first.
"""

import math
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from protocol.contract.base import Refusal
from protocol.errors import BadArgument

from .lease import live
from .log_commands import ask_back, is_not_begun, withdraw
from .log_parts import OutboxItem
from .log_rows import DeviceRows
from .log_sessions import unready
from .log_settling import ground, held_last, is_kept, packages
from .log_values import Accepted, Delivery, Proposal, Withdrawn

__all__ = [
    "NOT_WORN",
    "TAKEN_BACK",
    "answer_question",
    "append_package",
    "ask_question",
    "make_way",
    "take_back_package",
]


# What its wearer may say of a package at any time, once.
TAKEN_BACK: Final = "undone"
NOT_WORN: Final = Refusal(code="not_worn", message="that package is not what the aids keep")


def append_package(rows: DeviceRows, now_s: float, proposal: Proposal, new_id: Callable[[], str]) -> Accepted | Refusal:
    """See ``DeviceLog.append``: the next seq, and a push that points to it. What waits of earlier packages gives way.

    Refused: ``lease_held`` while another has the device (retryable; not for what its wearer wants back), ``in_session``
    while somebody works live, ``locked``, ``split``, ``not_confirmed`` while something is being written (retryable),
    ``not_read_back`` when it is not known what the aids keep (retryable), ``base_mismatch`` when that is something else
    than was judged, and as ``DeviceRows.append``. Raises BadArgument for one that changes no ear.
    """
    if not proposal.ears:
        raise BadArgument("the change changes nothing")
    answered = rows.answer_to(proposal.key, proposal.request_hash)
    if answered is not None:
        return answered
    refusal = _busy(rows, now_s, proposal) or _disordered(rows, proposal)
    if refusal is not None:
        return refusal
    under = ground(rows)
    if under is None:
        return Refusal(code="not_read_back", message="what the aids keep is not known", retryable=True)
    if under.revision_id != proposal.ground:
        return Refusal(code="base_mismatch", message="the aids keep something else by now, read the head again")
    accepted = rows.append(proposal, new_id, now_s, under=under)
    if isinstance(accepted, Refusal):
        return accepted
    for entry in packages(rows):
        if entry.delivery.seq != accepted.seq:
            ask_back(rows, entry, "superseded")
    rows.fresh.outbox.append(OutboxItem("push", accepted.seq, now_s))
    return accepted


def make_way(
    rows: DeviceRows, now_s: float, new_id: Callable[[], str], *, fence: int, holder: str
) -> tuple[Withdrawn, ...] | Refusal:
    """See ``DeviceLog.make_way``."""
    refusal = unready(rows, live(rows.lease, now_s), fence=fence, holder=holder)
    if refusal is not None:
        return refusal
    found: list[Withdrawn] = []
    for entry in packages(rows):
        if entry.delivery.seq in rows.entries and entry.delivery.withdrawn is None:
            found += withdraw(rows, now_s, entry, "superseded", new_id) or ()
    return tuple(found)


def take_back_package(
    rows: DeviceRows, now_s: float, new_id: Callable[[], str], *, seq: int, code: str
) -> tuple[Withdrawn, ...]:
    """See ``DeviceLog.take_back_package``."""
    entry = rows.entries.get(seq)
    if entry is None or entry.delivery.mode != "standard" or entry.delivery.withdrawn is not None:
        return ()
    found = withdraw(rows, now_s, entry, "cancelled", new_id, code=code)
    if found and found[0].ended is None:
        entry.delivery = replace(entry.delivery, code=code)
        return (Withdrawn(entry.delivery),)
    return found or ()


def ask_question(rows: DeviceRows, now_s: float, asked: Delivery) -> Refusal | None:
    """See ``DeviceLog.ask_question``: only of what is still worn."""
    worn = held_last(rows)
    if worn is None or worn.digests.pair != asked.revision.digests.pair:
        return NOT_WORN
    if rows.live is not None or rows.pending:
        return Refusal(code="not_confirmed", message="what the aids keep may just change", retryable=True)
    if not is_kept(rows, asked.revision):
        return NOT_WORN
    if rows.question != asked.seq:
        rows.question = asked.seq
        rows.note("device", "question", now_s, actor="server", seq=asked.seq)
    return None


def answer_question(
    rows: DeviceRows, now_s: float, seq: int, *, state: str, actor: str, text: str | None, wish: int | None
) -> bool:
    """See ``DeviceLog.answer_question``."""
    if state == TAKEN_BACK:
        if wish is not None and rows.wish != wish:
            rows.wish = wish
            rows.touch()
        if rows.taken_back == seq:
            return True
        rows.taken_back = seq
    elif rows.question != seq:
        return False
    rows.question = None
    rows.note("device", state, now_s, actor=actor, text=text, seq=seq)
    return True


def _busy(rows: DeviceRows, now_s: float, proposal: Proposal) -> Refusal | None:
    if rows.live is not None:
        return Refusal(code="in_session", message="somebody works on the aids live; Save keeps what was tried")
    lease = live(rows.lease, now_s)
    if lease is None or lease.holder == proposal.author or proposal.is_wish:
        return None
    return Refusal(
        code="lease_held",
        message="another session is fitting this device",
        retryable=True,
        retry_after_ms=math.ceil((lease.until_s - now_s) * 1_000),
    )


def _disordered(rows: DeviceRows, proposal: Proposal) -> Refusal | None:
    if "locked" in rows.alarms:
        return Refusal(code="locked", message="the aids are not those that were signed for: attach them anew")
    if "split" in rows.alarms and proposal.origin != "rollback":
        return Refusal(code="split", message="the two ears hold different revisions: save or restore one on both")
    for entry in rows.entries.values():
        if entry.delivery.mode != "standard" or not is_not_begun(entry.delivery):
            return Refusal(code="not_confirmed", message="a change is being written", retryable=True)
    return None
