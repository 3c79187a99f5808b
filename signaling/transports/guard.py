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
from signaling.origins import Origins

__all__ = ["UNKNOWN", "Guard", "Guarded", "Refuse", "full", "refuse", "refused"]

UNKNOWN: Final = "No Connection with that ID"

Guarded = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]
Refuse = Callable[[HTTPStatus, str, dict[str, str] | None], web.Response]


def refuse(status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """A plain refusal."""
    return web.Response(status=status, text=text, headers=headers)


def full() -> web.Response:
    """No room, and perhaps soon again."""
    return refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server takes no more connections", {"Retry-After": "1"})


def crowded() -> web.Response:
    """One person has as many connections as a person may have."""
    return refuse(HTTPStatus.TOO_MANY_REQUESTS, "Too many connections of one user", {"Retry-After": "1"})


def refused(error: web.HTTPException) -> web.Response:
    """The plain refusal that an error stands for; behind a body that did not come in time the connection ends."""
    answer = refuse(HTTPStatus(error.status), error.text or "")
    if error.status == HTTPStatus.REQUEST_TIMEOUT:
        answer.force_close()
    return answer


class Guard:
    """Authenticates every request of one hub."""

    def __init__(self, server: HubServer, verifier: TokenVerifier, readiness: Readiness) -> None:
        self._server = server
        self._verifier = verifier
        self._readiness = readiness
        self._origins = Origins(server.config.origins)

    def __call__(
        self, handler: Guarded, form: Refuse = refuse
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler, called with the principal of the request; ``form`` makes its refusals."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            answer = await self._answer(request, handler, form)
            if "Upgrade" in request.headers:
                # What follows a request to upgrade is not HTTP for sure, so nothing may follow one that was refused.
                answer.force_close()
            return answer

        return guarded

    async def _answer(self, request: web.Request, handler: Guarded, form: Refuse) -> web.StreamResponse:
        if self._origins.refuses(request):
            # A page of another site must not use a token that a browser sends along.
            return form(HTTPStatus.FORBIDDEN, "Origin not allowed", None)
        try:
            principal = authenticate(request, self._verifier)
        except Unauthenticated:
            self._server.metrics.unauthenticated.inc()
            return form(HTTPStatus.UNAUTHORIZED, "A valid token is required", {"WWW-Authenticate": "Bearer"})
        return await handler(request, principal)

    def no_room(self, principal: Principal) -> web.Response | None:
        """The answer to a new connection that cannot be taken, None when it can."""
        if self._readiness.draining:
            return full()
        match self._server.bound_met(principal):
            case "":
                return None
            case "max_user_connections":
                return crowded()
        return full()
