"""A real server process for tests: started on a free port, asked for tokens as a person would, ended by its pid."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aiohttp

__all__ = ["Server", "script", "server"]

START_TIMEOUT_S = 60.0
LOG_FILE = "server.log"


@dataclass(slots=True)
class Server:
    """A server that is ready."""

    url: str
    data: Path
    process: asyncio.subprocess.Process
    tokens: dict[tuple[object, ...], str] = field(default_factory=dict)

    async def token(self, user: str, *roles: str, clinic: str = "c1", expires_in_s: float = 600) -> str:
        """A token from the ``auricle token`` command, asked for once."""
        who = (user, roles, clinic, expires_in_s)
        if who not in self.tokens:
            self.tokens[who] = await self._new_token(*who)
        return self.tokens[who]

    async def _new_token(self, user: str, roles: tuple[str, ...], clinic: str, expires_in_s: float) -> str:
        command = ["-m", "signaling", "token", "--user", user, "--clinic", clinic, "--data", str(self.data)]
        for role in roles or ("clinician",):
            command += ["--role", role]
        process = await _python(*command, "--expires-in", str(expires_in_s))
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode().strip()

    async def register(self, token: str, body: dict[str, object]) -> None:
        """Register a device over REST."""
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{self.url}/api/v1/devices", json=body) as answer,
        ):
            assert answer.status == 201, await answer.text()

    async def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), START_TIMEOUT_S)

    @property
    def log_text(self) -> str:
        """Everything that the server wrote to stderr so far."""
        return (self.data / LOG_FILE).read_text()


def server(data: Path, *arguments: str, **environ: str) -> AbstractAsyncContextManager[Server]:
    """Start ``auricle serve --dev`` and end it whatever happens."""
    return _started(
        data, "-m", "signaling", "serve", "--dev", "--port", "0", "--data", str(data), *arguments, **environ
    )


def script(data: Path, program: Path, **environ: str) -> AbstractAsyncContextManager[Server]:
    """Start a program that calls ``serve`` itself, and end it whatever happens."""
    return _started(data, str(program), AURICLE_PORT="0", AURICLE_DATA=str(data), **environ)


@asynccontextmanager
async def _started(data: Path, *command: str, **environ: str) -> AsyncIterator[Server]:
    # A file, not a pipe: nobody reads while the test runs, and a full pipe would stop the server.
    with (data / LOG_FILE).open("wb") as log:
        process = await _python(*command, errors=log, **environ)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        ready = json.loads(line)
        assert ready["event"] == "ready"
        yield Server(ready["url"], data, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _python(
    *arguments: str, errors: int | IO[bytes] = asyncio.subprocess.PIPE, **environ: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        env={**os.environ, **environ},
    )
