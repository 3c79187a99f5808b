"""The HTTP routes of one hub, and the status codes that SignalR clients expect of them.

A signed token opens one connection, once, over one transport; only a stateful connection may get a second socket.
"""

import asyncio
import secrets
from http import HTTPStatus

from aiohttp import web

from protocol.errors import BadArgument, NotFound
from protocol.websocket.upgrade import UpgradeRefused, accept_upgrade
from signaling.auth import Principal, TokenVerifier
from signaling.bearer import query_value
from signaling.bodies import Bodies
from signaling.connection import HubSession
from signaling.connection_token import ConnectionTicket, ConnectionTokens, new_connection_id
from signaling.door import Door
from signaling.health import Readiness
from signaling.hub_server import HubServer
from signaling.outbox import congestion_bytes

from .aiohttp_seam import LeftAiohttp, take_over
from .event_stream import EventStreamTransport
from .guard import UNKNOWN, Guard, full, refuse
from .long_polling import LongPollingTransport
from .negotiate import negotiate_response, negotiate_version
from .posts import Inbox, PostedTransport, WaitingRoom
from .refresh import lifetime_s, refresh_error, refreshed
from .websocket import WebSocketTransport

__all__ = ["HubRoutes"]

ANOTHER_TRANSPORT = "Cannot change transports mid-connection"
OPEN_ALREADY = "The connection is open already"


class HubRoutes:
    """Serves ``POST negotiate``, ``GET``, ``POST``, ``DELETE`` and ``POST refresh`` of one hub."""

    def __init__(
        self, server: HubServer, verifier: TokenVerifier, tokens: ConnectionTokens, readiness: Readiness
    ) -> None:
        self._server = server
        self._tokens = tokens
        self._guard = Guard(server, verifier, readiness)
        config, reached = server.config, server.metrics.reached
        self._waiting = WaitingRoom(
            Bodies(config.max_frame_bytes, "max_frame_bytes", config.body_timeout_s, reached),
            Bodies(config.max_early_bytes, "max_early_bytes", config.body_timeout_s, reached),
            limit=config.max_early_connections,
        )
        # Connections that were opened and may be asked for again until their tokens end.
        self._opened_until_s: dict[str, float] = {}

    def register(self, app: web.Application) -> None:
        """Add the routes, with and without a slash at the end, since clients take either for the address of a hub."""
        guard = self._guard
        for path in (self._server.hub.path, f"{self._server.hub.path}/"):
            app.router.add_get(path, guard(self._get), allow_head=False)
            app.router.add_post(path, guard(self._post))
            app.router.add_delete(path, guard(self._delete))
        app.router.add_post(f"{self._server.hub.path}/negotiate", guard(self._negotiate))
        app.router.add_post(f"{self._server.hub.path}/refresh", guard(self._refresh, refresh_error))

    def sweep(self) -> None:
        """Forget connections whose tokens have ended."""
        now = self._server.clock()
        self._waiting.sweep(now)
        for key in [key for key, until_s in self._opened_until_s.items() if until_s < now]:
            del self._opened_until_s[key]

    async def _negotiate(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        no_room = self._guard.no_room()
        if no_room is not None:
            return no_room
        try:
            version = negotiate_version(query_value(request, "negotiateversion"))
        except BadArgument as error:
            return web.json_response({"error": error.public_message})
        config = self._server.config
        asked = (query_value(request, "usestatefulreconnect") or "").lower() == "true"
        stateful = asked and version > 0 and config.stateful_reconnect
        connection_id = new_connection_id(secrets.token_bytes)
        token = self._tokens.issue(
            connection_id=connection_id, hub=self._server.hub.name, owner=_owner(principal), stateful=stateful
        )
        return web.json_response(
            negotiate_response(
                version,
                transports=config.offered_transports,
                connection_id=connection_id,
                token=token,
                stateful=stateful,
                token_lifetime_s=lifetime_s(principal, self._server) if config.token_refresh else 0,
            )
        )

    async def _get(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        transport = _transport_of(request)
        token = query_value(request, "id")
        if token:
            found = self._ticket(token, principal)
        elif transport == "WebSockets":
            found = self._unnegotiated(principal)
        else:
            return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
        if found is None or transport not in self._server.config.offered_transports:
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN if found is None else f"{transport} is not offered here")
        session = self._server.sessions.get(found.connection_id)
        if session is None and not self._may_open(found):
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
        no_room = self._guard.no_room() if session is None else None
        if no_room is not None:
            return no_room
        if transport == "WebSockets":
            if session is None and self._server.hub.door is not None:
                return await self._websocket_in_turn(request, principal, found, self._server.hub.door)
            return self._websocket(request, principal, found, session)
        if transport == "ServerSentEvents":
            return await self._event_stream(request, principal, found, session)
        return await self._poll(request, principal, found, session)

    async def _websocket_in_turn(
        self, request: web.Request, principal: Principal, ticket: ConnectionTicket, door: Door
    ) -> web.StreamResponse:
        after_s = await door.enter(principal, ticket.connection_id)
        if after_s is not None:
            return full(after_s)
        try:
            # Somebody may have come with the same token meanwhile.
            if ticket.connection_id in self._server.sessions or not self._may_open(ticket):
                return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
            return self._guard.no_room() or self._websocket(request, principal, ticket, None)
        finally:
            if ticket.connection_id not in self._server.sessions:
                door.leave(ticket.connection_id)

    def _websocket(
        self, request: web.Request, principal: Principal, ticket: ConnectionTicket, session: HubSession | None
    ) -> web.StreamResponse:
        if session is not None and not session.resumable:
            if session.is_ending:
                return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
            if isinstance(session.transport, PostedTransport):
                return refuse(HTTPStatus.BAD_REQUEST, ANOTHER_TRANSPORT)
            return refuse(HTTPStatus.CONFLICT, OPEN_ALREADY)
        if not request.raw_path.startswith("/"):
            # A proxy in front may have looked at another host than we do.
            return refuse(HTTPStatus.BAD_REQUEST, "An upgrade names a path")
        answer = accept_upgrade(request.method, (request.version.major, request.version.minor), request.headers)
        if isinstance(answer, UpgradeRefused):
            return refuse(HTTPStatus(answer.status), answer.reason, dict(answer.headers))
        config = self._server.config
        transport = WebSocketTransport(
            max_frame_bytes=config.max_frame_bytes,
            close_timeout_s=config.close_timeout_s,
            congestion_bytes=congestion_bytes(config.max_send_queue_bytes),
            reached=self._server.metrics.reached,
        )
        try:
            raw, behind = take_over(request, transport)
        except ConnectionResetError:
            return LeftAiohttp()
        raw.write(answer)
        if session is None:
            inbox = self._open(ticket)
            session = HubSession(self._server, transport, ticket.connection_id, principal, stateful=ticket.stateful)
            transport.start(raw, session)
            inbox.open(session)
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
                return refuse(HTTPStatus.CONFLICT, OPEN_ALREADY)
            return refuse(HTTPStatus.BAD_REQUEST, ANOTHER_TRANSPORT)
        server = self._server
        transport = EventStreamTransport(
            self._open(ticket), close_timeout_s=server.config.close_timeout_s, reached=server.metrics.reached
        )
        opened = HubSession(server, transport, ticket.connection_id, principal, binary_ok=False)
        transport.inbox.open(opened)
        return await transport.run(request, opened)

    async def _poll(
        self, request: web.Request, principal: Principal, ticket: ConnectionTicket, session: HubSession | None
    ) -> web.StreamResponse:
        if session is None:
            config = self._server.config
            transport = LongPollingTransport(
                self._open(ticket),
                poll_timeout_s=config.poll_timeout_s,
                disconnect_timeout_s=config.disconnect_timeout_s,
                close_timeout_s=config.close_timeout_s,
                reached=self._server.metrics.reached,
            )
            session = HubSession(self._server, transport, ticket.connection_id, principal)
            transport.inbox.open(session)
        elif not isinstance(session.transport, LongPollingTransport):
            return refuse(HTTPStatus.BAD_REQUEST, ANOTHER_TRANSPORT)
        else:
            transport = session.transport
            if principal.expires_at_s > session.principal.expires_at_s:
                session.renew(principal)
        return await transport.poll(request, session)

    async def _post(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        token = query_value(request, "id")
        if not token:
            return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
        ticket = self._ticket(token, principal)
        session = self._server.sessions.get(ticket.connection_id) if ticket is not None else None
        if session is not None:
            if not isinstance(session.transport, PostedTransport):
                return refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Not for this transport")
            inbox = session.transport.inbox
        elif ticket is None or not self._may_open(ticket):
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
        else:
            no_room = self._guard.no_room()
            entered = self._waiting.enter(ticket.connection_id, ticket.open_until_s) if no_room is None else None
            if entered is None:
                return no_room or full()
            inbox = entered
        if inbox.posts > self._server.config.max_pending_calls:
            self._server.metrics.reached("max_pending_calls")
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests wait already")
        return await inbox.post(request)

    async def _delete(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        token = query_value(request, "id")
        if not token:
            return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
        ticket = self._ticket(token, principal)
        session = self._server.sessions.get(ticket.connection_id) if ticket is not None else None
        if session is not None and isinstance(session.transport, LongPollingTransport):
            session.transport.end()
            return web.Response(status=HTTPStatus.ACCEPTED, text="")
        if session is None and (ticket is None or not self._may_open(ticket)):
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
        return refuse(HTTPStatus.BAD_REQUEST, "Only a long polling connection is ended so")

    async def _refresh(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """A new token for an open connection, as .NET 11's clients renew theirs."""
        if not self._server.config.token_refresh:
            return refresh_error(HTTPStatus.NOT_FOUND, "Tokens are not refreshed here.", code="refresh_disabled")
        token = query_value(request, "id")
        if not token:
            return refresh_error(HTTPStatus.BAD_REQUEST, "The id is required.", code="missing_connection_token")
        ticket = self._ticket(token, principal)
        session = self._server.sessions.get(ticket.connection_id) if ticket is not None else None
        if session is None or session.is_ending:
            return refresh_error(HTTPStatus.NOT_FOUND, UNKNOWN, code="connection_not_found")
        session.renew(principal)
        return refreshed(session, self._server)

    def _ticket(self, token: str, principal: Principal) -> ConnectionTicket | None:
        """What a token says, None when it is not one that the caller may show."""
        try:
            return self._tokens.open(token, hub=self._server.hub.name, owner=_owner(principal))
        except NotFound:
            return None

    def _unnegotiated(self, principal: Principal) -> ConnectionTicket:
        connection_id = new_connection_id(secrets.token_bytes)
        return ConnectionTicket(connection_id, "", self._server.hub.name, _owner(principal), float("inf"))

    def _may_open(self, ticket: ConnectionTicket) -> bool:
        return ticket.connection_id not in self._opened_until_s and ticket.open_until_s >= self._server.clock()

    def _open(self, ticket: ConnectionTicket) -> Inbox:
        """From now on the token opens nothing any more. Without negotiation there is none that could."""
        if ticket.pod:
            self._opened_until_s[ticket.connection_id] = ticket.open_until_s
        return self._waiting.leave(ticket.connection_id)


def _owner(principal: Principal) -> str:
    return f"{principal.clinic}\0{principal.user}"


def _transport_of(request: web.Request) -> str:
    """What a GET asks for. An upgrade to something else than a WebSocket is a wish that may be ignored."""
    if _names(request, "Upgrade", "websocket") and _names(request, "Connection", "upgrade"):
        return "WebSockets"
    return "ServerSentEvents" if "text/event-stream" in request.headers.get("Accept", "") else "LongPolling"


def _names(request: web.Request, header: str, token: str) -> bool:
    return any(
        token == part.strip().lower() for value in request.headers.getall(header, []) for part in value.split(",")
    )
