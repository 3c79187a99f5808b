"""The server of the demo: a process of its own, started, killed and ended here, whatever happens in between.

It is the same ``serve`` that anybody starts; the demo sees it only over the wire and through the command
line. It must not know what a fitting is. Read ``ServerProcess`` first.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec

__all__ = ["ServerFailed", "ServerProcess", "ServerWaits", "end_process"]

_TAIL_LINES: Final = 15


class ServerFailed(Exception):
    """The server, or a command of its command line, did not do what it should."""


@dataclass(frozen=True, slots=True)
class ServerWaits:
    """Bounds in seconds: until the ready line, for one command, between SIGTERM and SIGKILL."""

    ready_s: float = 45.0
    command_s: float = 10.0
    end_s: float = 5.0


class _Ready(msgspec.Struct, frozen=True):
    event: str
    url: str


class ServerProcess:
    """``async with ServerProcess(folder) as server``: ready at ``server.url``, gone afterwards.

    ``settings`` are added to its environment.
    """

    def __init__(
        self,
        folder: Path,
        *,
        module: str = "signaling",
        waits: ServerWaits | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._module = module
        self._waits = waits or ServerWaits()
        self._process: asyncio.subprocess.Process | None = None
        self._log = folder / "server.log"
        self._port = 0
        self.url = ""

    @property
    def folder(self) -> Path:
        """Everything that the demo keeps."""
        return self._folder

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def kill(self) -> None:
        """End it by SIGKILL: it has no time to finish anything."""
        if self._process is None or self._process.returncode is not None:
            raise ServerFailed("the server that was to be killed has ended by itself")
        self._process.kill()
        await self._process.wait()

    async def start_again(self) -> None:
        """Start it on the same data folder and the same port. Raises ServerFailed."""
        await self._start()

    async def token(self, user: str, clinic: str, roles: Sequence[str]) -> str:
        """A development token, made by the command that a developer would use."""
        given = [word for role in roles for word in ("--role", role)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", self._module, "token", "--user", user, "--clinic", clinic, *given),
            *("--data", str(self._folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._waits.command_s):
                out, err = await process.communicate()
        except BaseException:
            await end_process(process, 0.0)
            raise
        if process.returncode != 0:
            raise ServerFailed(f"the token command ended with {process.returncode}: {_last_line(err)}")
        return out.decode().strip()

    def log_tail(self) -> str:
        """The last lines that the server logged."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])

    async def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", self._module, "serve", "--dev", "--port", str(self._port), "--data", str(self._folder)),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._settings, "PYTHONUNBUFFERED": "1"},
            )
        assert self._process.stdout is not None  # noqa: S101  # it was asked for two lines above
        try:
            async with asyncio.timeout(self._waits.ready_s):
                line = await self._process.stdout.readline()
            self.url = msgspec.json.decode(line, type=_Ready).url
            self._port = urlsplit(self.url).port or 0
        except TimeoutError:
            raise ServerFailed(f"the server was not ready within {self._waits.ready_s:g} s") from None
        except msgspec.DecodeError:
            raise ServerFailed("the server ended without a ready line") from None

    async def _end(self) -> None:
        if self._process is not None:
            await end_process(self._process, self._waits.end_s)


async def end_process(process: asyncio.subprocess.Process, patience_s: float) -> None:
    """Ask a process to end, and kill it when it does not within that time."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
