"""What stands before every route of a hub: the page that asks, the token that it shows, and whether there is room."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from protocol.errors import Unauthenticated
from signaling.auth import Principal, TokenVerifier
from signaling.bearer import authenticate
from signaling.health import Readiness
from signaling.hub_server import HubServer

__all__ = ["UNKNOWN", "Guard", "Guarded", "refuse"]

UNKNOWN: Final = "No Connection with that ID"

Guarded = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]


class Guard:
    """Authenticates every request of one hub."""

    def __init__(self, server: HubServer, verifier: TokenVerifier, readiness: Readiness) -> None:
        self._server = server
        self._verifier = verifier
        self._readiness = readiness

    def __call__(self, handler: Guarded) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler, called with the principal of the request."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            answer = await self._answer(request, handler)
            if "Upgrade" in request.headers:
                # What follows a request to upgrade is not HTTP for sure, so nothing may follow one that was refused.
                answer.force_close()
            return answer

        return guarded

    async def _answer(self, request: web.Request, handler: Guarded) -> web.StreamResponse:
        if not self._origin_is_allowed(request):
            return refuse(HTTPStatus.FORBIDDEN, "Origin not allowed")
        try:
            principal = authenticate(request, self._verifier)
        except Unauthenticated:
            self._server.metrics.unauthenticated.inc()
            return refuse(HTTPStatus.UNAUTHORIZED, "A valid token is required", {"WWW-Authenticate": "Bearer"})
        return await handler(request, principal)

    def no_room(self) -> web.Response | None:
        """The answer to a new connection that cannot be taken, None when it can."""
        if not self._readiness.draining:
            if len(self._server.sessions) < self._server.config.max_connections:
                return None
            self._server.metrics.bounds.labels("max_connections").inc()
        return refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server takes no more connections", {"Retry-After": "1"})

    def _origin_is_allowed(self, request: web.Request) -> bool:
        """A page of another site must not use a token that a browser sends along; other clients send no Origin."""
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        same = {f"http://{request.host}", f"https://{request.host}"}
        return origin.lower() in same | self._server.config.origins


def refuse(status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """A plain refusal."""
    return web.Response(status=status, text=text, headers=headers)
