"""The HTTP routes of one hub, and the status codes that SignalR clients expect of them.

A signed token opens one connection, once, over one transport; only a stateful connection may get a second socket.
"""

import asyncio
import secrets
from http import HTTPStatus

from aiohttp import web

from protocol.contract.times import iso_ms
from protocol.errors import BadArgument, NotFound
from protocol.websocket.upgrade import UpgradeRefused, accept_upgrade
from signaling.auth import Principal, TokenVerifier
from signaling.connection import HubSession
from signaling.connection_token import ConnectionTicket, ConnectionTokens, new_connection_id
from signaling.health import Readiness
from signaling.hub_server import HubServer
from signaling.outbox import congestion_bytes

from .aiohttp_seam import LeftAiohttp, take_over
from .event_stream import EventStreamTransport
from .guard import UNKNOWN, Guard, refuse
from .long_polling import LongPollingTransport
from .negotiate import negotiate_response, negotiate_version
from .posts import PostedTransport
from .websocket import WebSocketTransport

__all__ = ["HubRoutes"]


class HubRoutes:
    """Serves ``POST negotiate``, ``GET``, ``POST``, ``DELETE`` and ``POST refresh`` of one hub."""

    def __init__(
        self, server: HubServer, verifier: TokenVerifier, tokens: ConnectionTokens, readiness: Readiness
    ) -> None:
        self._server = server
        self._tokens = tokens
        self._guard = Guard(server, verifier, readiness)
        # Connections that were opened and may be asked for again until their tokens end.
        self._opened_until_s: dict[str, float] = {}

    def register(self, app: web.Application) -> None:
        """Add the routes."""
        path, guard = self._server.hub.path, self._guard
        app.router.add_post(f"{path}/negotiate", guard(self._negotiate))
        app.router.add_post(f"{path}/refresh", guard(self._refresh))
        app.router.add_get(path, guard(self._get), allow_head=False)
        app.router.add_post(path, guard(self._post))
        app.router.add_delete(path, guard(self._delete))

    def sweep(self) -> None:
        """Forget connections whose tokens have ended."""
        now = self._server.clock()
        for key in [key for key, until_s in self._opened_until_s.items() if until_s < now]:
            del self._opened_until_s[key]

    async def _negotiate(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        full = self._guard.no_room()
        if full is not None:
            return full
        try:
            version = negotiate_version(request.query.get("negotiateVersion"))
        except BadArgument as error:
            return web.json_response({"error": error.public_message})
        asked = request.query.get("useStatefulReconnect", "").lower() == "true"
        stateful = asked and version > 0 and self._server.config.stateful_reconnect
        connection_id = new_connection_id(secrets.token_bytes)
        token = self._tokens.issue(
            connection_id=connection_id, hub=self._server.hub.name, owner=_owner(principal), stateful=stateful
        )
        return web.json_response(
            negotiate_response(
                version,
                connection_id=connection_id,
                token=token,
                stateful=stateful,
                token_lifetime_s=max(0, int(principal.expires_at_s - self._server.clock())),
            )
        )

    async def _get(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        is_upgrade = "upgrade" in request.headers.get("Connection", "").lower()
        token = request.query.get("id")
        if not token:
            if not is_upgrade:
                return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
            ticket = self._unnegotiated(principal)
        else:
            try:
                ticket = self._ticket(token, principal)
            except NotFound as error:
                return refuse(HTTPStatus.NOT_FOUND, error.public_message)
        session = self._server.sessions.get(ticket.connection_id)
        if session is None and not self._may_open(ticket):
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
        full = self._guard.no_room() if session is None else None
        if full is not None:
            return full
        if is_upgrade:
            return self._websocket(request, principal, ticket, session)
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await self._event_stream(request, principal, ticket, session)
        return await self._poll(request, principal, ticket, session)

    def _websocket(
        self, request: web.Request, principal: Principal, ticket: ConnectionTicket, session: HubSession | None
    ) -> web.StreamResponse:
        if session is not None and not session.resumable:
            if session.is_ending:
                return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
            if isinstance(session.transport, PostedTransport):
                return refuse(HTTPStatus.BAD_REQUEST, "Cannot change transports mid-connection")
            return refuse(HTTPStatus.CONFLICT, "The connection is open already")
        answer = accept_upgrade(request.method, (request.version.major, request.version.minor), request.headers)
        if isinstance(answer, UpgradeRefused):
            return refuse(HTTPStatus(answer.status), answer.reason, dict(answer.headers))
        config = self._server.config
        transport = WebSocketTransport(
            max_frame_bytes=config.max_frame_bytes,
            close_timeout_s=config.close_timeout_s,
            congestion_bytes=congestion_bytes(config.max_send_queue_bytes),
        )
        try:
            raw, behind = take_over(request, transport)
        except ConnectionResetError:
            return LeftAiohttp()
        raw.write(answer)
        if session is None:
            self._open(ticket)
            session = HubSession(self._server, transport, ticket.connection_id, principal, stateful=ticket.stateful)
            transport.start(raw, session)
        else:
            transport.start(raw, session)
            session.resume(transport, principal)
        if behind:
            asyncio.get_running_loop().call_soon(transport.data_received, behind)
        return LeftAiohttp()

    async def _event_stream(
        self, request: web.Request, principal: Principal, ticket: ConnectionTicket, session: HubSession | None
    ) -> web.StreamResponse:
        if session is not None:
            if isinstance(session.transport, EventStreamTransport):
                return refuse(HTTPStatus.CONFLICT, "The connection is open already")
            return refuse(HTTPStatus.BAD_REQUEST, "Cannot change transports mid-connection")
        self._open(ticket)
        transport = EventStreamTransport()
        opened = HubSession(self._server, transport, ticket.connection_id, principal, binary_ok=False)
        return await transport.run(request, opened)

    async def _poll(
        self, request: web.Request, principal: Principal, ticket: ConnectionTicket, session: HubSession | None
    ) -> web.StreamResponse:
        config = self._server.config
        if session is None:
            self._open(ticket)
            transport = LongPollingTransport(
                poll_timeout_s=config.poll_timeout_s, disconnect_timeout_s=config.disconnect_timeout_s
            )
            session = HubSession(self._server, transport, ticket.connection_id, principal)
        elif not isinstance(session.transport, LongPollingTransport):
            return refuse(HTTPStatus.BAD_REQUEST, "Cannot change transports mid-connection")
        else:
            transport = session.transport
            if principal.expires_at_s > session.principal.expires_at_s:
                session.renew(principal)
        return await transport.poll(request, session)

    async def _post(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        found = self._find(request, principal)
        if isinstance(found, web.Response):
            return found
        transport = found.transport
        if not isinstance(transport, PostedTransport):
            return refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Not for this transport")
        config = self._server.config
        if transport.posts > config.max_pending_calls:
            self._server.metrics.bounds.labels("max_pending_calls").inc()
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests wait already")
        return await transport.post(request, found, max_body_bytes=config.max_frame_bytes)

    async def _delete(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        found = self._find(request, principal)
        if isinstance(found, web.Response):
            return found
        if not isinstance(found.transport, LongPollingTransport):
            return refuse(HTTPStatus.BAD_REQUEST, "Only a long polling connection is ended so")
        found.transport.end()
        return web.Response(status=HTTPStatus.ACCEPTED, text="")

    async def _refresh(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """A new token for an open connection, as .NET 11's clients renew theirs."""
        if not request.query.get("id"):
            return _refresh_error(HTTPStatus.BAD_REQUEST, "missing_connection_token", "The id is required.")
        found = self._find(request, principal)
        if isinstance(found, web.Response):
            return _refresh_error(HTTPStatus.NOT_FOUND, "connection_not_found", UNKNOWN)
        found.renew(principal)
        now = self._server.clock()
        return web.json_response(
            {
                "connectionId": found.connection_id,
                "refreshedAt": iso_ms(now),
                "tokenLifetimeSeconds": max(0, int(principal.expires_at_s - now)),
            }
        )

    def _find(self, request: web.Request, principal: Principal) -> HubSession | web.Response:
        """The open connection that a request names, if it is the caller's."""
        token = request.query.get("id")
        if not token:
            return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
        try:
            session = self._server.sessions.get(self._ticket(token, principal).connection_id)
        except NotFound:
            session = None
        return session or refuse(HTTPStatus.NOT_FOUND, UNKNOWN)

    def _ticket(self, token: str, principal: Principal) -> ConnectionTicket:
        return self._tokens.open(token, hub=self._server.hub.name, owner=_owner(principal))

    def _unnegotiated(self, principal: Principal) -> ConnectionTicket:
        connection_id = new_connection_id(secrets.token_bytes)
        return ConnectionTicket(connection_id, "", self._server.hub.name, _owner(principal), float("inf"))

    def _may_open(self, ticket: ConnectionTicket) -> bool:
        return ticket.connection_id not in self._opened_until_s and ticket.open_until_s >= self._server.clock()

    def _open(self, ticket: ConnectionTicket) -> None:
        """From now on the token opens nothing any more. Without negotiation there is none that could."""
        if ticket.pod:
            self._opened_until_s[ticket.connection_id] = ticket.open_until_s


def _owner(principal: Principal) -> str:
    return f"{principal.clinic}\0{principal.user}"


def _refresh_error(status: HTTPStatus, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
