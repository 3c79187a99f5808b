"""The place where pushes go in the demo: a notification hub on loopback that takes each and keeps its body.

What is in a body is what a phone's platform, and everybody on the way, gets to see. Checks nothing: the server under
test is not this one. It must not know a phone. Read ``PushService.bodies``.
"""

import asyncio
import secrets
from collections import deque
from types import TracebackType
from typing import Final, Self

from aiohttp import web

__all__ = ["PushService"]

_MOST_KEPT: Final = 100
_HUB: Final = "demo"


class PushService:
    """``async with PushService() as service``: it listens on a free port of 127.0.0.1 until the block ends.

    ``bodies`` are the newest 100, oldest first.
    """

    def __init__(self) -> None:
        self.bodies: deque[bytes] = deque(maxlen=_MOST_KEPT)
        self._key = secrets.token_urlsafe(32)
        self._came = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a server that sends here. Raises RuntimeError before the block has begun."""
        if self._runner is None:
            raise RuntimeError("the push service is not open")
        port = self._runner.addresses[0][1]
        endpoint = "Endpoint=sb://demo.servicebus.windows.net/;SharedAccessKeyName=demo"
        return {
            "AURICLE_PUSH_CONNECTION_STRING": f"{endpoint};SharedAccessKey={self._key}",
            "AURICLE_PUSH_HUB": _HUB,
            "AURICLE_PUSH_URL": f"http://127.0.0.1:{port}",
        }

    async def first_after(self, count: int) -> bytes:
        """The body that came after so many; waits for it."""
        while len(self.bodies) <= count:
            await self._came.wait()
        return self.bodies[count]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post(f"/{_HUB}/messages/", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runner = runner
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self._came.set()
        self._came.clear()
        return web.Response(status=201)
