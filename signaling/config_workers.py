"""The part of the configuration that is about several processes on one port of one machine."""

import os
from dataclasses import dataclass

from .config_error import ConfigError
from .workers.charge import BEAT_S
from .workers.plan import ChildLimits

__all__ = ["WorkersConfig"]

AUTO = "auto"
MAX_WORKERS = 256
# So many times it may be late before it is taken for one that hangs.
LEAST_BEATS = 3


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class WorkersConfig:
    """Fields of ``Config``.

    ``workers``: processes on one port, ``auto`` for one per core; with more than one a supervisor looks after them.
    ``worker_start_s``: how long one may take until it works. ``worker_end_s``: how much longer than ``drain_s`` it may
    take to end before it is killed. ``worker_hang_s``: one whose event loop has not turned for that long is killed,
    and so is an embedded Valkey that has not answered for that long.
    ``max_worker_restarts`` of one of them within ``worker_restart_window_s``; then the
    server ends. ``worker_back_off_s``: the longest wait before one is started again.
    ``worker_metrics_s``: how long a worker waits for the metrics of another.
    """

    workers: str = "1"
    worker_start_s: float = 30.0
    worker_end_s: float = 5.0
    worker_hang_s: float = 15.0
    max_worker_restarts: int = 10
    worker_restart_window_s: float = 60.0
    worker_back_off_s: float = 5.0
    worker_metrics_s: float = 1.0

    def _check_workers(self) -> None:
        is_number = self.workers.isascii() and self.workers.isdecimal() and 1 <= int(self.workers[:4]) <= MAX_WORKERS
        if self.workers != AUTO and not is_number:
            raise ConfigError(f"workers: must be 1 to {MAX_WORKERS}, or {AUTO}")
        if self.worker_hang_s < LEAST_BEATS * BEAT_S:
            raise ConfigError(
                f"worker_hang_s: must be at least {LEAST_BEATS * BEAT_S:g}: a worker speaks once a second"
            )

    @property
    def worker_count(self) -> int:
        """How many processes take connections."""
        return int(self.workers) if self.workers != AUTO else min(MAX_WORKERS, _cores())

    def child_limits(self, drain_s: float) -> ChildLimits:
        """What holds for a child of the supervisor that says goodbye to its clients for ``drain_s``."""
        return ChildLimits(
            start_s=self.worker_start_s,
            end_s=self.worker_end_s + drain_s,
            hang_s=self.worker_hang_s,
            back_off_s=self.worker_back_off_s,
            max_restarts=self.max_worker_restarts,
            window_s=self.worker_restart_window_s,
        )


def _cores() -> int:
    """Those that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1
