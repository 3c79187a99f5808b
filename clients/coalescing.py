"""Slider moves joined into few patches: what is sent when, and what waits. Pure: time is an argument.

A dragged slider moves a hundred times a second, an aid takes a few writes; whoever sent every move would see the sound
trail behind the hand. So moves are joined for a while, the newest value of a leaf wins, one patch is in flight at a
time, and what comes meanwhile waits as one. The joined patch does to any content what the moves do one by one. It must
not know hubs. Read ``Moves.moved`` first, then ``Moves.taken``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypeAlias

from msgspec import UNSET
from msgspec.structs import replace as struct_replace

from protocol.contract.base import Ear
from protocol.contract.fitting import Patch, PatchOp, Path
from protocol.errors import BadArgument, Overloaded

__all__ = ["Moves", "Pace"]

_Leaf: TypeAlias = tuple[int, Ear, Path, int | None]
_NOTHING: Final[Mapping[_Leaf, PatchOp]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Pace:
    """``join_s``: how long moves are joined before they are sent, in seconds. ``max_per_s``: patches a second.

    ``max_ops``: operations of one patch. ``max_leaves``: different leaves that wait at once.
    """

    join_s: float = 0.25
    max_per_s: int = 4
    max_ops: int = 160
    max_leaves: int = 4_096


@dataclass(frozen=True, slots=True)
class Moves:
    """What waits for one device. ``since_s``: when the oldest waiting move came; None while nothing waits."""

    pace: Pace = Pace()
    waiting: Mapping[_Leaf, PatchOp] = field(default_factory=lambda: _NOTHING)
    since_s: float | None = None
    sent_at_s: float | None = None
    in_flight: bool = False

    def moved(self, patch: Patch, now_s: float) -> "Moves":
        """One more move.

        Raises:
            BadArgument: something is to be added to what is no number.
            Overloaded: too many different leaves wait.
        """
        waiting = dict(self.waiting)
        for op in patch.ops:
            leaf = _leaf(patch.slot, op)
            waiting[leaf] = _joined(waiting.get(leaf), op)
        if len(waiting) > self.pace.max_leaves:
            raise Overloaded(f"{self.pace.max_leaves} values wait to be sent already")
        return replace(self, waiting=waiting, since_s=now_s if self.since_s is None else self.since_s)

    @property
    def due_s(self) -> float | None:
        """When the next patch is to be sent; None while nothing waits, or something is in flight."""
        if self.since_s is None or self.in_flight:
            return None
        joined_s = self.since_s + self.pace.join_s
        return joined_s if self.sent_at_s is None else max(joined_s, self.sent_at_s + 1 / self.pace.max_per_s)

    def taken(self, now_s: float) -> tuple[Patch | None, "Moves"]:
        """The patch to send now, None when none is due; then it is in flight until ``settled``.

        It is of one slot, and the values of one ear and band are never torn apart; the rest waits on. What adds up to
        nothing is not sent.
        """
        due_s = self.due_s
        if due_s is None or now_s < due_s:
            return None, self
        chosen = self._chosen()
        rest = {leaf: op for leaf, op in self.waiting.items() if leaf not in chosen}
        ops = tuple(op for op in chosen.values() if not _is_nothing(op))
        after = replace(self, waiting=rest, since_s=self.since_s if rest else None)
        if not ops:
            return after.taken(now_s) if rest else (None, after)
        slot = next(iter(chosen))[0]
        return Patch(slot=slot, ops=ops), replace(after, sent_at_s=now_s, in_flight=True)

    def settled(self) -> "Moves":
        """What was in flight has come to its end."""
        return replace(self, in_flight=False)

    def _chosen(self) -> dict[_Leaf, PatchOp]:
        """The oldest leaves of one slot, as many as a patch may have, band by band."""
        first_slot = next(iter(self.waiting))[0]
        bands: dict[tuple[Ear, int | None], dict[_Leaf, PatchOp]] = {}
        for leaf, op in self.waiting.items():
            slot, ear, _, band = leaf
            if slot == first_slot:
                bands.setdefault((ear, band), {})[leaf] = op
        chosen: dict[_Leaf, PatchOp] = {}
        for ops in bands.values():
            if chosen and len(chosen) + len(ops) > self.pace.max_ops:
                break
            chosen |= ops
        return chosen


def _leaf(slot: int, op: PatchOp) -> _Leaf:
    return slot, op.ear, op.path, None if op.band is UNSET else op.band


def _joined(earlier: PatchOp | None, op: PatchOp) -> PatchOp:
    """One operation that does what both do in turn."""
    if op.op == "set":
        return op
    known = 0 if earlier is None else earlier.value
    # A bool is an int to Python, but never a level.
    if isinstance(known, str) or isinstance(op.value, bool) or not isinstance(op.value, int):
        raise BadArgument(f"{op.path}: only tenths of a decibel can be added")
    return op if earlier is None else struct_replace(earlier, value=known + op.value)


def _is_nothing(op: PatchOp) -> bool:
    return op.op == "add" and op.value == 0
