"""What passes between supervisor and worker: what a worker is to be, and what each tells the other while it runs.

Values only. This module must not know how they travel. Read ``Charge`` first.
"""

from typing import Final

import msgspec

__all__ = ["BEAT_S", "Charge", "ChildNews", "News", "Ready"]

BEAT_S: Final = 1.0
"""How often a worker says that it works."""


class Charge(msgspec.Struct, frozen=True):
    """One worker: its number, from 0, of how many.

    ``supervisor``: the process id of whoever gave it. ``port``: of all workers. ``redis_url``: of the embedded Valkey,
    empty when there is none. ``folder``: where sockets are. ``ahead_s``: what the clock of the log is ahead of the
    clock that only rises. ``line``: the descriptor over which the two speak.
    """

    workers: int
    supervisor: int
    port: int
    redis_url: str
    folder: str
    ahead_s: float
    worker: int = 0
    line: int = -1

    def of(self, worker: int) -> "Charge":
        """The same for another worker."""
        return msgspec.structs.replace(self, worker=worker)


class Ready(msgspec.Struct, frozen=True):
    """A worker takes connections, now or still; ``internal``: where it is asked by the others, empty: nowhere."""

    internal: str = ""


class ChildNews(msgspec.Struct, frozen=True):
    """One worker as the supervisor sees it: ``state`` is one of the table's, in lower case."""

    worker: int
    state: str
    restarts: int
    internal: str


class News(msgspec.Struct, frozen=True):
    """All of them, told to all of them whenever something has changed; ``reached``: bounds, and how often."""

    workers: tuple[ChildNews, ...]
    reached: dict[str, int]
