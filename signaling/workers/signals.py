"""How the supervisor waits: for signals and for time, with one thread and no event loop.

Read ``Signals.wait`` first.
"""

import os
import select
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["Signals"]

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """``with``: SIGTERM and SIGINT ask for the end, a child that ends wakes. To be used in the main thread."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*_STOPS, signal.SIGCHLD):
            self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def wait(self, timeout_s: float | None) -> None:
        """Until a signal comes, None: however long that takes. One that came before the call counts."""
        select.select([self._read], [], [], timeout_s)
        with suppress(BlockingIOError):
            os.read(self._read, 4_096)

    def _came(self, number: int, _: FrameType | None) -> None:
        if number in _STOPS:
            self.is_stopping = True
