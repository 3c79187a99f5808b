"""A server as the contract describes it, small: a log per device, fences, keys, generations, an audit chain.

What it keeps survives ``crash``, whom it is connected to does not. Read ``FakeServer.submit`` first.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.fake.mutations import Mutation
from tests.chaos.story import ENDS

__all__ = ["FakeServer", "Refused", "Row", "Shelf", "digest_of"]

EARS: Final = ("right", "left")
LEASE_TICKS: Final = 60
SLEPT_TICKS: Final = 20


class Refused(Exception):
    """The domain said no; the text is the code."""


def digest_of(*parts: object) -> str:
    """A stand-in for the digest of a configuration: different words, different digests."""
    return "sha256:" + hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


@dataclass(slots=True)
class Row:
    """One delivery. ``offered_to``: the generation that it was offered to last."""

    seq: int
    rev: str
    request: dict[str, Any]
    base: dict[str, str]
    digests: dict[str, str]
    expires_at: float
    state: str = "accepted"
    attempt: int = 0
    offered_to: int = 0
    ears: dict[str, str] = field(default_factory=dict)
    is_lost: bool = False

    @property
    def is_open(self) -> bool:
        return self.state not in ENDS[self.request["kind"]]


@dataclass(slots=True)
class Shelf:
    """What is kept of one device. ``conn`` is the generation that is connected, None for none."""

    device: str
    rows: dict[int, Row] = field(default_factory=dict)
    queue: list[Row] = field(default_factory=list)
    keys: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    audit: list[dict[str, Any]] = field(default_factory=list)
    in_aid: dict[str, dict[str, str]] = field(default_factory=dict)
    head: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    last_seq: int = 0
    stashed_seq: int = 0
    fence: int = 0
    holder: tuple[str, str] | None = None
    lease_until: float = 0.0
    granted_at: float = 0.0
    generation: int = 0
    conn: int | None = None
    replaced: int | None = None

    def open_rows(self) -> list[Row]:
        """The oldest first."""
        self.queue = [row for row in self.queue if row.is_open and not row.is_lost]
        return self.queue


class FakeServer:
    """``strikes`` says whether a seeded bug strikes now; ``now`` is in ticks."""

    def __init__(self, strikes: Callable[[Mutation], bool], now: Callable[[], float]) -> None:
        self.strikes, self.now = strikes, now
        self.shelves: dict[str, Shelf] = {}
        self.epoch = "e1"
        self.log_text = ""
        self._uncommitted: list[tuple[Shelf, Row]] = []

    def crash(self) -> None:
        """Connections are gone; what was not committed is gone."""
        for shelf, row in self._uncommitted:
            if row.is_open and row.attempt == 0:
                shelf.rows.pop(row.seq, None)
                shelf.queue = [each for each in shelf.queue if each is not row]
        self._uncommitted.clear()
        for shelf in self.shelves.values():
            shelf.conn = shelf.replaced = None
            if self.strikes(Mutation.REUSE_A_SEQ_AFTER_RESTART):
                shelf.last_seq = max(0, shelf.last_seq - 1)

    def acquire(self, device: str, holder: tuple[str, str], *, steal: bool) -> int:
        """The fence. Raises Refused."""
        shelf = self.shelves[device]
        live = shelf.holder if self.now() < shelf.lease_until else None
        if live == holder:
            shelf.lease_until = self.now() + LEASE_TICKS
            return shelf.fence
        if live is not None and not steal:
            raise Refused("lease_held")
        if not (shelf.fence and self.strikes(Mutation.GRANT_ONE_FENCE_TWICE)):
            shelf.fence += 1
            self._record(shelf, "grant", fence=shelf.fence)
        shelf.holder, shelf.lease_until = holder, self.now() + LEASE_TICKS
        shelf.granted_at = self.now()
        return shelf.fence

    def submit(self, device: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a change. Raises Refused."""
        shelf = self.shelves[device]
        known = shelf.keys.get(request["idem"])
        if known is not None and not self.strikes(Mutation.FORGET_A_KEY):
            if known[0] != request["request"]:
                raise Refused("idempotency_conflict")
            return known[1]
        is_package = request["mode"] == "standard"
        is_old = request["fence"] != shelf.fence or self.now() >= shelf.lease_until
        if is_old and not is_package and not self._obeys_an_old_one(shelf, request):
            raise Refused("fence_stale")
        if is_package:
            self._make_room(shelf)
        row = self._append(shelf, request)
        answer = {"epoch": self.epoch, "seq": row.seq, "rev": row.rev, "digests": row.digests}
        shelf.keys[request["idem"]] = (request["request"], answer)
        if self.strikes(Mutation.LEAK_A_CANARY):
            self.log_text += f'{{"event": "accepted", "device": "{device}"}}\n'
        return answer

    def _obeys_an_old_one(self, shelf: Shelf, request: dict[str, Any]) -> bool:
        """A bug. A pod that slept through a grant finds what it was asked before."""
        if request["fence"] == shelf.fence - 1 and self.now() - shelf.granted_at < SLEPT_TICKS:
            return self.strikes(Mutation.ACCEPT_FROM_A_POD_THAT_SLEPT)
        return self.strikes(Mutation.ACCEPT_AN_OLD_FENCE)

    def _make_room(self, shelf: Shelf) -> None:
        """A newer package takes the place of the one that nobody has seen yet."""
        last = next(reversed(shelf.open_rows()), None)
        if last is None or last.state != "accepted" or last.request["mode"] != "standard":
            return
        self._end(shelf, last, "superseded")
        shelf.head = dict(last.base)
        if self.strikes(Mutation.RESURRECT_A_SUPERSEDED_ONE):
            last.state = "accepted"

    def _append(self, shelf: Shelf, request: dict[str, Any]) -> Row:
        if shelf.stashed_seq:
            seq, shelf.stashed_seq = shelf.stashed_seq, 0
        elif self.strikes(Mutation.ALLOT_BACKWARDS):
            shelf.stashed_seq, seq = shelf.last_seq + 1, shelf.last_seq + 2
            shelf.last_seq = seq
        else:
            seq = shelf.last_seq = shelf.last_seq + 1
        changed = {ear: digest_of(shelf.device, request["idem"], ear) for ear in request["ears"]}
        digests = shelf.head | changed
        expires_at = self.now() + request["expires_in"]
        rev = digest_of("rev", shelf.device, seq, request["idem"])[7:19]
        row = Row(seq, rev, request, dict(shelf.head), digests, expires_at, ears=dict.fromkeys(changed, "accepted"))
        shelf.rows[seq], shelf.head = row, digests
        shelf.queue = sorted((*shelf.open_rows(), row), key=lambda each: each.seq)
        if self.strikes(Mutation.ACK_BEFORE_COMMIT):
            self._uncommitted.append((shelf, row))
        self._record(shelf, "delivery", seq=seq, state="accepted")
        return row

    def cancel(self, device: str, seq: int) -> str:
        """The state after it. Raises Refused for what was offered already."""
        row = self.shelves[device].rows.get(seq)
        if row is None or row.state != "accepted":
            raise Refused("too_late")
        self._end(self.shelves[device], row, "cancelled")
        return row.state

    def attach(self, device: str) -> dict[str, Any]:
        """A phone says hello: one generation more."""
        shelf = self.shelves[device]
        shelf.replaced = shelf.conn
        # A bug: two pods that each count for themselves.
        shelf.generation += not (shelf.generation and self.strikes(Mutation.COUNT_ATTACHMENTS_APART))
        shelf.conn = shelf.generation
        return {"epoch": self.epoch, "from_seq": self._after(shelf) + 1, "gen": shelf.generation, "resume": "ok"}

    def next_offer(self, shelf: Shelf) -> tuple[Row, int] | None:
        """The row to offer now and to which generation; the oldest without an end, once per generation."""
        if shelf.conn is None:
            return None
        rows = shelf.open_rows()
        for row in rows[:1]:
            if row.state == "accepted" and self.now() > row.expires_at:
                self._end(shelf, row, "expired")
                if not self.strikes(Mutation.RESURRECT_AN_EXPIRED_ONE):
                    return None
        if len(rows) > 1 and self.strikes(Mutation.SWAP_TWO_SEQS):
            rows = rows[::-1]
        if not rows or rows[0].offered_to == shelf.conn:
            return None
        row = rows[0]
        if row.state == "accepted":
            row.state = "offered"
            self._record(shelf, "delivery", seq=row.seq, state="offered")
        row.offered_to, row.attempt = shelf.conn, row.attempt + 1
        if self.strikes(Mutation.DROP_AN_OFFER):
            row.is_lost = True
            return None
        return row, shelf.conn

    def offer(self, shelf: Shelf, row: Row, gen: int) -> dict[str, Any]:
        """The frame."""
        return {
            "epoch": self.epoch, "seq": row.seq, "after": self._after(shelf), "attempt": row.attempt, "rev": row.rev,
            "fence": row.request["fence"] or 0, "gen": gen, "device": shelf.device, "owners": [shelf.device],
            "kind": row.request["kind"], "mode": row.request["mode"], "base": row.base, "expect": row.digests,
            "ears": list(row.ears), "poison": row.request["poison"],
        }  # fmt: skip

    def report(self, device: str, report: dict[str, Any]) -> bool:
        """Record what the phone did; whether the delivery has ended."""
        shelf = self.shelves[device]
        row = shelf.rows.get(report["seq"])
        if row is None or not row.is_open or report["ear"] not in row.ears:
            return row is not None and not row.is_open
        if row.ears[report["ear"]] not in ENDS[row.request["kind"]]:
            row.ears[report["ear"]] = report["state"]
        for ear, memories in report["held"].items():
            shelf.in_aid[ear] = dict(memories)
        if all(state in ENDS[row.request["kind"]] for state in row.ears.values()):
            unhappy = [state for state in row.ears.values() if state not in {"confirmed", "active"}]
            self._end(shelf, row, (unhappy or [report["state"]])[0])
            if unhappy:
                shelf.head = {ear: shelf.in_aid[ear]["ram"] for ear in EARS}
        return not row.is_open

    def _after(self, shelf: Shelf) -> int:
        first = next(iter(shelf.open_rows()), None)
        return shelf.last_seq if first is None else first.seq - 1

    def _end(self, shelf: Shelf, row: Row, state: str) -> None:
        row.state = state
        self._record(shelf, "delivery", seq=row.seq, state=state, is_end=True)

    def _record(self, shelf: Shelf, kind: str, /, **values: Any) -> None:
        last: dict[str, Any] = shelf.audit[-1] if shelf.audit else {"n": 0, "hash": ""}
        content = json.dumps({"kind": kind, **values}, sort_keys=True)
        digest = hashlib.sha256((last["hash"] + content).encode()).hexdigest()
        event = {"n": last["n"] + 1, "kind": kind, **values, "prev": last["hash"], "hash": digest, "computed": digest}
        if self.strikes(Mutation.BREAK_THE_CHAIN):
            event["hash"] = digest_of("another")
        shelf.audit.append(event)
        if self.strikes(Mutation.LOSE_AN_AUDIT_ROW):
            # Somebody deletes the row before the newest one later; the newest keeps the chain's head intact.
            shelf.audit[-2:-1] = []
