"""The process that takes no connections: it starts the workers, starts them again, and ends them all.

What follows from what is decided in ``plan``. This module must not know how a worker serves. Read ``Supervisor.run``
first.
"""

import sys
from collections.abc import Callable, Sequence

from signaling.log import LogBook

from .charge import BEAT_S, ChildNews, News
from .children import Child
from .plan import ChildState
from .signals import Signals

__all__ = ["EXIT_GAVE_UP", "Supervisor"]

EXIT_CONFIGURATION = 2
EXIT_GAVE_UP = 3
# A child that is being started tells nobody when it is ready.
_LOOK_S = 0.02


class Supervisor:
    """Looks after the workers and the Valkey that they need, None: they need none.

    ``monotonic`` gives seconds that only rise. ``reached`` counts bounds of the children.
    """

    def __init__(
        self,
        valkey: Child | None,
        workers: Sequence[Child],
        *,
        log: LogBook,
        reached: dict[str, int],
        monotonic: Callable[[], float],
    ) -> None:
        self._valkey = valkey
        self._workers = workers
        self._log = log
        self._reached = reached
        self._monotonic = monotonic
        self._begun: list[Child] = []
        # One worker before the others: what keeps them all from starting is said once.
        self._left = [[*([] if valkey is None else [valkey]), *workers[:1]], list(workers[1:])]
        self._told: News | None = None
        self._failed: Child | None = None

    def run(self, signals: Signals, ready: Callable[[], None]) -> int:
        """Until all have ended; ``ready`` is called once, when all work for the first time. The exit code."""
        is_ready = False
        while True:
            now_s = self._monotonic()
            for child in self._begun:
                if child.look(now_s):
                    self._failed = self._failed or child
            if signals.is_stopping or self._failed is not None:
                self._stop(now_s)
                if self._is_over():
                    return self._code()
            elif all(child.state is ChildState.UP for child in self._begun):
                if self._left:
                    self._begin(self._left.pop(0), now_s)
                elif not is_ready:
                    is_ready = True
                    ready()
            self._tell()
            signals.wait(self._wait_s())

    def _begin(self, children: Sequence[Child], now_s: float) -> None:
        for child in children:
            child.begin(now_s)
            self._begun.append(child)

    def _stop(self, now_s: float) -> None:
        """The workers all at once, and what they need behind them."""
        for child in self._workers:
            child.stop(now_s)
        if self._valkey is not None and all(child.state is ChildState.GONE for child in self._workers):
            self._valkey.stop(now_s)

    def _is_over(self) -> bool:
        return all(child.state is ChildState.GONE for child in self._begun)

    def _wait_s(self) -> float | None:
        if not self._begun or any(child.state is ChildState.STARTING for child in self._begun):
            return _LOOK_S
        now_s = self._monotonic()
        due_s = [child.due_s for child in self._begun if child.due_s is not None]
        if self._valkey is not None and self._valkey.state is ChildState.UP:
            # A worker says so itself when it works; Valkey has to be asked.
            due_s.append(now_s + BEAT_S)
        return max(0.0, min(due_s) - now_s) if due_s else None

    def _tell(self) -> None:
        """Tell all workers how all are, when it has changed."""
        found = [child.news() for child in self._workers]
        news = News(tuple(one for one in found if isinstance(one, ChildNews)), dict(self._reached))
        if news != self._told:
            self._told = news
            for child in self._workers:
                child.tell(news)

    def _code(self) -> int:
        child = self._failed
        if child is None:
            return 0
        if child.life is not None and child.life.has_worked:
            self._log.gave_up(child=child.kind.name, ends=len(child.life.ends_s))
            within = f"{len(child.life.ends_s)} times within {child.limits.window_s:g} s"
            print(f"auricle: {child.kind.name} has ended {within}: the server ends", file=sys.stderr)
            return EXIT_GAVE_UP
        if child.code == EXIT_CONFIGURATION:
            # It has said what cannot work.
            return EXIT_CONFIGURATION
        print(f"auricle: {child.kind.name} ended with {child.code} before it could do its work", file=sys.stderr)
        return EXIT_GAVE_UP
