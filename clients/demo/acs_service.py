"""The stand-in for Azure Communication Services in the demo: a process of its own, as ``auricle fake-acs`` starts it.

It must not know the script. Read ``AcsService``.
"""

import asyncio
import ssl
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from clients.demo.server_process import ServerFailed, end_process

__all__ = ["AcsService"]

_READY_S: Final = 45.0
_END_S: Final = 5.0


class _Ready(msgspec.Struct, frozen=True, rename="camel"):
    url: str
    connection_string: str
    ca: str


class AcsService:
    """``async with AcsService(folder) as service``: ready at ``service.url``, gone afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._ready = _Ready("", "", "")

    @property
    def url(self) -> str:
        """Where it is."""
        return self._ready.url

    @property
    def ca(self) -> str:
        """The file with the certificate to trust."""
        return self._ready.ca

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a server whose calls and chat go there."""
        return {
            "AURICLE_ACS_CONNECTION_STRING": self._ready.connection_string,
            "AURICLE_ACS_CA": self._ready.ca,
            "AURICLE_ACS_POLL_S": "0.5",
        }

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "clients.fake_acs", "--folder", str(self._folder)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            if self._process.stdout is None:
                raise ServerFailed("the stand-in has no output")
            async with asyncio.timeout(_READY_S):
                line = await self._process.stdout.readline()
            self._ready = msgspec.json.decode(line, type=_Ready)
        except (TimeoutError, msgspec.DecodeError):
            await end_process(self._process, _END_S)
            raise ServerFailed("the stand-in for ACS was not ready") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end_process(self._process, _END_S)

    async def flip(self, method: str, switch: str, body: Any = None) -> Any:
        """One of its switches."""
        context = ssl.create_default_context(cafile=self.ca)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http,
            http.request(method, f"{self.url}/fake{switch}", json=body) as answer,
        ):
            return await answer.json() if answer.content_length else None
