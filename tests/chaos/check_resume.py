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
    """One connection of one client so far."""

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
            line = lines[event.p] = _Line(well=event.t)
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
    if why == "gone" and not is_late and not _pod_was_broken(event.p, paths, since, event.t):
        proof = (event,) if line.lost is None else (line.lost, event)
        yield Violation("RS", "", f"{event.p} was forgotten by a pod that lives", proof)


def _pod_was_broken(process: str, paths: Paths, since: float, until: float) -> bool:
    """Not by the loss of its socket: that is what it is there for."""
    pods = paths.pods(process, since, until)
    return any(
        fault.lane in pods and fault.event.v["fault"].startswith("server_") for fault in paths.active(since, until)
    )
