"""A shorter list of faults that breaks the same promise: delta debugging (Zeller and Hildebrandt, 2002), bounded.

Runs are real and not quite repeatable, so a half that does not fail once may fail another time: what is found is a
failing run, not the smallest one. Read ``shrink`` first.
"""

from collections.abc import Awaitable, Callable, Sequence

__all__ = ["shrink"]


async def shrink(
    places: Sequence[int], fails: Callable[[Sequence[int]], Awaitable[bool]], *, max_runs: int
) -> list[int]:
    """The shortest part of ``places`` that was seen to fail, with at most ``max_runs`` tries."""
    known = list(places)
    parts, runs = 2, 0
    while len(known) > 1:
        size = -(-len(known) // parts)
        pieces = [known[start : start + size] for start in range(0, len(known), size)]
        rests = [[place for place in known if place not in piece] for piece in pieces]
        for tried in (*pieces, *(rests if parts > 2 else ())):
            if runs == max_runs:
                return known
            runs += 1
            if await fails(tried):
                known, parts = list(tried), max(2, parts - 1)
                break
        else:
            if parts >= len(known):
                break
            parts = min(len(known), 2 * parts)
    return known
