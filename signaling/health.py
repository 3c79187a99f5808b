"""What an orchestrator asks: is the process alive, may it get traffic, what are its numbers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from .metrics import Metrics

__all__ = ["Readiness", "register_health"]


@dataclass(slots=True)
class Readiness:
    """Whether new work may come; ``draining`` is set once and never taken back.

    ``degraded`` names what is away: what does not need it goes on.
    """

    draining: bool = False
    degraded: Callable[[], list[str]] = list


def register_health(
    app: web.Application,
    readiness: Readiness,
    metrics: Metrics,
    *,
    under: str = "",
    joint: Callable[[], Awaitable[bytes]] | None = None,
) -> None:
    """Add ``/healthz``, ``/readyz`` and ``/metrics``, all ``under`` a path; ``joint``: the page of all workers."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        if readiness.draining:
            return web.json_response({"status": "draining"}, status=503)
        return web.json_response({"status": "ready", "degraded": readiness.degraded()})

    async def page(_: web.Request) -> web.Response:
        body = metrics.page() if joint is None else await joint()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app.router.add_get(f"{under}/healthz", healthz)
    app.router.add_get(f"{under}/readyz", readyz)
    app.router.add_get(f"{under}/metrics", page)
