"""Where the token of an HTTP request is, and whose it is. Apart from ``auth``, so that a command line needs no HTTP."""

from aiohttp import web

from protocol.errors import Unauthenticated

from .auth import Principal, TokenVerifier

__all__ = ["authenticate", "query_value"]


def query_value(request: web.Request, name: str) -> str | None:
    """A value of the query; names are matched without regard to case, as ASP.NET does, and several are joined."""
    values = [value for key, value in request.query.items() if key.lower() == name]
    return ",".join(values) if values else None


def authenticate(request: web.Request, verifier: TokenVerifier, *, in_query: bool = True) -> Principal:
    """The caller of an HTTP request.

    The token comes in the Authorization header, or in the query of a GET: a browser cannot set headers
    on a WebSocket or an event stream. ``in_query`` False: only in the header, which nobody writes down.

    Raises:
        Unauthenticated: no token, two different ones, or not a good one.
    """
    scheme, _, header_token = request.headers.get("Authorization", "").partition(" ")
    query_token = (query_value(request, "access_token") or "") if in_query and request.method == "GET" else ""
    if header_token and scheme.lower() != "bearer":
        raise Unauthenticated("a valid token is required")
    header_token = header_token.strip()
    token = header_token or query_token
    if not token or (query_token and query_token != token):
        raise Unauthenticated("a valid token is required")
    return verifier.verify(token)
