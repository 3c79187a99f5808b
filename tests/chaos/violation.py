"""One broken promise, and the shortest piece of history that shows it."""

from dataclasses import dataclass
from typing import Final

from tests.chaos.history import Event
from tests.chaos.story import Story

__all__ = ["Violation"]

_AROUND: Final = 2
_MAX_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class Violation:
    """``proof``: the events that contradict each other; ``invariant``: I1 to I16, or RT for the real-time order."""

    invariant: str
    device: str
    message: str
    proof: tuple[Event, ...] = ()

    def witness(self, story: Story | None) -> str:
        """The proof, marked, with the events of that device around each piece of it."""
        lines = [f"{self.invariant}  {self.device}: {self.message}"]
        lines += _around(story.events, self.proof) if story is not None else [f"  > {e.line()}" for e in self.proof]
        if len(lines) > _MAX_LINES:
            lines[_MAX_LINES:] = [f"    ... {len(lines) - _MAX_LINES} lines more"]
        return "\n".join(lines)


def _around(events: list[Event], proof: tuple[Event, ...]) -> list[str]:
    marked = {id(event) for event in proof}
    places = [place for place, event in enumerate(events) if id(event) in marked]
    shown = sorted({near for place in places for near in range(place - _AROUND, place + _AROUND + 1)})
    lines, last = [], None
    for place in shown:
        if not 0 <= place < len(events):
            continue
        if last is not None and place > last + 1:
            lines.append("    ...")
        last = place
        lines.append(f"  {'>' if id(events[place]) in marked else ' '} {events[place].line()}")
    return lines
