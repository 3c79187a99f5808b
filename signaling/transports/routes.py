"""The HTTP routes of one hub: authentication, origins, negotiation, and opening a connection exactly once."""

import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from protocol.errors import AuricleError, BadArgument, NotFound, Unauthenticated
from signaling.auth import Principal, TokenVerifier, authenticate
from signaling.connection import HubServer, HubSession
from signaling.connection_token import ConnectionTokens, new_connection_id
from signaling.health import Readiness

from .negotiate import negotiate_response, negotiate_version
from .websocket import WebSocketTransport

__all__ = ["HubRoutes"]

Handler = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]


class HubRoutes:
    """Serves ``POST {path}/negotiate`` and ``GET {path}`` of one hub."""

    def __init__(
        self, server: HubServer, verifier: TokenVerifier, tokens: ConnectionTokens, readiness: Readiness
    ) -> None:
        self._server = server
        self._verifier = verifier
        self._tokens = tokens
        self._readiness = readiness
        # Connections that were opened and may be asked for again until their tokens end.
        self._opened_until_s: dict[str, float] = {}

    def register(self, app: web.Application) -> None:
        """Add the routes."""
        path = self._server.hub.path
        app.router.add_post(f"{path}/negotiate", self._guarded(self._negotiate))
        app.router.add_get(path, self._guarded(self._connect), allow_head=False)

    def sweep(self) -> None:
        """Forget connections whose tokens have ended."""
        now = self._server.clock()
        ended = [key for key, until_s in self._opened_until_s.items() if until_s < now]
        for key in ended:
            del self._opened_until_s[key]

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not self._origin_is_allowed(request):
                return web.Response(status=HTTPStatus.FORBIDDEN, text="Origin not allowed")
            try:
                principal, _ = authenticate(request, self._verifier)
            except Unauthenticated:
                self._server.metrics.unauthenticated.inc()
                return web.Response(
                    status=HTTPStatus.UNAUTHORIZED,
                    text="A valid token is required",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            if not self._has_room():
                return web.Response(
                    status=HTTPStatus.SERVICE_UNAVAILABLE,
                    text="The server takes no more connections",
                    headers={"Retry-After": "1"},
                )
            return await handler(request, principal)

        return guarded

    def _origin_is_allowed(self, request: web.Request) -> bool:
        """A page of another site must not use a token that a browser sends along; other clients send no Origin."""
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        same = {f"http://{request.host}", f"https://{request.host}"}
        return origin.lower() in same | self._server.config.origins

    def _has_room(self) -> bool:
        if self._readiness.draining:
            return False
        if len(self._server.sessions) < self._server.config.max_connections:
            return True
        self._server.metrics.bounds.labels("max_connections").inc()
        return False

    async def _negotiate(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        try:
            version = negotiate_version(request.query.get("negotiateVersion"))
        except BadArgument as error:
            return web.json_response({"error": error.public_message})
        connection_id = new_connection_id(secrets.token_bytes)
        token = self._tokens.issue(connection_id=connection_id, hub=self._server.hub.name, owner=_owner(principal))
        return web.json_response(negotiate_response(version, connection_id=connection_id, token=token))

    async def _connect(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            autoclose=False,
            compress=False,
            max_msg_size=self._server.config.max_frame_bytes,
            decode_text=False,
        )
        token = request.query.get("id")
        if not socket.can_prepare(request).ok:
            status = HTTPStatus.BAD_REQUEST
            return web.Response(
                status=status, text="A WebSocket upgrade is required" if token else "Connection ID required"
            )
        try:
            connection_id = self._claim(token, principal)
        except NotFound as error:
            return web.Response(status=HTTPStatus.NOT_FOUND, text=error.public_message)
        except _AlreadyOpen as error:
            return web.Response(status=HTTPStatus.CONFLICT, text=error.public_message)
        await socket.prepare(request)
        transport = WebSocketTransport(request, socket, self._server.config.close_timeout_s)
        await HubSession(self._server, transport, connection_id, principal).run()
        return socket

    def _claim(self, token: str | None, principal: Principal) -> str:
        """The id of the connection that this request opens; a token opens one connection, once."""
        if not token:
            return new_connection_id(secrets.token_bytes)
        ticket = self._tokens.open(token, hub=self._server.hub.name, owner=_owner(principal))
        if ticket.connection_id in self._server.sessions:
            raise _AlreadyOpen("The connection is open already")
        if ticket.connection_id in self._opened_until_s or ticket.open_until_s < self._server.clock():
            raise NotFound("No Connection with that ID")
        self._opened_until_s[ticket.connection_id] = ticket.open_until_s
        return ticket.connection_id


class _AlreadyOpen(AuricleError):
    code = "already_open"


def _owner(principal: Principal) -> str:
    return f"{principal.clinic}\0{principal.user}"
