"""The phone of the demo's last part: a process of its own, killed and started again on its journal and its aids.

The same ``python -m clients.phone`` that a developer starts by hand. It must not know the script. Read
``PhoneProcess``.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from clients.demo.server_process import end_process

__all__ = ["PhoneProcess"]

_END_S: Final = 5.0


class PhoneProcess:
    """``words`` are its command line. As a context manager it is gone afterwards, whatever happens."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._words, self._log = tuple(words), log
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end_process(self._process, _END_S)

    @property
    def pid(self) -> int:
        """The process id of the newest process."""
        if self._process is None:
            raise RuntimeError("the phone was never started")
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is not running now."""
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        """Start it, for the first time or again."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "clients.phone", *self._words),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )

    async def kill(self) -> bool:
        """End it by SIGKILL, at whatever it is; whether it was still running."""
        if self._process is None or self.has_ended:
            return False
        self._process.kill()
        await self._process.wait()
        return True
