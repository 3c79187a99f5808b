"""What a service does that is not well: 5xx or 429, late, never, or a broken connection. Read ``Fault``."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Final, Literal

from aiohttp import web

from .answers import Breach

__all__ = ["Fault", "Faults"]

Area = Literal["identities", "rooms", "chat", "entra", "*"]
_BODIES: Final = {"huge": b'{"keys": [' + b" " * 1_000_000 + b"]}", "garbage": b"<html>"}


@dataclass(slots=True)
class Fault:
    """``status``: answered so, ``hang``: never, ``slow``: ``delay_s`` late, ``drip``: a byte now and then, ``reset``,
    ``lost``: a POST is carried out, and the connection breaks before it is answered; ``huge``: an answer of a megabyte;
    ``garbage``: one that is no JSON.

    It happens ``count`` times, to requests of ``area``: what is none of the service is ``entra``'s.
    """

    kind: Literal["status", "hang", "slow", "drip", "reset", "lost", "huge", "garbage"]
    area: Area = "*"
    status: int = 503
    retry_after_s: float | None = None
    delay_s: float = 0.0
    count: float = math.inf


@dataclass(slots=True)
class Faults:
    """Those that are on. ``let_go`` ends what hangs."""

    on: list[Fault] = field(default_factory=list)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def clear(self) -> None:
        """All is well again; what hung is answered."""
        self.on.clear()
        self.let_go.set()
        self.let_go = asyncio.Event()

    async def meet(self, request: web.Request) -> web.StreamResponse | None:
        """Have the first fault that fits happen: an answer that stands for the service's, or None. Raises Breach."""
        fault = self._first(_area(request), is_loss=False)
        if fault is None:
            return None
        fault.count -= 1
        if fault.kind == "status":
            wait = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:.0f}"}
            raise Breach(fault.status, "ServiceTrouble", "the service is not well", headers=wait)
        if fault.kind == "slow":
            await asyncio.sleep(fault.delay_s)
            return None
        if fault.kind in _BODIES:
            return web.Response(body=_BODIES[fault.kind], content_type="application/json")
        if fault.kind == "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return await self._never(request, drips=fault.kind == "drip")

    def loses(self, request: web.Request) -> bool:
        """Whether the answer to what was carried out is lost."""
        fault = self._first(_area(request), is_loss=True) if request.method == "POST" else None
        if fault is None or request.transport is None:
            return False
        fault.count -= 1
        request.transport.abort()
        return True

    def _first(self, area: str, *, is_loss: bool) -> Fault | None:
        fitting = (one for one in self.on if one.area in ("*", area) and one.count > 0)
        return next((one for one in fitting if (one.kind == "lost") is is_loss), None)

    async def _never(self, request: web.Request, *, drips: bool) -> web.StreamResponse:
        let_go = self.let_go
        if not drips:
            await let_go.wait()
            raise Breach(503, "ServiceTrouble", "it hung")
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        while not let_go.is_set():
            await answer.write(b" ")
            try:
                async with asyncio.timeout(0.2):
                    await let_go.wait()
            except TimeoutError:
                continue
        return answer


def _area(request: web.Request) -> str:
    first = request.path.split("/")[1]
    return first if first in ("identities", "rooms", "chat") else "entra"
