"""What somebody waits for: work of some kind on a device, which professionals do next, mostly.

A fault that strikes in the middle of a save has its moment only when something is saved on that device. A wish changes
what is done next, never what counts as done. Read ``Wishes.open`` first.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

__all__ = ["CHANGES", "PACKAGES", "SAVES", "Wish", "Wishes"]

CHANGES: Final = ("change",)
# Only what has come to its end in the aids can be saved.
SAVES: Final = ("change", "save")
PACKAGES: Final = ("package",)
HEARD: Final = 0.7


@dataclass(frozen=True, eq=False, slots=True)
class Wish:
    """``steps`` are names of work, any of which helps."""

    device: str
    steps: tuple[str, ...]


class Wishes:
    """All that are open: at most one for each fault that waits."""

    def __init__(self) -> None:
        self._open: list[Wish] = []

    @contextmanager
    def open(self, device: str, steps: tuple[str, ...] = CHANGES) -> Iterator[None]:
        """For as long as the block lasts."""
        wish = Wish(device, steps)
        self._open.append(wish)
        try:
            yield
        finally:
            self._open.remove(wish)

    def one(self, rng: random.Random) -> Wish | None:
        """One to see to now; None for work of one's own choice, of which there is some at any time."""
        return rng.choice(self._open) if self._open and rng.random() < HEARD else None
