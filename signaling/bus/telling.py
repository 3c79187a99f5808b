"""What the log is told of a server: at once that it is away, and that it is there when it has been for a while.

So one that comes and goes many times a second is away, and fills no log. Knows neither servers nor logs. Read
``Telling`` first.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from .breaker import STEADY_S

__all__ = ["Telling"]


class Telling:
    """``went`` is told why it is away, ``came`` that it is there again. ``said``: what was told already, if anything:
    of one of which nothing was told it is told at once that it is there.
    """

    def __init__(
        self, *, went: Callable[[str], None], came: Callable[[], None], said: Literal["", "away", "there"] = ""
    ) -> None:
        self._went = went
        self._came = came
        self._said: Literal["", "away", "there"] = said
        self._timer: asyncio.TimerHandle | None = None

    def is_away(self, cause: str) -> None:
        """It is not there, because of ``cause``."""
        self.close()
        if self._said != "away":
            self._said = "away"
            self._went(cause)

    def is_there(self) -> None:
        """It is, as far as anybody knows."""
        if not self._said:
            self._is_steady()
        elif self._said == "away" and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STEADY_S, self._is_steady)

    def close(self) -> None:
        """Tell nothing by itself any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_steady(self) -> None:
        self._timer, self._said = None, "there"
        self._came()
