"""Where the token of an HTTP request is, and whose it is. Apart from ``auth``, so that a command line needs no HTTP."""

from aiohttp import web

from protocol.errors import Unauthenticated

from .auth import Principal, TokenVerifier

__all__ = ["authenticate", "query_value", "shown_token"]


def query_value(request: web.Request, name: str) -> str | None:
    """A value of the query; names are matched without regard to case, as ASP.NET does, and several are joined."""
    values = [value for key, value in request.query.items() if key.lower() == name]
    return ",".join(values) if values else None


def authenticate(request: web.Request, verifier: TokenVerifier, *, in_query: bool = True) -> Principal:
    """The caller of an HTTP request; see ``shown_token``.

    Raises:
        Unauthenticated: no token, two different ones, or not a good one.
    """
    return verifier.verify(shown_token(request, in_query=in_query))


def shown_token(request: web.Request, *, in_query: bool = True) -> str:
    """The token of a request, unverified.

    It comes in the Authorization header, or in the query of a GET: a browser cannot set headers
    on a WebSocket or an event stream. ``in_query`` False: only in the header, which nobody writes down.

    Raises:
        Unauthenticated: no token, or two different ones.
    """
    scheme, _, header_token = request.headers.get("Authorization", "").partition(" ")
    query_token = (query_value(request, "access_token") or "") if in_query and request.method == "GET" else ""
    if header_token and scheme.lower() != "bearer":
        raise Unauthenticated("a valid token is required")
    header_token = header_token.strip()
    token = header_token or query_token
    if not token or (query_token and query_token != token):
        raise Unauthenticated("a valid token is required")
    return token
