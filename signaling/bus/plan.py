"""Which server carries which channel, made of what the servers say of themselves. Pure.

Read ``Plan`` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .address import Node

__all__ = ["Plan", "Seen", "plan_of_one", "plan_of_slots", "seen"]

_SHARDED_SINCE = 7
# By then one of the channels is of any server that has more than a slot or two.
_TRIAL_NAMES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server is: in a cluster or not, and whether it knows sharded messages."""

    is_cluster: bool
    is_sharded: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """``nodes`` are the servers that channels are spread over; ``slots`` gives the place in them of each hash slot.

    Empty ``slots``: the first node carries everything. ``by_slot``: one command must not name channels of several
    slots.
    """

    nodes: tuple[Node, ...]
    is_sharded: bool
    slots: tuple[int, ...] = ()

    @property
    def by_slot(self) -> bool:
        """See ``Plan``."""
        return bool(self.slots)

    def node_of(self, channel: bytes, slot_of: Callable[[bytes], int]) -> Node:
        """The server that carries a channel."""
        return self.nodes[self.slots[slot_of(channel)]] if self.slots else self.nodes[0]

    def trial_of(self, node: Node, prefix: str, slot_of: Callable[[bytes], int]) -> bytes | None:
        """A channel of a server to which nobody listens; None for one that has hardly a slot."""
        names = (f"{prefix}:trial:{number}".encode() for number in range(_TRIAL_NAMES))
        return next((name for name in names if self.node_of(name, slot_of) == node), None)


def seen(info: bytes) -> Seen:
    """Read the ``server`` section of INFO. Valkey calls itself Redis 7.2, and its mode by another name."""
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    said = {name: value.strip() for name, _, value in lines}
    major = said.get("redis_version", "").partition(".")[0]
    return Seen(
        is_cluster="cluster" in (said.get("redis_mode"), said.get("server_mode")),
        is_sharded=major.isdecimal() and int(major) >= _SHARDED_SINCE,
    )


def plan_of_one(node: Node, *, is_sharded: bool) -> Plan:
    """One server carries everything."""
    return Plan((node,), is_sharded)


def plan_of_slots(reply: Sequence[Any], asked: Node, slot_count: int) -> Plan | None:
    """Read the answer to CLUSTER SLOTS of the node that was ``asked``; None while some slots are nobody's."""
    nodes: dict[Node, int] = {}
    slots = [-1] * slot_count
    for first, last, primary, *_ in reply:
        # A node that does not know its own name says nothing: it is the one that was asked.
        node = Node((primary[0] or b"").decode() or asked.host, int(primary[1]))
        place = nodes.setdefault(node, len(nodes))
        slots[first : last + 1] = [place] * (last + 1 - first)
    return None if -1 in slots else Plan(tuple(nodes), is_sharded=True, slots=tuple(slots))
