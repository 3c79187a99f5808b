"""What each aid held at every moment of a run, replayed from the chunks that reached it.

Right or wrong is for others to say. Read ``replay`` first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.history import Event
from tests.chaos.story import Key, Story, key_of

__all__ = ["Held", "replay"]

_CHANGES: Final = frozenset({"chunk", "side_commit", "restore", "reboot"})
_TOLD: Final = _CHANGES | {"journal", "result_out", "read_aids"}


@dataclass(slots=True)
class Held:
    """The digests of one device's memories, by (ear, memory). ``key`` is the delivery that the journal has open."""

    digests: dict[tuple[str, str], str] = field(default_factory=dict)
    key: Key | None = None


def replay(story: Story) -> Iterator[tuple[Event, Held]]:
    """Each event that touches or speaks of an aid, with what the aids hold *after* it; ``Held`` is the same object."""
    held = Held()
    for event in story.events:
        if event.f not in _TOLD or event.type != "ok":
            continue
        if event.f == "journal":
            # Of a package that waits for its wearer nothing has been written.
            held.key = None if event.v["phase"] in {"ended", "awaiting_install"} else key_of(event)
        elif event.f == "read_aids":
            for ear, memories in event.v["aids"].items():
                held.digests |= {(ear, memory): digest for memory, digest in memories.items()}
        elif event.f in _CHANGES:
            held.digests[event.v["ear"], event.v.get("memory", "ram")] = event.v["digest"]
        yield event, held
