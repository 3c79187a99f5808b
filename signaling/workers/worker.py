"""One worker, as it sees itself: what its supervisor has told it, and how the others are.

Read ``Worker`` first.
"""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import replace

import msgspec

from signaling.config import Config, ConfigError

from .charge import BEAT_S, Charge, News, Ready
from .line import WorkerEnd

__all__ = ["Worker"]


class Worker:
    """Made once, before anything else of the process. Raises ConfigError when there is no supervisor behind it."""

    def __init__(self, charge: str) -> None:
        try:
            self._charge = msgspec.json.decode(charge, type=Charge)
            if self._charge.supervisor != os.getppid():
                raise ConfigError("a worker is started by its supervisor only, and ends with it")
            self._line = WorkerEnd(self._charge.line)
        except (msgspec.DecodeError, OSError):
            raise ConfigError("a worker is started by its supervisor only") from None
        self.news: News | None = None

    @property
    def number(self) -> int:
        """From 0."""
        return self._charge.worker

    def config(self, config: Config) -> Config:
        """What is configured, with what is this worker's own."""
        charge = self._charge
        listen = config.internal_listen or f"unix:{charge.folder}/worker-{charge.worker}.sock"
        return replace(
            config,
            port=charge.port,
            redis_url=charge.redis_url or config.redis_url,
            internal_listen=listen,
        )

    def log_clock(self) -> float:
        """Unix seconds, the same in all workers, which only rise."""
        return time.monotonic() + self._charge.ahead_s

    def listen(self) -> None:
        """Hear from the supervisor from now on; in the event loop."""
        loop = asyncio.get_running_loop()

        def heard(news: News) -> None:
            with suppress(RuntimeError):
                # The loop is closed: this process is as good as over.
                loop.call_soon_threadsafe(self._heard, news)

        self._line.listen(heard)

    def ready(self, internal: str) -> None:
        """Say that it takes connections, once a second for as long as its event loop turns.

        ``internal``: where the others ask it.
        """
        self._line.tell(Ready(internal))
        asyncio.get_running_loop().call_later(BEAT_S, self.ready, internal)

    def _heard(self, news: News) -> None:
        self.news = news
