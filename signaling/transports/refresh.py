"""A new token for an open connection over HTTP: what .NET 11's clients are answered at ``POST {hub}/refresh``."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from protocol.contract.times import iso_ms
from signaling.auth import Principal
from signaling.connection import HubSession
from signaling.hub_server import HubServer

__all__ = ["lifetime_s", "not_refreshed", "refresh_error", "refreshed"]

CODES: Final = {HTTPStatus.UNAUTHORIZED: "invalid_token", HTTPStatus.FORBIDDEN: "origin_not_allowed"}


def lifetime_s(principal: Principal, server: HubServer) -> int:
    """How many whole seconds a token still lasts."""
    return max(0, int(principal.expires_at_s - server.clock()))


def refreshed(session: HubSession, server: HubServer) -> web.Response:
    """The connection lives as long as its newest token now."""
    return web.json_response(
        {
            "connectionId": session.connection_id,
            "refreshedAt": iso_ms(server.clock()),
            "tokenLifetimeSeconds": lifetime_s(session.principal, server),
        }
    )


def refresh_error(
    status: HTTPStatus, description: str, headers: dict[str, str] | None = None, *, code: str = ""
) -> web.Response:
    """A refusal in the form that these clients read; without a ``code`` the status says it."""
    body = {"error": code or CODES[status], "error_description": description}
    return web.json_response(body, status=status, headers=headers)


def not_refreshed(status: HTTPStatus, description: str, headers: dict[str, str] | None = None) -> web.Response:
    """There is no such connection, or it cannot be reached."""
    code = "connection_not_found" if status is HTTPStatus.NOT_FOUND else "unavailable"
    return refresh_error(status, description, headers, code=code)
