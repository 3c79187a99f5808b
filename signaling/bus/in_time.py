"""Answers that are waited for so long, and not a moment less because this process had no turn.

Must not know what is asked, nor whom. There is one function.
"""

import asyncio
from collections.abc import Collection
from typing import Any, Final

__all__ = ["have_come"]

# What has come is read by then, if it is the loop that was late: it may look at a timer first.
_READ_S: Final = 0.005


async def have_come(answers: "Collection[asyncio.Future[Any]]", within_s: float) -> bool:
    """Whether all come within that time; what had come by then and was not read has."""
    for patience_s in (within_s, _READ_S):
        _, missing = await asyncio.wait(answers, timeout=patience_s)
        if not missing:
            return True
    return False
