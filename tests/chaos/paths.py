"""What a client's calls went through, and what of it was broken when: by the history alone.

A fault is on the path of a client when it is of that client's own network, of a pod that the client hung on, or of the
database. That is the pod that its link goes to and the one that has its connection, which is another when the first
cannot be found by others just then. The bus is on nobody's path: whatever becomes of it, nobody is to notice. Read
``Paths.broken`` first.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Final

from msgspec import structs

from tests.chaos.history import Event

__all__ = ["ALL", "BUS_LANE", "Fault", "Paths", "is_of_bus"]

BUS_LANE: Final = "bus"
# Of everybody at once.
ALL: Final = frozenset({"crowd", "database"})
# With which a client tells its connection.
LINKS: Final = frozenset({"linked", "hello", "resume_open"})
# That a process has ended is told when it is buried: its clients may know, and tell what they lost, a little sooner.
BURIED: Final = "server_gone"
BURIED_WITHIN_NS: Final = 1_000_000_000
# How late a machine is is told when so much time, and what it was late by, is over.
LAG_NS: Final = 1_000_000_000
MS_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault as the history tells it; ``until`` is infinite when it never tells of its end."""

    event: Event
    until: float

    @property
    def lane(self) -> str:
        """Whose it was."""
        return str(self.event.v["lane"])


def is_of_bus(event: Event) -> bool:
    """Whether a fault leaves all but the bus as it is."""
    kind, value = str(event.v["fault"]), str(event.v.get("value", ""))
    return event.v["lane"] == BUS_LANE or kind.startswith("resume_") or (kind[:5], value[:3]) == ("edge_", "bus")


class Paths:
    """Of one history."""

    def __init__(self, history: Iterable[Event]) -> None:
        self.faults: list[Fault] = []
        self._routes: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._linked: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._homes: dict[str, str] = {}
        self._lags: list[tuple[int, int]] = []
        self._late: dict[str, list[tuple[int, int]]] = defaultdict(list)
        begun: dict[tuple[str, str], Event] = {}
        for event in history:
            if event.f == "start" and "lane" in event.v:
                begun[_name(event)] = _when_begun(event)
            elif event.f == "stop" and (start := begun.pop(_name(event), None)) is not None:
                self.faults.append(Fault(start, event.t))
            elif event.f == "route":
                self._routes[event.v["lane"]].append((event.t, event.v["pod"]))
            elif event.f in LINKS and "connection" in event.v:
                self._linked[event.p].append((event.t, event.v["connection"]))
            elif event.f == "homes":
                self._homes |= dict.fromkeys(event.v["connections"], event.v["pod"])
            elif event.f == "lag":
                self._lags.append((event.t, event.v["worst_ms"]))
            elif event.f == "late":
                self._late[event.v["pod"]].append((event.t, event.v["ms"]))
        self.faults += [Fault(start, inf) for start in begun.values()]
        self.faults.sort(key=lambda fault: fault.event.t)
        # Until when the longest of all up to each lasts: whoever looks back knows where to stop.
        self._until = list(accumulate((fault.until for fault in self.faults), max))

    def pods(self, lane: str, since: float, until: float) -> set[str]:
        """Which pods a client hung on between two moments."""
        linked = _between(self._linked[lane], since, until)
        homes = {home for each in linked if (home := self.home(each)) is not None}
        return _between(self._routes[lane], since, until) | homes

    def home(self, connection: str) -> str | None:
        """The pod that has, or had, a connection; None for one that no pod has told of."""
        return self._homes.get(connection)

    def broken(self, lane: str, since: float, until: float, *, behind: bool = False) -> bool:
        """Whether anything on the path of a client was broken between two moments; ``behind`` its own network only."""
        lanes = ALL | self.pods(lane, since, until) | (set() if behind else {lane})
        return any(fault.lane in lanes and not is_of_bus(fault.event) for fault in self.active(since, until))

    def active(self, since: float, until: float) -> Iterator[Fault]:
        """The faults that were there between two moments, of whomever."""
        place = bisect_right(self.faults, until, key=lambda fault: fault.event.t) - 1
        while place >= 0 and self._until[place] >= since:
            if self.faults[place].until >= since:
                yield self.faults[place]
            place -= 1

    def were_late(self, pods: Iterable[str], since: float, until: float) -> bool:
        """Whether one of some pods had no turn, or took none, when it was asked whether it is there."""
        silent = (each for pod in pods for each in self._late[pod])
        return any(since <= t and t - ms * MS_NS <= until for t, ms in silent)

    def lag_ms(self, since: float, until: float) -> int:
        """How late the machine was at worst between two moments."""
        return max((late for t, late in self._lags if since <= t <= until + LAG_NS + late * MS_NS), default=0)


def _when_begun(start: Event) -> Event:
    return structs.replace(start, t=start.t - BURIED_WITHIN_NS) if start.v["fault"] == BURIED else start


def _name(event: Event) -> tuple[str, str]:
    return event.v.get("lane", ""), event.v["fault"]


def _between(moves: list[tuple[int, str]], since: float, until: float) -> set[str]:
    """Where somebody was then, by when he went where."""
    first = max(0, bisect_left(moves, since, key=_when) - 1)
    return {where for _, where in moves[first : bisect_right(moves, until, key=_when)]}


def _when(move: tuple[int, str]) -> int:
    return move[0]
