"""Everything that is drawn, by purpose: leaving one step out of a run must not change what the others draw.

Must not know what it is drawn for. Read ``Chance.of``.
"""

import random

__all__ = ["Chance"]


class Chance:
    """One seed, and a stream of numbers for each purpose."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[str, random.Random] = {}

    def of(self, purpose: str) -> random.Random:
        """The stream of one purpose."""
        found = self._streams.get(purpose)
        if found is None:
            found = self._streams[purpose] = random.Random(f"{self.seed}/{purpose}")
        return found

    def new_id(self, purpose: str) -> str:
        """An opaque id that does not repeat."""
        return f"{self.of(purpose).getrandbits(96):024x}"
