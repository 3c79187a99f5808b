"""What a phone tells with ``--events``, over all of its lives, in the words of the history."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from tests.chaos.history import Event, read_history

__all__ = ["phone_events"]


def phone_events(folder: Path) -> Iterator[Event]:
    """The events of one phone; its folder has a file for each of its lives."""
    key: dict[str, Any] = {}
    for path in sorted(folder.glob("events-*.jsonl"), key=lambda path: int(path.stem.partition("-")[2])):
        events = list(read_history(path))
        for event, generation in zip(events, _generations(events), strict=True):
            values = event.v
            if event.f == "journal":
                key = {} if values["phase"] == "ended" else {"epoch": values["epoch"], "seq": values["seq"]}
            elif event.f == "offer_in":
                values = {**values, "gen": generation}
            elif event.f in {"chunk", "side_commit"}:
                # A phone that goes on where it was killed has not saved its journal again yet.
                values = {**key, **values}
            yield structs.replace(event, p=folder.name, v=values)


def _generations(events: Sequence[Event]) -> list[int | None]:
    """Of which connection each event is; that of a hello is known by the welcome that follows, None for no welcome.

    An offer may be taken before the answer to the hello is.
    """
    following: int | None = None
    of_hello: dict[int, int | None] = {}
    for place in reversed(range(len(events))):
        if events[place].f == "welcome":
            following = events[place].v["gen"]
        elif events[place].f == "hello":
            of_hello[place], following = following, None
    generations: list[int | None] = []
    for place in range(len(events)):
        last = generations[-1] if generations else None
        generations.append(of_hello.get(place, last))
    return generations
