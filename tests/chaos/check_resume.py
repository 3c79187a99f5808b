"""RS: a connection that can be resumed loses nothing and says nothing twice, however many sockets it takes.

Read ``nothing_is_lost_on_the_way`` first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.history import Event
from tests.chaos.paths import Paths
from tests.chaos.violation import Violation

__all__ = ["nothing_is_lost_on_the_way"]

PREFIX: Final = "resume_"
MAY_BE_AWAY_NS: Final = 8_000_000_000
"""A pod keeps a connection for longer than this after its socket is gone."""


@dataclass(slots=True)
class _Line:
    """One connection of one client so far. ``owners`` is the pod that has it, whichever its sockets go through."""

    owners: frozenset[str] = frozenset()
    heard: int = 0
    answered: int = 0
    said: int = 0
    well: float = 0.0
    lost: Event | None = None


def nothing_is_lost_on_the_way(history: Iterable[Event], paths: Paths) -> Iterator[Violation]:
    """What was said comes back once and in order; a pod that lives, and is reached, does not forget a connection."""
    lines: dict[str, _Line] = {}
    for event in history:
        if not event.f.startswith(PREFIX):
            continue
        what, line = event.f.removeprefix(PREFIX), lines.setdefault(event.p, _Line())
        if what == "open":
            home = paths.home(event.v.get("connection", ""))
            owners = {home} if home is not None else paths.pods(event.p, event.t, event.t)
            line = lines[event.p] = _Line(frozenset(owners), well=event.t)
        elif what == "said":
            line.said = event.v["number"]
        elif what in {"heard", "answered"}:
            expected = getattr(line, what) + 1
            if event.v["number"] != expected:
                text = f"{event.p} {what} {event.v['number']} where {expected} was to come"
                yield Violation("RS", "", text, (event,))
            setattr(line, what, event.v["number"])
            line.well = event.t
        elif what == "lost":
            line.lost = event
        elif what == "end":
            yield from _judge_end(event, line, paths)


def _judge_end(event: Event, line: _Line, paths: Paths) -> Iterator[Violation]:
    why = event.v["why"]
    if why == "done" and not line.heard == line.answered == line.said:
        text = f"{event.p} said {line.said}, heard {line.heard} and was answered {line.answered}"
        yield Violation("RS", "", text, (event,))
    since = line.well if line.lost is None else min(line.well, line.lost.t)
    is_late = event.t - since > MAY_BE_AWAY_NS
    if why == "gone" and not is_late and not _may_forget(event.p, line, paths, since, event.t):
        proof = (event,) if line.lost is None else (line.lost, event)
        yield Violation("RS", "", f"{event.p} was forgotten by a pod that lives", proof)


def _may_forget(process: str, line: _Line, paths: Paths, since: float, until: float) -> bool:
    """Not for the loss of its socket, nor because a pod died that had only handed it on: that is what it is there for.

    But a pod on its way that stands still keeps its socket open and says nothing.
    """
    on_the_way = paths.pods(process, since, until)
    for fault in paths.active(since, until):
        kind = fault.event.v["fault"]
        if fault.lane in line.owners and kind.startswith("server_"):
            return True
        if fault.lane in on_the_way and kind == "server_freeze":
            return True
    return False
