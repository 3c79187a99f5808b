"""The HTTP routes of one hub, and the status codes that SignalR clients expect of them.

A signed token opens one connection, once, over one transport; only a stateful connection may get a second socket.
"""

import asyncio
import secrets
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol

from aiohttp import web

from protocol.errors import BadArgument, NotFound
from signaling.auth import Principal, TokenVerifier
from signaling.bearer import query_value
from signaling.bodies import Bodies
from signaling.connection import HubSession
from signaling.connection_token import ConnectionTicket, ConnectionTokens, new_connection_id
from signaling.health import Readiness
from signaling.hub_server import HubServer
from signaling.outbox import congestion_bytes
from signaling.pods.internal import InternalServer, asked_of, upgrade_head

from .aiohttp_seam import LeftAiohttp, take_over
from .asked import transport_of
from .elsewhere import Elsewhere
from .event_stream import EventStreamTransport
from .forward import CONNECTION, Kind, hub_route, wait_of
from .guard import UNKNOWN, Guard, Refuse, full, refuse
from .long_polling import LongPollingTransport
from .negotiate import negotiate_response, negotiate_version
from .posts import Inbox, PostedTransport, WaitingRoom
from .refresh import lifetime_s, not_refreshed, refresh_error, refreshed
from .spent import SpentTokens
from .websocket import WebSocketTransport, upgrade_answer

__all__ = ["HubRoutes", "Routes"]

_KINDS: Final = {"WebSockets": Kind.SOCKET, "ServerSentEvents": Kind.EVENTS, "LongPolling": Kind.POLL}
ANOTHER_TRANSPORT = "Cannot change transports mid-connection"
OPEN_ALREADY = "The connection is open already"


class Routes(Protocol):
    """The HTTP side of a hub in one protocol."""

    def register(self, app: web.Application) -> None:
        """Add the routes."""
        ...

    def sweep(self) -> None:
        """Look at what time has ended."""
        ...


class HubRoutes:
    """Serves ``POST negotiate``, ``GET``, ``POST``, ``DELETE`` and ``POST refresh`` of one hub."""

    def __init__(
        self,
        server: HubServer,
        verifier: TokenVerifier,
        tokens: ConnectionTokens,
        readiness: Readiness,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._server = server
        self._elsewhere = elsewhere
        self._tokens = tokens
        self._guard = Guard(server, verifier, readiness)
        config, reached = server.config, server.metrics.reached
        self._waiting = WaitingRoom(
            Bodies(config.max_frame_bytes, "max_frame_bytes", config.body_timeout_s, reached),
            Bodies(config.max_early_bytes, "max_early_bytes", config.body_timeout_s, reached),
            limit=config.max_early_connections,
        )
        self._spent = SpentTokens(limit=config.max_spent_tokens, reached=partial(reached, "max_spent_tokens"))
        # Those of which others know that they are here.
        self._kept: set[str] = set()
        if elsewhere is not None:
            elsewhere.on_question(self._holds)

    def register(self, app: web.Application) -> None:
        """Add the routes, with and without a slash at the end, since clients take either for the address of a hub."""
        guard = self._guard
        for path in (self._server.hub.path, f"{self._server.hub.path}/"):
            app.router.add_get(path, guard(self._get), allow_head=False)
            app.router.add_post(path, guard(self._post))
            app.router.add_delete(path, guard(self._delete))
        app.router.add_post(f"{self._server.hub.path}/negotiate", guard(self._negotiate))
        app.router.add_post(f"{self._server.hub.path}/refresh", guard(self._refresh, refresh_error))

    def register_inside(self, internal: InternalServer) -> None:
        """Add what other pods bring of their clients."""
        guard, path = self._guard, hub_route(self._server.hub.name)
        internal.register("GET", path, guard(self._get))
        internal.register("POST", path, guard(self._post))
        internal.register("DELETE", path, guard(self._delete))
        internal.register("POST", f"{path}/refresh", guard(self._refresh, refresh_error))
        internal.register("POST", f"{path}/send-home", self._send_home)

    def sweep(self) -> None:
        """Forget connections whose tokens have ended."""
        now = self._server.clock()
        self._waiting.sweep(now)
        self._spent.sweep(now)
        for key in self._kept - self._server.sessions.keys():
            self._kept.discard(key)
            if self._elsewhere is not None:
                self._elsewhere.leave(key)

    async def _negotiate(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        no_room = self._guard.no_room(principal)
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
        transport = transport_of(request)
        token = _token_of(request)
        if token:
            found = self._ticket(token, principal)
        elif transport == "WebSockets":
            found = self._unnegotiated(principal)
        else:
            return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
        if found is None or transport not in self._server.config.offered_transports:
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN if found is None else f"{transport} is not offered here")
        answer = await self._answer_elsewhere(request, found, token, _KINDS[transport], opens=True)
        if answer is not None:
            return answer
        session = self._server.sessions.get(found.connection_id)
        if session is None and not self._may_open(found):
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
        no_room = self._guard.no_room(principal) if session is None else None
        return no_room or await self._carried(request, principal, found, session, transport)

    async def _carried(
        self,
        request: web.Request,
        principal: Principal,
        found: ConnectionTicket,
        session: HubSession | None,
        transport: str,
    ) -> web.StreamResponse:
        """By the transport that was asked for, if it is not another one already."""
        if transport == "WebSockets":
            return self._websocket(request, principal, found, session)
        if transport == "ServerSentEvents":
            return await self._event_stream(request, principal, found, session)
        return await self._poll(request, principal, found, session)

    def _websocket(
        self, request: web.Request, principal: Principal, ticket: ConnectionTicket, session: HubSession | None
    ) -> web.StreamResponse:
        if session is not None and not session.resumable:
            if session.is_ending:
                return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
            if isinstance(session.transport, PostedTransport):
                return refuse(HTTPStatus.BAD_REQUEST, ANOTHER_TRANSPORT)
            return refuse(HTTPStatus.CONFLICT, OPEN_ALREADY)
        answer = upgrade_answer(request)
        if isinstance(answer, web.Response):
            return answer
        config = self._server.config
        transport = WebSocketTransport(
            max_frame_bytes=config.max_frame_bytes,
            close_timeout_s=config.close_timeout_s,
            congestion_bytes=congestion_bytes(config.max_send_queue_bytes),
            reached=self._server.metrics.reached,
            leave=self._server.leave,
        )
        try:
            raw, behind = take_over(request, transport)
        except ConnectionResetError:
            return LeftAiohttp()
        raw.write(upgrade_head(request) + answer)
        if session is None:
            inbox = self._open(ticket, once=not ticket.stateful)
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
        return await transport.poll(request, session, wait_s=wait_of(request))

    async def _post(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        token = _token_of(request)
        if not token:
            return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
        ticket = self._ticket(token, principal)
        answer = await self._answer_elsewhere(request, ticket, token, Kind.POST, opens=True)
        if answer is not None:
            return answer
        session = self._server.sessions.get(ticket.connection_id) if ticket is not None else None
        if session is not None:
            if not isinstance(session.transport, PostedTransport):
                return refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Not for this transport")
            inbox = session.transport.inbox
        elif ticket is None or not self._may_open(ticket):
            return refuse(HTTPStatus.NOT_FOUND, UNKNOWN)
        else:
            no_room = self._guard.no_room(principal)
            entered = (
                self._waiting.enter(ticket.connection_id, self._waits_until_s(ticket)) if no_room is None else None
            )
            if entered is None:
                return no_room or full()
            inbox = entered
        if inbox.posts > self._server.config.max_pending_calls:
            self._server.metrics.reached("max_pending_calls")
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests wait already")
        return await inbox.post(request)

    async def _delete(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        token = _token_of(request)
        if not token:
            return refuse(HTTPStatus.BAD_REQUEST, "Connection ID required")
        ticket = self._ticket(token, principal)
        answer = await self._answer_elsewhere(request, ticket, token, Kind.DELETE)
        if answer is not None:
            return answer
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
        token = _token_of(request)
        if not token:
            return refresh_error(HTTPStatus.BAD_REQUEST, "The id is required.", code="missing_connection_token")
        ticket = self._ticket(token, principal)
        answer = await self._answer_elsewhere(request, ticket, token, Kind.REFRESH, form=not_refreshed)
        if answer is not None:
            return answer
        session = self._server.sessions.get(ticket.connection_id) if ticket is not None else None
        if session is None or session.is_ending:
            return not_refreshed(HTTPStatus.NOT_FOUND, UNKNOWN)
        session.renew(principal)
        return refreshed(session, self._server)

    async def _answer_elsewhere(
        self,
        request: web.Request,
        ticket: ConnectionTicket | None,
        token: str | None,
        kind: Kind,
        *,
        opens: bool = False,
        form: Refuse = refuse,
    ) -> web.StreamResponse | None:
        """What the pod answers that has the connection; None: it is here, or nowhere."""
        elsewhere = self._elsewhere
        if elsewhere is None or ticket is None or not token or not ticket.pod or self._holds(ticket.connection_id):
            return None
        return await elsewhere.answer(request, ticket, token, kind, opens=opens and self._may_open(ticket), form=form)

    def _holds(self, connection_id: str) -> bool:
        """Whether the connection is here, or was, or will be."""
        return connection_id in self._server.sessions or connection_id in self._spent or connection_id in self._waiting

    async def _send_home(self, request: web.Request) -> web.StreamResponse:
        """The pod that asks ends soon: the polls that it has brought are answered now, and nothing gets lost."""
        asked = asked_of(request)
        for session in tuple(self._server.sessions.values()):
            transport = session.transport
            if asked is not None and isinstance(transport, LongPollingTransport):
                transport.send_home(asked.sender)
        return web.Response()

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
        return ticket.connection_id not in self._spent and ticket.open_until_s >= self._server.clock()

    def _waits_until_s(self, ticket: ConnectionTicket) -> float:
        """Until when what is posted is kept for a connection that is not open: no longer than without other pods."""
        return min(ticket.open_until_s, self._server.clock() + self._server.config.connection_token_ttl_s)

    def _open(self, ticket: ConnectionTicket, *, once: bool = False) -> Inbox:
        """From now on the token opens nothing any more. Without negotiation there is none that could.

        ``once``: nobody asks for it again, unlike for one of which there are requests to come.
        """
        if ticket.pod:
            self._spent.add(ticket.connection_id, ticket.open_until_s)
            if self._elsewhere is not None and not once:
                self._kept.add(ticket.connection_id)
                self._elsewhere.keep(ticket.connection_id)
        return self._waiting.leave(ticket.connection_id)


def _token_of(request: web.Request) -> str | None:
    """The connection token: internal addresses hold none."""
    return query_value(request, "id") if asked_of(request) is None else request.headers.get(CONNECTION)


def _owner(principal: Principal) -> str:
    return f"{principal.clinic}\0{principal.user}"
