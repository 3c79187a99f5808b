"""Lets as many phones come in at a time as can be served, while the others wait outside, where waiting costs nothing.

A phone is on its way in from when it asks for its connection until it is attached, or gone. Where more of them connect
than that, each is served so slowly that it loses its patience, and all that was done for it was in vain. Must not know
how a phone is attached. Read ``Door.enter`` first.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from signaling.auth import Principal

__all__ = ["Door"]

_COME_BACK_S: Final = 5.0


class Door:
    """At most ``limit`` phones are on their way in. ``timeout_s``: how long one of them may take until it does not
    count any more, and how long another waits for it. ``reached`` is told of both bounds.
    """

    def __init__(
        self, limit: int, *, timeout_s: float, monotonic: Callable[[], float], reached: Callable[[str], None]
    ) -> None:
        self._limit, self._timeout_s = limit, timeout_s
        self._monotonic, self._reached = monotonic, reached
        self._inside: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def enter(self, principal: Principal, connection_id: str) -> float | None:
        """None when the connection may be opened, at once or after a while; else in how many seconds to come back.

        Then ``leave`` must follow. Nobody but phones is asked to wait.
        """
        if "device" not in principal.roles:
            return None
        self._let_in()
        if len(self._inside) < self._limit:
            self._inside[connection_id] = self._monotonic()
            return None
        self._reached("max_arriving_phones")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[connection_id] = turn
        try:
            async with asyncio.timeout(self._timeout_s):
                await turn
        except TimeoutError:
            # Its turn may have come at the very same time.
            self.leave(connection_id)
            self._reached("arrival_timeout_s")
            return _COME_BACK_S
        finally:
            self._waiting.pop(connection_id, None)
        return None

    def leave(self, connection_id: str) -> None:
        """It is attached, or gone; of one who is not inside nothing is known."""
        if self._inside.pop(connection_id, None) is not None:
            self._let_in()

    def _let_in(self) -> None:
        """Whoever has waited longest, for each who is through or takes too long."""
        now_s = self._monotonic()
        for connection_id, since_s in tuple(self._inside.items()):
            if now_s - since_s < self._timeout_s:
                break
            del self._inside[connection_id]
            self._reached("arrival_timeout_s")
        while self._waiting and len(self._inside) < self._limit:
            connection_id = next(iter(self._waiting))
            turn = self._waiting.pop(connection_id)
            if not turn.done():
                self._inside[connection_id] = now_s
                turn.set_result(None)
