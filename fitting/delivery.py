"""One delivery as a state table, per ear; a pair is where its least advanced ear is.

The states are the contract's. An event is the state that somebody claims: the server offers, expires,
supersedes and cancels, everything else is the phone's word. A phone that answers from its journal may
skip steps; nothing goes back, and nothing leaves an end. This module must not know where a delivery is
kept. Read ``TRANSITIONS`` first, then ``judge``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from protocol.contract.base import Ear, Refusal
from protocol.contract.devices import DeliveryState, Report
from protocol.contract.fitting import DeliveryKind, Digests

from .log_values import Delivery

__all__ = [
    "ENDS",
    "TRANSITIONS",
    "Judged",
    "digest_of",
    "is_end",
    "judge",
    "move",
    "pair_state",
    "step",
]

_Row = Mapping[DeliveryState, DeliveryState]


def _row(state: DeliveryState, *events: DeliveryState) -> _Row:
    """A row of an offered ear: each event leads to the state that it names.

    A re-offer after a reconnect, and the phone's word that it has it, change nothing: what has begun has
    begun.
    """
    return MappingProxyType({"offered": state, "received": state, **{event: event for event in events}})


def _unproven(*events: DeliveryState) -> _Row:
    """The row of ``indeterminate``: going on proves nothing, only a read-back leads out."""
    return MappingProxyType({**_row("indeterminate", *events), "writing": "indeterminate"})


_WITHDRAWN: Final[tuple[DeliveryState, ...]] = ("superseded", "expired", "cancelled")
_OUTCOMES: Final[tuple[DeliveryState, ...]] = ("confirmed", "rolled_back", "failed", "indeterminate")
_END: Final[_Row] = MappingProxyType({})
_ENDED: Final[Mapping[DeliveryState, _Row]] = dict.fromkeys(
    (*_WITHDRAWN, "rejected", "declined", "rolled_back", "failed"), _END
)
_ACCEPTED: Final[_Row] = MappingProxyType({event: event for event in ("offered", *_WITHDRAWN)})

_VOLATILE: Final[Mapping[DeliveryState, _Row]] = {
    **_ENDED,
    "accepted": _ACCEPTED,
    "offered": _row("offered", "received", "writing", "rejected", "declined", *_OUTCOMES, *_WITHDRAWN),
    "received": _row("received", "writing", "rejected", "declined", *_OUTCOMES, *_WITHDRAWN),
    "writing": _row("writing", *_OUTCOMES),
    "indeterminate": _unproven("confirmed", "rolled_back", "failed"),
    "confirmed": _END,
}
_PERSIST: Final[Mapping[DeliveryState, _Row]] = {
    **_ENDED,
    "accepted": _ACCEPTED,
    "offered": _row(
        *("offered", "received", "awaiting_install", "writing", "committing", "active"),
        *("rejected", "declined", *_OUTCOMES, *_WITHDRAWN),
    ),
    "received": _row(
        *("received", "awaiting_install", "writing", "committing", "active"),
        *("rejected", "declined", *_OUTCOMES, *_WITHDRAWN),
    ),
    "awaiting_install": _row(
        *("awaiting_install", "writing", "committing", "active"),
        *("rejected", "declined", *_OUTCOMES, *_WITHDRAWN),
    ),
    "writing": _row("writing", "committing", "active", *_OUTCOMES),
    "confirmed": _row("confirmed", "committing", "active", "rolled_back", "failed", "indeterminate"),
    "committing": _row("committing", "active", "rolled_back", "failed", "indeterminate"),
    "indeterminate": _unproven("confirmed", "active", "rolled_back", "failed"),
    "active": _END,
}
TRANSITIONS: Final[Mapping[DeliveryKind, Mapping[DeliveryState, _Row]]] = MappingProxyType(
    {"volatile": _VOLATILE, "persist": _PERSIST}
)
ENDS: Final[Mapping[DeliveryKind, frozenset[DeliveryState]]] = MappingProxyType(
    {kind: frozenset(state for state, row in table.items() if not row) for kind, table in TRANSITIONS.items()}
)

# From the least advanced on; between ends, the worst comes first.
_ORDER: Final[tuple[DeliveryState, ...]] = (
    *("accepted", "offered", "received", "awaiting_install", "writing", "indeterminate"),
    *("failed", "rolled_back", "rejected", "declined", "cancelled", "superseded", "expired"),
    *("confirmed", "committing", "active"),
)
# Reports that may speak of the whole offer at once.
_WHOLE: Final = frozenset({"received", "rejected", "failed"})


def is_end(kind: DeliveryKind, state: DeliveryState) -> bool:
    """Whether a delivery of that kind stays in that state for ever."""
    return state in ENDS[kind]


def step(kind: DeliveryKind, state: DeliveryState, event: DeliveryState) -> DeliveryState | None:
    """The state of one ear after an event, None when the table forbids it."""
    return TRANSITIONS[kind].get(state, _END).get(event)


def pair_state(kind: DeliveryKind, ears: Iterable[DeliveryState]) -> DeliveryState:
    """Where the pair is: at its least advanced ear without an end, else at the worst end."""
    states = tuple(ears)
    unended = tuple(state for state in states if not is_end(kind, state))
    return min(unended or states, key=_ORDER.index)


def move(delivery: Delivery, event: DeliveryState) -> Delivery:
    """The delivery after the server's event on every ear without an end; ears that forbid it stay."""
    ears = {ear: step(delivery.kind, state, event) or state for ear, state in delivery.ears.items()}
    return replace(delivery, ears=ears, state=pair_state(delivery.kind, ears.values()))


@dataclass(frozen=True, slots=True)
class Judged:
    """A report as it counts: the delivery after it, and the event that was taken, which may not be its claim."""

    delivery: Delivery
    event: DeliveryState
    code: str | None


_BEGUN: Final = ("writing", "indeterminate")


def judge(delivery: Delivery, report: Report) -> Judged | Refusal:
    """What a report makes of a delivery; an unchanged delivery means that it was known already.

    Refused: ``wrong_ear``, ``illegal_report``. A ``confirmed`` without the expected digest is no proof: it
    counts as ``failed`` with ``E_READBACK``; so does an ``active`` that is not of NVM, with ``E_NVM``. A ``rejected``
    of a begun write counts as ``failed``.
    """
    ears = _ears_meant(delivery, report)
    if isinstance(ears, Refusal):
        return ears
    event: DeliveryState = report.state
    code = None if report.code is UNSET else report.code
    is_expected = report.digest == digest_of(delivery.revision.digests, ears[0])
    if event == "confirmed" and not is_expected:
        event, code = "failed", "E_READBACK"
    # RAM is what the wearer hears now, not what is there after the next start.
    if event == "active" and delivery.kind == "persist" and not (is_expected and report.source == "nvm"):
        event, code = "failed", "E_NVM"
    states = dict(delivery.ears)
    for ear in ears:
        # A phone that has lost its journal refuses what it had begun: something may be in the aid.
        each: DeliveryState = "failed" if event == "rejected" and states[ear] in _BEGUN else event
        after = step(delivery.kind, states[ear], each)
        if after is None and states[ear] != each:
            text = f"{each} cannot follow {states[ear]} in a {delivery.kind} delivery"
            return Refusal(code="illegal_report", message=text, ear=ear)
        states[ear] = after or states[ear]
    moved = replace(
        delivery,
        ears=states,
        state=pair_state(delivery.kind, states.values()),
        code=delivery.code if code is None else code,
    )
    return Judged(delivery if states == delivery.ears else moved, event, code)


def _ears_meant(delivery: Delivery, report: Report) -> tuple[Ear, ...] | Refusal:
    if report.ear is not UNSET:
        if report.ear in delivery.ears:
            return (report.ear,)
        return Refusal(code="wrong_ear", message="the delivery does not change that ear", ear=report.ear)
    if report.state not in _WHOLE:
        return Refusal(code="wrong_ear", message=f"{report.state} needs the ear that it is true of")
    unended = tuple(ear for ear, state in delivery.ears.items() if not is_end(delivery.kind, state))
    return unended or tuple(delivery.ears)


def digest_of(digests: Digests, ear: Ear) -> str | None:
    """One ear's digest, None when that ear wears no aid."""
    digest = digests.right if ear == "right" else digests.left
    return None if digest is UNSET else digest
